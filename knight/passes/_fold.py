"""Folding of a per-channel affine map ``y = scale * x + shift`` into the linear operator beside it.

After a linear operator:   scale * (W x + b) + shift  =  (scale W) x + (scale b + shift)
Before a linear operator:  W (scale * x + shift) + b  =  (W scale) x + (W shift + b)

The arithmetic is float64; the results are stored in the type of the weights. Every function either
changes the graph and says True, or leaves it untouched and says False.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from knight import model as models
from knight.edit import Editor
from knight.operators import is_op
from knight.passes._queries import rank

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """``scale * x + shift``, both of shape [channels]."""

    scale: Doubles
    shift: Doubles

    @property
    def finite(self) -> bool:
        """False for what a zero variance or a division by zero leaves behind."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


@dataclass(frozen=True)
class Channels:
    """Where the channels of a tensor are: of `rank` axes, axis `axis` has `count` elements."""

    rank: int
    axis: int
    count: int

    def spread(self, array: np.ndarray | None) -> Doubles | None:
        """`array` as float64 [count] if it broadcasts to one number per channel and no further, else None."""
        if array is None or array.ndim > self.rank or not np.issubdtype(array.dtype, np.floating):
            return None
        shape = (1,) * (self.rank - array.ndim) + array.shape
        if any(size != 1 for axis, size in enumerate(shape) if axis != self.axis):
            return None
        if shape[self.axis] not in (1, self.count):
            return None
        return np.broadcast_to(array.astype(np.float64).reshape(-1), (self.count,))


def output_channels(node: ir.Node) -> Channels | None:
    """Channels of a linear operator's result; None if its weight or bias is not constant."""
    weight = models.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or not np.issubdtype(weight.dtype, np.floating) or not is_op(node):
        return None
    match node.op_type:
        case "Conv" if weight.ndim > 2:
            channels = Channels(weight.ndim, 1, weight.shape[0])
        case "ConvTranspose" if weight.ndim > 2:
            channels = Channels(weight.ndim, 1, weight.shape[1] * _group(node))
        case "Gemm" if weight.ndim == 2:
            channels = Channels(2, 1, weight.shape[0 if _transposed(node) else 1])
        case "MatMul" if weight.ndim == 2:
            known = rank(node.outputs[0]) or 1  # unknown: still safe for vectors along the last axis
            return Channels(known, known - 1, weight.shape[1])
        case _:
            return None
    return None if _bias(node, channels) is None else channels


def fold_after(edit: Editor, node: ir.Node, affine: Affine) -> bool:
    """Folds `affine` on the result of the linear operator `node` into its weight and bias."""
    channels = output_channels(node)
    if channels is None or not affine.finite:
        return False
    weight = _weight(node)
    if node.op_type == "ConvTranspose":
        grouped = _grouped(weight, _group(node))  # [group, in, out, ...]
        scale = _along(affine.scale.reshape(len(grouped), -1), (0, 2), grouped.ndim)
        scaled = (grouped * scale).reshape(weight.shape)
    elif node.op_type == "Conv" or _transposed(node):
        scaled = weight * _along(affine.scale, (0,), weight.ndim)
    else:
        scaled = weight * affine.scale
    bias = _bias(node, channels)
    return _store(edit, node, scaled, affine.shift if bias is None else bias * affine.scale + affine.shift)


def input_channels(node: ir.Node) -> int | None:
    """Number of channels that a linear operator reads; None if its weight or bias is not constant."""
    if output_channels(node) is None:
        return None
    weight = _weight(node)
    match node.op_type:
        case "Conv":
            return int(weight.shape[1]) * _group(node)
        case "Gemm" if not node.attributes.get_int("transA", 0):
            return int(weight.shape[1 if _transposed(node) else 0])
        case "MatMul":
            return int(weight.shape[0])
    return None


