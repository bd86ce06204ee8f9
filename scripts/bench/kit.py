"""The development kit's classifiers and detectors with the preprocessing of their MANIFEST, for measuring
scripts.

The kit is not part of the project; `--kit` of each script says where it lies (default: ../shared/kit).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "kit"


@dataclass(frozen=True)
class Classifier:
    """file: below onnx/. pictures: folder below images/ and evaluation/. size: side after the crop."""

    name: str
    file: str
    pictures: str
    size: int
    bgr: bool
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_CIFAR = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLASSIFIERS = (
    Classifier("resnet20", "resnet20_cifar10.onnx", "cifar10", 32, False, 255.0, *_CIFAR),
    Classifier(
        "squeezenet11", "squeezenet_v1.1.onnx", "imagenet", 227, True, 1.0, (104, 117, 123), (1, 1, 1)
    ),
    Classifier(
        "mobilenetv1_025", "mobilenet_v1_0.25_224.onnx", "imagenet", 224, False, 127.5, (1, 1, 1), (1, 1, 1)
    ),
    Classifier("vit", "vit_cifar10.onnx", "cifar10", 32, False, 255.0, *_CIFAR),
)


def preprocess(path: Path, net: Classifier) -> np.ndarray:
    """One picture as float32 [1, 3, size, size]."""
    picture = Image.open(path).convert("RGB")
    if picture.size != (net.size, net.size):
        left, top = (picture.width - net.size) // 2, (picture.height - net.size) // 2
        picture = picture.crop((left, top, left + net.size, top + net.size))
    array = np.asarray(picture, np.float32)[:, :, :: -1 if net.bgr else 1] / np.float32(net.scale)
    array = (array - np.array(net.mean, np.float32)) / np.array(net.std, np.float32)
    return np.ascontiguousarray(array.transpose(2, 0, 1)[None], np.float32)


def samples(kit: Path, net: Classifier, split: str, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """(picture, label) of the first `count` labelled pictures of "images" or "evaluation", a spread over
    the classes.
    """
    lines = (kit / split / f"{net.pictures}_labels.txt").read_text().split("\n")
    labelled = [line.split()[:2] for line in lines if line.strip()]
    step = max(1, len(labelled) // count)
    for file, label in labelled[::step][:count]:
        yield preprocess(kit / split / net.pictures / file, net), int(label)
