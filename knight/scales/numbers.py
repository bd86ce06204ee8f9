"""Scales and zero points as JSON has them: float32 to the bit, one number or a list of them."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import numpy as np

from knight.errors import wrong_value
from knight.schema import Table, wants
from knight.types import QParams, QuantSpec

Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_Integer = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**32)]


class Spec(Table, frozen=True):
    """As `QuantSpec`."""

    bits: Annotated[int, msgspec.Meta(ge=2, le=32)]
    signed: bool
    symmetric: bool
    axis: Annotated[int, msgspec.Meta(ge=-64, le=63)] | None
    narrow: bool
    centred: bool
    block_size: Annotated[int, msgspec.Meta(ge=1, le=2**40)] | None

    def spec(self) -> QuantSpec:
        """The same as a `QuantSpec`."""
        return msgspec.convert(self, QuantSpec, from_attributes=True)


class Numbers(Table, frozen=True, omit_defaults=True):
    """As `QParams`.

    scale, zero_point: one number, or a list along `spec.axis`; with blocks, of all numbers in C order, and
    `shape` says how many there are on each axis.
    """

    spec: Spec
    scale: Annotated[float | tuple[float, ...], wants("a number above 0, or a list of such numbers")]
    zero_point: Annotated[
        _Integer | tuple[_Integer, ...], wants("an integer of the grid, or a list of such integers")
    ]
    shape: (
        Annotated[
            tuple[Size, ...],
            msgspec.Meta(max_length=8),
            wants("a list of at most 8 sizes, with blocks only"),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        count = len(self.scale) if isinstance(self.scale, tuple) else None
        if (len(self.zero_point) if isinstance(self.zero_point, tuple) else None) != count:
            raise ValueError("zero_point: has another number of items than scale; give one for each scale")
        if count is not None and self.spec.axis is None:
            raise ValueError("scale: is a list, and spec.axis is null; give one number, or the axis")
        if (self.shape is not None) != (count is not None and self.spec.block_size is not None):
            raise ValueError("shape: goes with a list of scales of a grid that has blocks; add or remove it")
        if self.shape is not None and math.prod(self.shape) != count:
            raise ValueError(f"shape: {wrong_value(list(self.shape), f'of {count} numbers, as scale has')}")
        with np.errstate(over="ignore"):
            scale = np.asarray(self.scale, np.float64).astype(np.float32)
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError("scale: holds a number that is no float32 above 0; calibrate again")
        spec, zeros = self.spec.spec(), np.asarray(self.zero_point, np.int64)
        if not ((zeros >= spec.qmin) & (zeros <= spec.qmax)).all():
            raise ValueError(f"zero_point: lies outside of the grid, which is {spec.qmin} to {spec.qmax}")

    def params(self) -> QParams:
        """The same as a `QParams`."""
        spec = self.spec.spec()
        scale = np.asarray(self.scale, np.float64).astype(np.float32)
        zero_point = np.asarray(self.zero_point, np.int64).astype(spec.dtype)
        shape = scale.shape if self.shape is None else self.shape
        return QParams(spec, scale.reshape(shape), zero_point.reshape(shape))


def numbers(params: QParams) -> dict[str, Any]:
    """The keys of `Numbers`. Raises ValueError for arrays of other types than `QParams` has."""
    if params.scale.dtype != np.float32 or params.zero_point.dtype != params.spec.dtype:
        raise ValueError(
            f"scale and zero point are {params.scale.dtype} and {params.zero_point.dtype}, "
            f"not float32 and {params.spec.dtype}"
        )
    blocks = params.spec.block_size is not None and params.scale.ndim > 0
    scales = [short(scale) for scale in params.scale.reshape(-1)]
    zeros = params.zero_point.astype(np.int64).reshape(-1).tolist()
    found: dict[str, Any] = {"spec": params.spec, "scale": scales, "zero_point": zeros}
    if params.scale.ndim == 0:
        found.update(scale=scales[0], zero_point=zeros[0])
    return found | ({"shape": params.scale.shape} if blocks else {})


def short(number: np.float32) -> float:
    """The double that is written with the fewest digits among those that round to `number`."""
    short = float(str(number))
    return short if np.float32(short) == number else float(number)


def scales_shape(spec: QuantSpec, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Shape of the scales of a tensor of `shape`, as in `QParams`; None where it has no axis `spec.axis`."""
    if spec.axis is None:
        return ()
    if not -len(shape) <= spec.axis < len(shape):
        return None
    if spec.block_size is None:
        return (shape[spec.axis],)
    blocks = list(shape)
    blocks[spec.axis] = -(-shape[spec.axis] // spec.block_size)
    return tuple(blocks)
