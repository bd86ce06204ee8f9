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
    spatial = list(range(2, rank(input)))
    attributes: dict[str, Any] = {"mode": MODES[mode], "axes": spatial, **_coordinates(mode, align_corners)}
    if antialias:
        attributes["antialias"] = 1
    if mode == "bicubic":
        attributes["cubic_coeff_a"] = -0.75
    if scale_factor is not None and not recompute_scale_factor:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * len(spatial)
        scales = t.constant(np.array(factors, np.float32))
        return t.op("Resize", input, None, scales, **attributes)
    wanted = [set(column) for column in zip(*(tuple(e.shape)[2:] for e in t.examples), strict=True)]
    if all(len(found) == 1 for found in wanted):
        sizes = t.constant(np.array([found.pop() for found in wanted]))
    else:
        sizes = t.ints(size if isinstance(size, (tuple, list)) else [size] * len(spatial))
    return t.op("Resize", input, None, None, sizes, **attributes)


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
