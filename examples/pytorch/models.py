"""A PyTorch model as `knight convert` and `knight quant` take it, and the function that feeds it.

    knight convert -f pytorch -m blobs -uds examples/pytorch/models.py --save-dir out
    knight --chip onnxruntime quant -f pytorch -m blobs -uds examples/pytorch/models.py \\
        -if infer_blobs -i 50 --save-dir out

The net tells bright blobs from dark ones; its weights are written down here instead of loaded.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from knight import onnx_infer_func, pytorch_model


class Blobs(nn.Module):
    """Smooths, pools, and compares the middle with the border."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 4 * 4, 2)
        middle = torch.full((4, 4), -1.0)
        middle[1:3, 1:3] = 3.0
        with torch.no_grad():
            self.smooth.weight.fill_(1 / 9)
            self.smooth.bias.zero_()
            self.head.weight.copy_(torch.stack([middle, -middle]).repeat(1, 4, 1).reshape(2, 64))
            self.head.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.norm(self.smooth(x)))
        x = nn.functional.avg_pool2d(x, x.shape[-1] // 4)
        return self.head(x.view(x.size(0), -1))


@pytorch_model.register("blobs")
def blobs(weight_path: str | None = None) -> dict[str, object]:
    """The model and example inputs; with dynamic_axes_inputs the batch stays open."""
    model = Blobs()
    if weight_path:
        model.load_state_dict(torch.load(weight_path))
    axes = {"picture": {0: "batch_size"}}
    return {"model": model, "inputs": [torch.rand(1, 1, 16, 16)], "dynamic_axes_inputs": axes}


def picture(seed: int) -> tuple[np.ndarray, int]:
    """float32 [1, 1, 16, 16] and 0 for a bright blob, 1 for a dark one."""
    generator = np.random.default_rng(seed)
    dark = seed % 2
    array = generator.random((16, 16), np.float32) * 0.4 + (0.6 if dark else 0.0)
    array[4:12, 4:12] += -0.5 if dark else 0.5
    return array[None, None].astype(np.float32), dark


@onnx_infer_func.register("infer_blobs")
def infer_blobs(executor) -> float:  # type: ignore[no-untyped-def]
    """The share of blobs that are told right, in percent."""
    right = 0
    for seed in range(executor.iteration):
        array, label = picture(seed)
        right += int(executor.forward(array)[0].argmax()) == label
    return 100.0 * right / executor.iteration
