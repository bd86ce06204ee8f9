"""Pooling: rounding up, padding that counts or not, uneven windows, no batch; against eager torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.converters.pytorch.nets import check

FUNCTIONS: tuple[Callable[[Any], Any], ...] = (
    lambda x: F.max_pool2d(x, 2, return_indices=True),
    lambda x: F.max_pool1d(x[:, :, 0], 3, 2),
    lambda x: F.max_pool3d(x[:, None], 2),
    lambda x: F.avg_pool1d(x[:, :, 0], 3, 2, 1),
    lambda x: F.avg_pool3d(x[:, None], 2),
    lambda x: F.lp_pool1d(x[:, :, 0].abs(), 3, 2),
    lambda x: F.max_pool2d(x[0], 2),
    lambda x: F.adaptive_avg_pool2d(x[0], 1),
)

MODULES: tuple[Callable[[], Any], ...] = (
    lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    lambda: nn.MaxPool2d(2, 1, dilation=2),
    lambda: nn.AvgPool2d(3, 2, 1),
    lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    lambda: nn.AvgPool2d(2, divisor_override=3),
    lambda: nn.AdaptiveAvgPool2d((4, None)),
    lambda: nn.AdaptiveAvgPool2d(3),
    lambda: nn.AdaptiveAvgPool2d(1),
    lambda: nn.AdaptiveMaxPool2d(3),
    lambda: nn.AdaptiveMaxPool2d((1, 4)),
    lambda: nn.LPPool2d(2, 2),
    lambda: nn.AdaptiveAvgPool2d(16),
)


def example() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions(function: Callable[[Any], Any]) -> None:
    check(function, example(), dynamic=False)


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize("module", MODULES)
def test_modules(module: Callable[[], Any], dynamic: bool) -> None:
    torch.manual_seed(0)
    check(module(), example(), dynamic=dynamic)
