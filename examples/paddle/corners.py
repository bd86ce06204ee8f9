"""A PaddlePaddle program, as `paddle.jit.save` writes it, for `knight convert` and `knight quant`.

    python examples/paddle/corners.py out/corners
    knight convert -f paddle -m out/corners.json -w out/corners.pdiparams --save-dir out
    knight --chip onnxruntime quant -m out/corners.onnx -uds examples/paddle/corners.py -if infer_corners \\
        -i 50 --save-dir out

The first line builds the net, which says in which quarter of a picture a spot lies; its weights are chosen,
not trained. Needs knight-quant[paddle].
"""

from __future__ import annotations

import sys

import numpy as np

from knight import onnx_infer_func


def write(path: str) -> None:
    """Writes the program, `path`.json, and its parameters, `path`.pdiparams; the batch is open."""
    import paddle
    from paddle import nn

    smooth = nn.Conv2D(1, 2, 3, padding=1)
    smooth.weight.set_value(np.full((2, 1, 3, 3), 1 / 9, np.float32))
    smooth.bias.set_value(np.array([-0.1, -0.3], np.float32))  # what is darker does not count
    scores = nn.Linear(8, 4)
    scores.weight.set_value(np.tile(2 * np.eye(4, dtype=np.float32) - 0.5, (2, 1)))
    scores.bias.set_value(np.zeros(4, np.float32))
    net = nn.Sequential(smooth, nn.ReLU(), nn.AdaptiveAvgPool2D(2), nn.Flatten(), scores)
    net.eval()
    paddle.jit.save(net, path, input_spec=[paddle.static.InputSpec([None, 1, 16, 16], "float32", "picture")])


def picture(seed: int) -> tuple[np.ndarray, int]:
    """float32 [1, 1, 16, 16] with a spot, and its quarter: 0 and 1 above, 2 and 3 below."""
    generator = np.random.default_rng(seed)
    array = generator.uniform(0, 0.2, (16, 16)).astype(np.float32)
    quarter = seed % 4
    row, column = generator.integers(1, 4, 2) + 8 * np.array([quarter // 2, quarter % 2])
    array[row : row + 4, column : column + 4] += 0.7
    return array[None, None], quarter


@onnx_infer_func.register("infer_corners")
def infer_corners(executor) -> float:  # type: ignore[no-untyped-def]
    """The share of spots that are found, in percent."""
    right = 0
    for seed in range(executor.iteration):
        array, label = picture(seed)
        right += int(executor.forward(array)[0].argmax()) == label
    return 100.0 * right / executor.iteration


if __name__ == "__main__":
    write(sys.argv[1])
