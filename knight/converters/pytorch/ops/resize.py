"""Resizing and sampling of pictures."""

from __future__ import annotations

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
        attributes["antialias"] = 1
    if mode == "bicubic":
        attributes["cubic_coeff_a"] = -0.75
    if scale_factor is not None and not recompute_scale_factor:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * count
    else:
        factors = _factors(t, count)
    if factors is not None:
        scales = t.constant(np.array([1, 1, *factors], np.float32))
        return t.op("Resize", input, None, scales, **attributes)
    sizes = t.ints(size if isinstance(size, (tuple, list)) else [size] * count)
    return t.op("Resize", input, None, None, sizes, axes=list(range(2, count + 2)), **attributes)


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
        while np.floor(np.float32(old) * factor) < new:
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
        0: "linear",
        "nearest": "nearest",
        1: "nearest",
        "bicubic": "cubic",
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
