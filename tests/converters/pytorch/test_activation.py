"""Activation functions in the corners of their arguments, against eager torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.converters.pytorch.nets import check

FUNCTIONS: tuple[Callable[[Any], Any], ...] = (
    lambda x: F.celu(x, 2.0),
    lambda x: F.elu(x, 0.5),
    lambda x: F.softplus(x * 40, 2, 5),
    lambda x: F.logsigmoid(x * 60),
    F.hardswish,
    F.hardsigmoid,
    F.mish,
    lambda x: F.gelu(x, approximate="tanh"),
    lambda x: F.threshold(x, 0.1, 20.0),
    lambda x: F.glu(x, 1),
    F.hardshrink,
    lambda x: F.softshrink(x, 0.3),
    F.tanhshrink,
    lambda x: F.softmin(x, 1),
    lambda x: F.dropout(x, 0.5, False) + F.dropout2d(x, training=False) + F.alpha_dropout(x),
    lambda x: x.clamp(min=0.0) + x.clamp(max=torch.tensor(0.5)),
    lambda x: torch.clamp(x, x - 1, x * 0),
    lambda x: x.clip(0, 1),
    F.selu,
    lambda x: F.hardtanh(x, -2, 0.5),
    F.relu6,
    lambda x: F.log_softmax(x, -1),
    lambda x: F.softmax(x.double(), 1, dtype=torch.float32),
)

MODULES: tuple[Callable[[], Any], ...] = (
    lambda: nn.PReLU(4),
    nn.PReLU,
    nn.RReLU,
    nn.Softmax2d,
    nn.Hardtanh,
    lambda: nn.Threshold(0.0, 0.0),
    lambda: nn.SiLU(True),
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
