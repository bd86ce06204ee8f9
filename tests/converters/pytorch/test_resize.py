"""Resized and sampled pictures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knight.converters.pytorch._fx import convert_module
from knight.errors import ModelError
from knight.runner import Session
from tests.converters.pytorch.nets import check

X = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(3))


def test_nearest() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
            F.interpolate(x, size=(7, 11)),
            F.interpolate(x, size=8),
            F.interpolate(x, scale_factor=0.5),
            F.interpolate(x, scale_factor=1.3),
            F.interpolate(x, scale_factor=1.3, recompute_scale_factor=True),
            F.interpolate(x, size=(3, 4)),
            F.interpolate(x, size=(12, 10), mode="nearest-exact"),
            F.interpolate(x, size=(3, 4), mode="nearest-exact"),
            F.interpolate(x[:, :, 0], scale_factor=2),
            F.interpolate(x[:, :, None], scale_factor=(1, 2, 2)),
            nn.Upsample(scale_factor=3)(x),
            nn.UpsamplingNearest2d(scale_factor=2)(x),
        ]

    check(calls, X)


def test_linear() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            F.interpolate(x, scale_factor=2, mode="bilinear"),
            F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
            F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
            F.interpolate(x, size=(7, 11), mode="bilinear", align_corners=False),
            F.interpolate(x, size=(7, 11), mode="bilinear", align_corners=True),
            F.interpolate(x, size=(1, 1), mode="bilinear", align_corners=True),
            F.interpolate(x, size=(3, 4), mode="bilinear"),
            F.interpolate(x, scale_factor=1.7, mode="bilinear"),
            F.interpolate(x, scale_factor=(0.6, 2.3), mode="bilinear"),
            F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
            F.interpolate(x, scale_factor=1.7, mode="bilinear", align_corners=True),
            F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True),
            F.interpolate(x[:, :, 0], scale_factor=2.5, mode="linear"),
            F.interpolate(x[:, :, None], size=(2, 7, 8), mode="trilinear"),
            nn.UpsamplingBilinear2d(scale_factor=2)(x),
            F.interpolate(x[:, :, :1, :1], size=(4, 4), mode="bilinear"),
        ]

    check(calls, X)


def test_cubic() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            F.interpolate(x, scale_factor=2, mode="bicubic"),
            F.interpolate(x, size=(7, 11), mode="bicubic", align_corners=True),
            F.interpolate(x, size=(4, 3), mode="bicubic"),
            F.interpolate(x, scale_factor=1.4, mode="bicubic"),
        ]

    check(calls, X)


def test_areas() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [F.interpolate(x, size=(5, 3), mode="area"), F.interpolate(x, scale_factor=0.5, mode="area")]

    check(calls, X)


def test_the_size_of_another_tensor() -> None:
    def calls(x: Tensor, y: Tensor) -> list[Tensor]:
        return [
            F.interpolate(x, size=y.shape[2:]),
            F.interpolate(x, size=(y.size(2), y.shape[-1]), mode="bilinear"),
            F.interpolate(x, size=y.shape[-2:], mode="bilinear", align_corners=True) + y,
        ]

    check(calls, X, torch.randn(2, 3, 9, 8))


def test_open_sizes() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            small = F.avg_pool2d(x, 2)
            return F.interpolate(small, size=x.shape[2:], mode="bilinear"), F.interpolate(x, scale_factor=2)

    axes = {"x": {0: "N", 2: "H", 3: "W"}}
    model, _ = convert_module(Net(), [X], input_names=["x"], dynamic_axes=axes)
    session = Session(model, level="basic")
    for size in ((1, 3, 8, 4), (3, 3, 6, 10)):
        x = torch.randn(size)
        for have, want in zip(session.run({"x": x.numpy()}), Net()(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(have), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [True, False])
def test_sampled_at_a_grid(mode: str, padding: str, corners: bool) -> None:
    grid = torch.rand(2, 4, 7, 2, generator=torch.Generator().manual_seed(5)) * 2.6 - 1.3
    check(lambda x, g: F.grid_sample(x, g, mode=mode, padding_mode=padding, align_corners=corners), X, grid)


def test_affine_grids() -> None:
    turn = torch.tensor([[[0.8, -0.3, 0.1], [0.2, 0.9, -0.2]]]).repeat(2, 1, 1)

    def calls(x: Tensor, turn: Tensor) -> list[Tensor]:
        grid = F.affine_grid(turn, [x.shape[0], 3, 4, 6], align_corners=False)
        return [
            grid,
            F.affine_grid(turn, x.size(), align_corners=True),
            F.grid_sample(x, grid, align_corners=False),
        ]

    check(calls, X, turn)


def test_doubling_is_told_by_its_scale() -> None:
    """Runtimes and chips have kernels for whole scales."""
    model = check(lambda x: F.interpolate(x, scale_factor=2), X)
    (node,) = model.graph
    assert node.op_type == "Resize"
    assert node.inputs[2] is not None


def test_unknown_modes_are_errors() -> None:
    with pytest.raises(ModelError, match="align_corners"):
        check(lambda x: F.interpolate(x, scale_factor=2, mode="nearest", align_corners=True), X)
