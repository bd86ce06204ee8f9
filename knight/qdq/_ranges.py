"""Ranges of fewer bits than the integers that hold them: a Clip between Quantize- and DequantizeLinear.

No integer type has the range 0..127 of PyTorch's 7-bit activations or -127..127; exporters say it so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.operators import STANDARD
from knight.qdq.graph import QUANTIZE
from knight.qdq.integer_operators import input_at
from knight.qdq.numbers import integer_type, with_range
from knight.types import QParams, QuantSpec


@dataclass(frozen=True)
class Range:
    """bits: of the integers that are in use. narrow: the smallest of them is not."""

    bits: int
    narrow: bool


def narrowed(params: QParams, found: Range | None) -> QParams:
    """`params` with the range that is in use."""
    if found is None:
        return params
    spec = params.spec
    return with_range(
        found.bits, spec.signed, spec.axis, params.scale, params.zero_point, narrow=found.narrow
    )


def take_out_clips(graph: ir.Graph) -> dict[str, Range]:
    """Takes out the Clips that say the range of the integers which a QuantizeLinear makes of activations.

    Returns the ranges by the name of the integers that DequantizeLinear reads then; a constant's Clip stays,
    since its numbers are computed.
    """
    ranges: dict[str, Range] = {}
    for node in list(graph):
        integers = input_at(node, 0)
        quantize = integers.producer() if integers is not None and node.op_type == "Clip" else None
        if integers is None or quantize is None or quantize.op_type != QUANTIZE:
            continue
        found = _range(node, integers) if node.domain in STANDARD else None
        if found is None:
            continue
        clipped = node.outputs[0]
        ranges[clipped.name or ""] = found
        if not models.is_constant(quantize.inputs[0]) and len(integers.uses()) == 1:
            ranges[integers.name or ""] = found
            clipped.replace_all_uses_with(integers, replace_graph_outputs=True)
            graph.remove(node, safe=True)
    return ranges


def _range(clip: ir.Node, integers: ir.Value) -> Range | None:
    """The range of a Clip, where it is one of whole bits; a missing bound is the type's own."""
    dtype = integer_type(integers)
    if dtype is None or dtype.bitwidth > 16:
        return None
    signed = dtype.name.startswith("INT")
    whole = QuantSpec(dtype.bitwidth, signed)
    bounds = []
    for place, own in ((1, whole.qmin), (2, whole.qmax)):
        value = input_at(clip, place)
        number = models.constant(value)
        if value is not None and (number is None or number.size != 1):
            return None
        bounds.append(own if number is None else int(np.reshape(number, ())))
    for bits in range(2, dtype.bitwidth + 1):
        for narrow in (False, True):
            spec = QuantSpec(bits, signed, narrow=narrow)
            if [spec.qmin, spec.qmax] == bounds:
                return Range(bits, narrow)
    return None
