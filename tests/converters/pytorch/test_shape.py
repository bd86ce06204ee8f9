"""Operators that move, join, cut and make tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knight.converters.pytorch._fx import convert_module
from knight.errors import ModelError
from knight.runner import Session
from tests.converters.pytorch.nets import check

X = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))


def test_reshapes() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x.view(x.size(0), -1),
            x.view(-1, 12, 6),
            x.reshape(x.shape[0], 3, -1),
            x.reshape((x.shape[0] * 3, 4, 6)),
            torch.reshape(x, (-1, 2, 12)),
            x.reshape_as(x.transpose(1, 3)),
            x.flatten(1),
            torch.flatten(x, 1, 2),
            x.flatten(),
            torch.flatten(x, start_dim=2),
            x.unflatten(2, (2, 2)),
            torch.unflatten(x, 3, (3, -1)),
            x.ravel(),
            x.view(*x.shape[:2], -1),
            nn.Flatten()(x),
            nn.Unflatten(1, (1, 3))(x),
        ]

    check(calls, X)


def test_axes_are_moved_put_in_and_dropped() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x.permute(0, 2, 3, 1),
            x.permute((3, 2, 1, 0)),
            torch.permute(x, (0, -1, 1, 2)),
            x.transpose(1, -1),
            torch.transpose(x, 0, 1),
            x.swapaxes(1, 2),
            torch.movedim(x, 1, -1),
            x.movedim((1, 2), (3, 1)),
            x.mT,
            x[0, 0].t(),
            x[0, 0].T,
            x.unsqueeze(-1).squeeze(-1),
            x[:, :1].squeeze(1),
            torch.squeeze(x[:, :1, :1]),
            x[:, :1, :1].squeeze((1, 2)),
            x.squeeze(1),
            torch.unsqueeze(x, 0),
            torch.atleast_3d(x[0, 0]),
            torch.atleast_2d(x[0, 0, 0]),
            torch.atleast_1d(x),
        ]

    check(calls, X)


def test_types_are_converted() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x.to(torch.int32),
            x.to("cpu", torch.float64),
            x.to(torch.device("cpu")),
            x.long(),
            x.bool(),
            x.double(),
            x.type(torch.int64),
            x.type_as(x.int()),
            x.to(x.long()).float(),
            x.contiguous().clone().detach().cpu() + 1,
        ]

    check(calls, X)


def test_repetitions() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x[:, :1].expand(-1, 3, -1, -1),
            x[:1, :1].expand(x.shape[0], 5, 4, 6),
            x[0].expand(x.size(0), -1, -1, -1),
            x[:, :1].expand_as(x),
            torch.broadcast_to(x[0, 0, 0], (2, 6)),
            x.repeat(1, 2, 1, 3),
            x[0, 0].repeat(2, 1, 1),
            x[0, :1].repeat(x.shape[0], 1, 1),
            torch.tile(x, (2, 1)),
            x.tile(2, 1, 1, 1),
            x.repeat_interleave(2, dim=1),
            torch.repeat_interleave(x, 3, dim=-1),
            torch.repeat_interleave(x, 2, dim=0),
            x[0].repeat_interleave(2),
        ]

    check(calls, X)


def test_tensors_are_joined_and_cut() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        a, b, c = x.chunk(3, dim=1)
        d, e = torch.split(x, [1, 5], dim=3)
        return [
            torch.cat([x, a], dim=1),
            torch.cat((x, x.long()), -1),
            torch.concat([b, c], dim=2),
            torch.stack([a, c], dim=1),
            torch.stack((a, b), -1),
            torch.hstack([x, a]),
            torch.vstack([x[0, 0, 0], x[0, 0, 1]]),
            torch.dstack([x, x]),
            torch.column_stack([x[0, 0], x[0, 1]]),
            d,
            e,
            *x.split(4, dim=-1),
            *x.split((2, 1), 1),
            *torch.tensor_split(x, 4, dim=3),
            *torch.tensor_split(x, (1, 4), dim=3),
            *torch.chunk(x, 4, 3),
            *x.unbind(1),
            *torch.unbind(x, -2)[:2],
            *[row for row in x[0]],
            x.narrow(1, 1, 2),
            torch.narrow(x, 2, -2, 1),
            x.select(1, 2),
            torch.select(x, 3, -1),
            *torch.hsplit(x, 3),
        ]

    check(calls, X)


def test_rolls_and_flips() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            torch.roll(x, shifts=(1, -2), dims=(2, 3)),
            x.roll(7, -1),
            torch.roll(x[0], 5),
            x.roll(0, 1),
            torch.flip(x, [1, 3]),
            x.flip(2),
            x.flip(-1, 1),
            torch.fliplr(x),
            torch.flipud(x),
            torch.rot90(x, 1, (2, 3)),
            torch.rot90(x, 2, (2, 3)),
        ]

    check(calls, X)


def test_pads() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            F.pad(x, (1, 2)),
            F.pad(x, (1, 0, 2, 1), value=3.5),
            F.pad(x, (0, -1, -2, 1)),
            F.pad(x, (0, 0, 0, 0, 1, 2)),
            F.pad(x, (1, 2, 3, 1), mode="reflect"),
            F.pad(x, (1, 2, 3, 1), mode="replicate"),
            F.pad(x, (2, 1, 1, 2), mode="circular"),
            nn.ZeroPad2d(1)(x),
            nn.ConstantPad2d((1, 0, 0, 1), 2.0)(x),
            nn.ReflectionPad2d(2)(x),
            nn.ReplicationPad2d((1, 2, 0, 1))(x),
            nn.CircularPad2d(1)(x),
            F.pad(x.long(), (1, 1), value=7),
            F.pad(x > 0, (1, 1)),
        ]

    check(calls, X)


def test_blocks_are_rearranged() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        wide = torch.cat([x, x, x, x], dim=1)
        return [
            F.pixel_shuffle(wide, 2),
            nn.PixelShuffle(2)(wide),
            F.pixel_unshuffle(x, 2),
            nn.PixelUnshuffle(2)(x),
            F.channel_shuffle(wide, 3),
            nn.ChannelShuffle(2)(wide),
            F.unfold(x, 3, padding=1),
            F.unfold(x, (2, 3), dilation=(1, 2), stride=(2, 1)),
            nn.Unfold(2, stride=2)(x),
            F.fold(F.unfold(x, 2, stride=2), (4, 6), 2, stride=2),
            F.fold(F.unfold(x, 3, padding=1), (4, 6), 3, padding=1),
            nn.Fold((4, 6), (2, 3), dilation=(1, 2))(F.unfold(x, (2, 3), dilation=(1, 2))),
            x.unfold(3, 3, 2),
            x.unfold(2, 2, 1),
        ]

    check(calls, X)


def test_sizes() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        n, c, _, w = x.shape
        return [
            x * n + c,
            x / (x.size(0) * w),
            x[:, : x.size(1) - 1],
            x.view(n, c * 2, -1),
            x + x.numel(),
            x * x.dim() * x.ndim * len(x.shape),
            x.reshape(n // 1, c, w, -1),
            x.new_zeros(n, 4),
        ]

    check(calls, X)


def test_tensors_are_made() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        n, device = x.shape[0], x.device
        return [
            torch.zeros(n, 4, device=device) + x[:, 0, 0, :4],
            torch.ones((n, 1, 1, 1)) * x,
            torch.full((n, 2), 3.0) * 2,
            torch.zeros_like(x) + 1,
            torch.ones_like(x, dtype=torch.int64),
            torch.full_like(x, 0.5),
            x.new_zeros((n, 3)),
            x.new_ones(2, n),
            x.new_full((n, 2), 4.0),
            x.new_tensor([1.0, 2.0]),
            torch.arange(n, device=device),
            torch.arange(0, n * 4, 2),
            torch.arange(6.0) + x,
            torch.arange(x.shape[3], dtype=torch.float32) * 0.5,
            torch.linspace(0, 1, 6) * x,
            torch.linspace(-1, 1, n),
            torch.eye(6) * x[0, :1, :1],
            torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) * x,
            torch.full((), 2.0) * x,
            x.tril(),
            torch.triu(x, diagonal=1),
            torch.tril(torch.ones(4, 4), -1) * x[0, 0, :, :4],
            torch.diagonal(x, dim1=2, dim2=3),
            torch.diag_embed(x[..., 0]),
        ]

    check(calls, X)


def test_grids() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        ys, xs = torch.meshgrid(torch.arange(x.shape[2]), torch.arange(x.shape[3]), indexing="ij")
        first, second = torch.meshgrid(torch.arange(x.shape[0]).float(), x[0, 0, 0], indexing="ij")
        left, right = torch.meshgrid(x[0, 0, 0], torch.arange(x.shape[0]).float(), indexing="xy")
        return [x + ys, x * xs, first, second, left, right, torch.stack((xs, ys), 2).float() + x[0, 0, 0, 0]]

    check(calls, X)


def test_several_open_dimensions_keep_their_products() -> None:
    class Net(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            n, c, h, w = a.shape
            return a.view(n, c, h * w).transpose(1, 2).reshape(n, h, w, c).permute(0, 3, 1, 2) * 2

    axes = {"x": {0: "N", 2: "H", 3: "W"}}
    model, _ = convert_module(Net(), [X], input_names=["x"], dynamic_axes=axes)
    session = Session(model, level="basic")
    for size in ((1, 3, 5, 7), (3, 3, 4, 4)):
        x = torch.randn(size)
        np.testing.assert_allclose(session.run({"x": x.numpy()})[0], Net()(x).numpy(), rtol=1e-6)


def test_flattening_is_one_operator() -> None:
    model = check(lambda x: x.flatten(1), X)
    assert [node.op_type for node in model.graph] == ["Flatten"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.view(torch.int32), "to another type"),
        (lambda x: x.repeat_interleave((x[0, 0, 0] > 0).long(), dim=3), "depends on data"),
    ],
)
def test_what_cannot_be_said_is_an_error(function, message) -> None:
    with pytest.raises(ModelError, match=message):
        check(function, X)
