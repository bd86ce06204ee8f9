"""Convolutions and linear layers: paddings, groups, transposed, without a batch; against eager torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.converters.pytorch.nets import check

FUNCTIONS: tuple[Callable[[Any], Any], ...] = (
    lambda x: F.conv2d(x[0], torch.ones(3, 4, 2, 2)),
    lambda x: F.conv2d(x, torch.ones(3, 4, 2, 2), padding="valid"),
    lambda x: F.conv2d(x, x[:1, :, :3, :3]),
    lambda x: F.linear(x[0, 0, 0], torch.ones(2, 8), torch.ones(2)),
    lambda x: F.bilinear(x, x, torch.ones(3, 8, 8)),
    lambda x: F.conv1d(x[:, :, 0], torch.ones(4, 4, 3), padding=1),
    lambda x: F.conv3d(x[:, None], torch.ones(2, 1, 2, 2, 2), stride=(1, 2, 1)),
    lambda x: F.conv_transpose1d(x[:, :, 0], torch.ones(4, 2, 3), stride=2, output_padding=1),
    lambda x: F.conv_transpose3d(x[:, None], torch.ones(1, 2, 2, 2, 2), stride=2),
)

MODULES: tuple[Callable[[], Any], ...] = (
    lambda: nn.Conv2d(4, 6, 3, 2, 1, 2, 2),
    lambda: nn.Conv2d(4, 6, (3, 4), padding="same", dilation=(1, 2)),
    lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
    lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect"),
    lambda: nn.Conv2d(4, 6, 5, padding="same", padding_mode="replicate"),
    lambda: nn.Conv2d(4, 4, 2, padding="same", bias=False, groups=4),
    lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, True, 2),
    lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 0)),
    lambda: nn.Linear(8, 3),
    lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 3, bias=False)),
    lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
    lambda: nn.utils.weight_norm(nn.Linear(8, 4)),
    lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4)),
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
