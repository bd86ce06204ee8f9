"""ResNet-20 for pictures of 32 by 32, as scripts register models: for weights saved from a DataParallel.

Shortcuts between stages take every second row and column and add zeros as channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from knight import pytorch_model


class Block(nn.Module):
    """Two convolutions and what goes around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.added = (after - before) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.added:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        y += x
        return F.relu(y)


class ResNet20(nn.Module):
    """Three stages of three blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.size()[3])
        logits: torch.Tensor = self.linear(x.view(x.size(0), -1))
        return logits


@pytorch_model.register("resnet20")
def resnet20(weight_path: str | None = None) -> dict[str, Any]:
    """The dict that converters take; the batch is open."""
    net = ResNet20()
    if weight_path:
        saved = torch.load(weight_path)["state_dict"]
        net.load_state_dict({key.removeprefix("module."): value for key, value in saved.items()})
    axes = {"input": {0: "batch_size"}}
    return {"model": net, "inputs": [torch.randn(1, 3, 32, 32)], "dynamic_axes_inputs": axes}
