"""Resizing and sampling of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

F = "torch.nn.functional."
MODES = {
    "nearest": "nearest",
    "nearest-exact": "nearest",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "cubic",
}


@translates(f"{F}interpolate", f"{F}upsample")
def interpolate(
    t: Translator,
    input: ir.Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> ir.Value:
    if mode == "area":
        from knight.converters.pytorch.ops.pooling import adaptive_avg_pool

        return adaptive_avg_pool(t, input, size)
    if mode not in MODES:
        raise ModelError(f"interpolate with mode {mode!r} has no ONNX form")
    count = rank(input) - 2
    attributes: dict[str, Any] = {"mode": MODES[mode], **_coordinates(mode, align_corners)}
    if antialias:
        return _antialiased(t, input, mode, bool(align_corners))
    if mode == "bicubic":
        attributes["cubic_coeff_a"] = -0.75
    factors: Sequence[Any] | None = _factors(t, count)
    if scale_factor is not None and not recompute_scale_factor:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * count
    if factors is not None:
        scales = t.constant(np.array([1, 1, *factors], np.float32))
        return t.op("Resize", input, None, scales, **attributes)
    sizes = t.ints(size if isinstance(size, (tuple, list)) else [size] * count)
    return t.op("Resize", input, None, None, sizes, axes=list(range(2, count + 2)), **attributes)


def _antialiased(t: Translator, x: ir.Value, mode: str, corners: bool) -> ir.Value:
    """A product with a matrix along each axis, which torch itself fills: its filters differ from ONNX's."""
    import torch

    sizes = t.fixed_sizes("interpolate with antialias", (2, 3))
    for axis, (old, new) in enumerate(zip(sizes, tuple(t.examples[0].shape)[2:], strict=True)):
        units = torch.eye(old).view(1, old, old, 1).repeat(1, 1, 1, 2)  # torch is wrong for a width of 1
        filled = torch.nn.functional.interpolate(
            units, size=(new, 2), mode=mode, align_corners=corners, antialias=True
        )
        matrix = filled[0, :, :, 0].numpy()  # [old, new]
        factors = (t.like(matrix.T, x), x) if axis == 0 else (x, t.like(matrix, x))
        x = t.op("MatMul", *factors)
    return x


def _factors(t: Translator, count: int) -> list[np.float32] | None:
    """The least factors that give the example's sizes after rounding down; None where a size is open.

    Factors leave the batch open without `axes`, which ONNX Runtime loses when it fuses quantized operators.
    """
    before = {tuple(arguments[0].shape)[-count:] for arguments in t.inputs}
    after = {tuple(example.shape)[-count:] for example in t.examples}
    if len(before) > 1 or len(after) > 1:
        return None
    factors = []
    for old, new in zip(before.pop(), after.pop(), strict=True):
        factor = np.float32(new / old)
        while np.floor(old * float(factor)) < new:  # in double precision as well
            factor = np.nextafter(factor, np.float32(np.inf))
        factors.append(factor)
    return factors


def _coordinates(mode: str, align_corners: bool | None) -> dict[str, str]:
    if mode == "nearest":
        return {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if mode == "nearest-exact":
        return {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
    return {"coordinate_transformation_mode": "align_corners" if align_corners else "half_pixel"}


@translates(f"{F}grid_sample", "torch.grid_sampler")
def grid_sample(
    t: Translator,
    input: ir.Value,
    grid: ir.Value,
    mode: Any = "bilinear",
    padding_mode: Any = "zeros",
    align_corners: bool | None = None,
) -> ir.Value:
    modes = {
        "bilinear": "linear",
        "nearest": "nearest",
        "bicubic": "cubic",
        0: "linear",
        1: "nearest",
        2: "cubic",
    }
    paddings = {0: "zeros", 1: "border", 2: "reflection"}
    return t.op(
        "GridSample",
        input,
        grid,
        mode=modes[mode],
        padding_mode=paddings.get(padding_mode, padding_mode),
        align_corners=int(bool(align_corners)),
    )


@translates(f"{F}affine_grid")
def affine_grid(t: Translator, theta: ir.Value, size: Any, align_corners: bool | None = None) -> ir.Value:
    """Where each element of the result lies, between -1 and 1, moved by the affine map `theta`."""
    sizes = list(tuple(t.examples[0].shape)[1:-1])
    lines = []
    for length in sizes:
        places = np.arange(length) * 2.0 + 1 - length
        lines.append(places / (max(length - 1, 1) if align_corners else length))
    grids = np.meshgrid(*lines, indexing="ij")[::-1]  # torch puts x first
    base = np.stack([*(grid.reshape(-1) for grid in grids), np.ones(np.prod(sizes))], axis=1)
    moved = t.op("MatMul", t.like(base, theta), t.op("Transpose", theta, perm=[0, 2, 1]))
    return t.op("Reshape", moved, t.constant(np.array([0, *sizes, len(sizes)])))