def fold_before(edit: Editor, node: ir.Node, affine: Affine, *, padded: bool = False) -> bool:
    """Folds `affine` on the channels that the linear operator `node` reads into its weight and bias.

    A Conv pads with zeros after the map, not with what the map makes of zero: exact only without padding or
    without shift. padded: fold a shift all the same, which the results at the edges then have too much.
    """
    channels = output_channels(node)
    if channels is None or input_channels(node) != len(affine.scale) or not affine.finite:
        return False
    weight = _weight(node)
    if node.op_type == "Conv":
        if affine.shift.any() and not (padded or unpadded(node)):
            return False
        groups = _group(node)
        grouped = _grouped(weight, groups)  # [group, out, in, ...]
        scale = _along(affine.scale.reshape(groups, -1), (0, 2), grouped.ndim)
        shift = _along(affine.shift.reshape(groups, -1), (0, 2), grouped.ndim)
        scaled = (grouped * scale).reshape(weight.shape)
        moved = (grouped * shift).reshape(len(weight), -1).sum(axis=1)
    else:
        transposed = _transposed(node)
        alpha = node.attributes.get_float("alpha", 1.0)
        scaled = weight * (affine.scale if transposed else affine.scale[:, None])
        moved = alpha * (weight @ affine.shift if transposed else affine.shift @ weight)
    bias = _bias(node, channels)
    return _store(edit, node, scaled, moved if bias is None else bias + moved)


def fold_factors(edit: Editor, gemm: ir.Node) -> bool:
    """Folds alpha and beta of a Gemm with constant weight and bias into them."""
    channels = output_channels(gemm)
    alpha, beta = gemm.attributes.get_float("alpha", 1.0), gemm.attributes.get_float("beta", 1.0)
    bias = None if channels is None else _bias(gemm, channels)
    if bias is None or (alpha == 1.0 and (beta == 1.0 or not bias.any())):
        return False
    if not _store(edit, gemm, _weight(gemm) * alpha, bias):
        return False
    gemm.attributes.pop("alpha", None)
    return True


def _weight(node: ir.Node) -> Doubles:
    weight = models.constant(node.inputs[1])
    assert weight is not None
    return weight.astype(np.float64)


def _bias(node: ir.Node, channels: Channels) -> Doubles | None:
    """The bias (times Gemm's beta) as [channels]; zeros if there is none, None if it is not constant."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels.count)
    if node.op_type != "Gemm":
        channels = Channels(1, 0, channels.count)
    bias = channels.spread(models.constant(node.inputs[2]))
    return None if bias is None else bias * node.attributes.get_float("beta", 1.0)


def _transposed(node: ir.Node) -> bool:
    return node.attributes.get_int("transB", 0) != 0


def _group(node: ir.Node) -> int:
    return node.attributes.get_int("group", 1)


def _grouped(weight: Doubles, groups: int) -> Doubles:
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def _along(numbers: Doubles, axes: tuple[int, ...], ndim: int) -> Doubles:
    """`numbers` shaped so that its axes broadcast along `axes` of an array with `ndim` axes."""
    shape = [1] * ndim
    for axis, size in zip(axes, numbers.shape, strict=True):
        shape[axis] = size
    return numbers.reshape(shape)


def unpadded(node: ir.Node) -> bool:
    """Whether a Conv pads nothing."""
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    pads = node.attributes.get_ints("pads", ())
    return not np.any(pads)


def _store(edit: Editor, node: ir.Node, weight: Doubles, bias: Doubles) -> bool:
    """Gives `node` its new numbers, if they are finite in the weight's type and `node` can hold them."""
    old, value = models.constant(node.inputs[1]), node.inputs[1]
    assert old is not None and value is not None
    with np.errstate(over="ignore"):
        new_weight, new_bias = weight.astype(old.dtype), bias.astype(old.dtype)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return False
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    if node.op_type == "MatMul" and new_bias.any():
        if rank(node.inputs[0]) != 2:
            return False
        node.op_type = "Gemm"
    if not np.array_equal(new_weight, old):  # a shared weight that stays the same stays shared
        edit.set_constant(node, 1, new_weight, str(value.name))
    if has_bias or new_bias.any():
        edit.set_constant(node, 2, new_bias, f"{value.name}_bias")
        node.attributes.pop("beta", None)
    return True
