"""A Caffe net, prototxt and caffemodel, as `knight convert` and `knight quant` take it.

    python examples/caffe/stripes.py out/stripes.caffemodel
    knight convert -f caffe -m examples/caffe/stripes.prototxt -w out/stripes.caffemodel --save-dir out
    knight --chip onnxruntime quant -m out/stripes.onnx -uds examples/caffe/stripes.py -if infer_stripes \\
        -i 50 --save-dir out

The first line writes the weights, which are chosen, not trained. A caffemodel is one protobuf message of few
fields, and written here without Caffe. Needs knight-quant[caffe].
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from knight import onnx_infer_func

SOBEL = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], np.float32)
WEIGHTS = {
    "gradients": [np.stack([SOBEL, -SOBEL, SOBEL.T, -SOBEL.T])[:, None]],
    "scores": [np.array([[1, 1, -1, -1], [-1, -1, 1, 1]], np.float32), np.zeros(2, np.float32)],
}
"""Layer -> weight and bias."""


def varint(number: int) -> bytes:
    """A whole number as protobuf writes it: seven bits a byte, the last byte without the eighth."""
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds text, packed numbers or another message."""
    return varint(number * 8 + 2) + varint(len(content)) + content


def write(path: Path) -> None:
    """The caffemodel of stripes.prototxt; the numbers of the fields are those of caffe.proto."""
    net = field(1, b"stripes")
    for name, arrays in WEIGHTS.items():
        layer = field(1, name.encode())
        for array in arrays:
            shape = field(1, b"".join(map(varint, array.shape)))
            layer += field(7, field(7, shape) + field(5, array.astype("<f4").tobytes()))
        net += field(100, layer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(net)


def picture(seed: int) -> tuple[np.ndarray, int]:
    """float32 [1, 1, 16, 16] and 0 for lying stripes, 1 for standing ones."""
    generator = np.random.default_rng(seed)
    wave = np.sin(np.arange(16) * generator.uniform(0.5, 1.5) + generator.uniform(0, 6))
    array = np.tile(wave, (16, 1)) + generator.normal(0, 0.1, (16, 16))
    standing = seed % 2
    return (array if standing else array.T)[None, None].astype(np.float32), standing


@onnx_infer_func.register("infer_stripes")
def infer_stripes(executor) -> float:  # type: ignore[no-untyped-def]
    """The share of stripes that are told right, in percent."""
    right = 0
    for seed in range(executor.iteration):
        array, label = picture(seed)
        right += int(executor.forward(array)[0].argmax()) == label
    return 100.0 * right / executor.iteration


if __name__ == "__main__":
    write(Path(sys.argv[1]))
