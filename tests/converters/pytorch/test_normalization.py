"""Normalizations with and without weights, over other axes than the usual; against eager torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.converters.pytorch.nets import check

FUNCTIONS: tuple[Callable[[Any], Any], ...] = (
    lambda x: F.rms_norm(x, (8, 8), eps=0.001),
    lambda x: F.normalize(x, dim=1),
    lambda x: F.normalize(x, p=1.5, dim=-1),
    lambda x: F.cosine_similarity(x, x + 1, dim=1),
    lambda x: F.batch_norm(x.mean((2, 3)), torch.zeros(4), torch.ones(4), eps=0.001),
    lambda x: F.group_norm(x[:, :, 0], 2),
    lambda x: F.instance_norm(x[:, :, 0]),
    lambda x: F.layer_norm(x[0], (4, 8, 8)),
    lambda x: F.group_norm(x.flatten(1), 4),
)

MODULES: tuple[Callable[[], Any], ...] = (
    lambda: nn.BatchNorm2d(4),
    lambda: nn.BatchNorm2d(4, affine=False),
    lambda: nn.GroupNorm(2, 4),
    lambda: nn.GroupNorm(4, 4, affine=False),
    lambda: nn.GroupNorm(1, 4),
    lambda: nn.LayerNorm(8),
    lambda: nn.LayerNorm((8, 8)),
    lambda: nn.LayerNorm(8, elementwise_affine=False),
    lambda: nn.LayerNorm(8, bias=False),
    lambda: nn.InstanceNorm2d(4),
    lambda: nn.InstanceNorm2d(4, affine=True),
    lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    lambda: nn.LocalResponseNorm(3),
    lambda: nn.LocalResponseNorm(2),
    lambda: nn.RMSNorm(8),
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
