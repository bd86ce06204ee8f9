"""Dimensions that stay open: lengths and picture sizes that code computes with, and what has to be fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from knight.converters.pytorch._fx import convert_module
from knight.listener import Listener
from knight.runner import Session
from tests.converters.pytorch.models import Encoder, Tagger, UNet, YoloHead
from tests.converters.pytorch.nets import flat
from tests.converters.pytorch.test_attention import Attend, Windows
from tests.converters.pytorch.test_idioms import Anchorless, Causal, Gates, Peaks, Points, Speech, Styled

LENGTH, PICTURE = {0: "N", 1: "T"}, {0: "N", 2: "H", 3: "W"}


class Heard(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def converted(
    net: nn.Module, inputs: Sequence[Tensor], axes: Sequence[Mapping[int, str]]
) -> tuple[Callable[..., None], list[str]]:
    """Something that compares `net` and its conversion for other inputs, and the warnings."""
    names = [f"x{i}" for i in range(len(inputs))]
    heard, open_axes = Heard(), dict(zip(names, axes, strict=True))
    model, _ = convert_module(net.eval(), inputs, input_names=names, dynamic_axes=open_axes, listener=heard)
    session = Session(model, level="basic")

    def compare(*others: Tensor) -> None:
        with torch.no_grad():
            wanted = flat(net(*others))
        got = session.run({name: value.numpy() for name, value in zip(names, others, strict=True)})
        for want, have in zip(wanted, got, strict=True):
            np.testing.assert_allclose(have, want.numpy(), rtol=0, atol=1e-5 + 1e-4 * float(want.abs().max()))

    compare(*inputs)
    return compare, heard.warnings


def words(batch: int, length: int) -> Tensor:
    return torch.randint(1, 10, (batch, length), generator=torch.Generator().manual_seed(length))


NETS: dict[str, tuple[Callable[[], nn.Module], Any, Any, Any]] = {
    "causal": (Causal, [words(2, 4)], [LENGTH], [words(1, 7)]),
    "causal at its limit": (Causal, [words(2, 16)], [LENGTH], [words(3, 5)]),
    "encoder": (Encoder, [words(2, 6)], [LENGTH], [words(1, 9)]),
    "lstm": (lambda: Tagger("LSTM"), [words(2, 6)], [LENGTH], [words(1, 9)]),
    "gru": (lambda: Tagger("GRU"), [words(2, 6)], [LENGTH], [words(1, 9)]),
    "speech": (
        Speech,
        [torch.randn(2, 6, 5), torch.randn(2, 1, 7)],
        [LENGTH, {0: "N"}],
        [torch.randn(1, 9, 5), torch.randn(1, 1, 7)],
    ),
    "unet": (UNet, [torch.randn(2, 3, 16, 24)], [PICTURE], [torch.randn(1, 3, 32, 16)]),
    "anchors": (YoloHead, [torch.randn(2, 3, 32, 32)], [PICTURE], [torch.randn(1, 3, 64, 32)]),
    "anchorless": (Anchorless, [torch.randn(2, 3, 16, 16)], [PICTURE], [torch.randn(1, 3, 32, 16)]),
    "peaks": (Peaks, [torch.randn(2, 3, 8, 8)], [PICTURE], [torch.randn(1, 3, 7, 16)]),
    "gates": (Gates, [torch.randn(2, 8, 8, 8)], [PICTURE], [torch.randn(1, 8, 7, 16)]),
    "styled": (Styled, [torch.randn(2, 3, 6, 6)], [PICTURE], [torch.randn(1, 3, 7, 5)]),
    "points": (Points, [torch.randn(2, 3, 7)], [{0: "N", 2: "P"}], [torch.randn(3, 3, 12)]),
    "windows": (Windows, [torch.randn(2, 4, 8)], [LENGTH], [torch.randn(3, 7, 8)]),
    "attention": (
        lambda: Attend(True),
        [torch.randn(2, 4, 8), torch.randn(2, 5, 8)],
        [LENGTH, {0: "N"}],
        [torch.randn(3, 7, 8), torch.randn(3, 5, 8)],
    ),
    "transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        [torch.randn(2, 4, 8), torch.randn(2, 5, 8)],
        [LENGTH, {0: "N", 1: "S"}],
        [torch.randn(3, 7, 8), torch.randn(3, 2, 8)],
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_nets(name: str) -> None:
    torch.manual_seed(0)
    make, inputs, axes, others = NETS[name]
    compare, warnings = converted(make(), inputs, axes)
    compare(*others)
    assert not warnings


class Large(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[2] > 9 else x + 1


class Bins(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, (2, 3))


@pytest.mark.parametrize(
    ("net", "reason"), [(Large(), "a condition depends on"), (Bins(), "adaptive pooling")]
)
def test_the_batch_stays_open_where_sizes_cannot(net: nn.Module, reason: str) -> None:
    compare, warnings = converted(net, [torch.randn(2, 3, 8, 8)], [PICTURE])
    (said,) = warnings
    assert said.startswith("only the batch is open")
    assert reason in said
    assert "test_open_sizes.py:" in said or "nets.py:" in said
    compare(torch.randn(5, 3, 8, 8))


class Rows(nn.Module):
    """The batch decides: nothing can stay open."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row * i for i, row in enumerate(x)])


def test_fixed_where_the_batch_decides() -> None:
    _, warnings = converted(Rows(), [torch.randn(2, 3)], [{0: "N"}])
    (said,) = warnings
    assert said.startswith("the model is fixed to the sizes of the example inputs")


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_one_batch_under_two_names() -> None:
    compare, warnings = converted(Sum(), [torch.randn(2, 3), torch.randn(2, 3)], [{0: "a"}, {0: "b"}])
    compare(torch.randn(5, 3), torch.randn(5, 3))
    assert not warnings
