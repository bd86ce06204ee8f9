"""Real samples for each of the kit's ONNX nets, as its MANIFEST says they are made."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Net:
    """folder: of pictures below images/. size: (width, height). Pixels become (x - mean) / std."""

    file: str
    folder: str
    size: tuple[int, int]
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (255.0, 255.0, 255.0)
    bgr: bool = False
    crop: bool = False
    grey: bool = False
    input: str = "input"


_CIFAR = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
NETS = (
    Net("resnet20_cifar10.onnx", "cifar10", (32, 32), *_CIFAR),
    Net("vit_cifar10.onnx", "cifar10", (32, 32), *_CIFAR),
    Net("squeezenet_v1.1.onnx", "imagenet", (227, 227), (104, 117, 123), (1, 1, 1), bgr=True, crop=True),
    Net("mobilenet_v1_0.25_224.onnx", "imagenet", (224, 224), (127.5,) * 3, (127.5,) * 3, crop=True),
    Net("version-RFB-320.onnx", "faces", (320, 240), (127.0,) * 3, (128.0,) * 3),
    Net("fastestdet_352.onnx", "coco20", (352, 352), bgr=True, input="input.1"),
    Net("fastestdet_fruits_512.onnx", "fruits", (512, 512), bgr=True, input="input.1"),
    Net(
        "nanodet_m_416.onnx",
        "coco20",
        (416, 416),
        (103.53, 116.28, 123.675),
        (57.375, 57.12, 58.395),
        bgr=True,
        input="input.1",
    ),
    Net("mnist-8_onnxruntime_example.onnx", "cifar10", (28, 28), (0.0,), (1.0,), grey=True, input="Input3"),
)
VAD = "silero_vad_16k_op15.onnx"
FILES = (*(net.file for net in NETS), VAD)


def samples(kit: Path, file: str, count: int) -> list[Feeds]:
    """`count` forward calls' worth of real data for the net in `file`."""
    if file == VAD:
        return list(islice(_windows(kit / "audio" / "silero_test_a.wav"), count))
    net = next(net for net in NETS if net.file == file)
    pictures = sorted((kit / "images" / net.folder).glob("*.[jp][pn]*g"))
    step = max(1, len(pictures) // count)
    return [{net.input: _picture(path, net)} for path in pictures[::step][:count]]


def _picture(path: Path, net: Net) -> np.ndarray:
    picture = Image.open(path).convert("L" if net.grey else "RGB")
    width, height = net.size
    if net.crop:
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        picture = picture.crop((left, top, left + width, top + height))
    else:
        picture = picture.resize(net.size, Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.float32).reshape(height, width, -1)
    array = array[:, :, ::-1] if net.bgr else array
    array = (array - np.array(net.mean, np.float32)) / np.array(net.std, np.float32)
    return np.ascontiguousarray(array.transpose(2, 0, 1)[None], np.float32)


def _windows(path: Path) -> Iterator[Feeds]:
    """Windows of 576 numbers at 16 kHz, where there is speech."""
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    for start in range(16_000, sound.size - 576, 5_120):
        yield {
            "input": sound[None, start : start + 576],
            "state": np.zeros((2, 1, 128), np.float32),
            "sr": np.array(16_000, np.int64),
        }
