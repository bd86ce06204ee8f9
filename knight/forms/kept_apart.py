"""kept_apart: an operator stays float between pairs, though the runtime would quantize its weights.

ONNX Runtime takes a Conv or Gemm with float weights between DequantizeLinear and QuantizeLinear for one that
somebody forgot, and gives it int8 weights of one scale for all. A Sum of one number behind it computes
nothing, and keeps the operator what it is.
"""

from __future__ import annotations

import onnx_ir as ir

from knight.forms import Writing


def integers(writing: Writing) -> ir.Value | None:
    """Those of a QuantizeLinear behind the Sum."""
    value, blocks = writing.value, writing.blocks
    apart = blocks.node("Sum", [value], value.name or "", ir.DataType.FLOAT, value)
    numbers = [apart.outputs[0], writing.scale, writing.zero_point]
    quantize = blocks.node("QuantizeLinear", numbers, value.name or "", writing.zero_point.dtype, value)
    blocks.graph.insert_after(writing.node, [apart, quantize])
    return quantize.outputs[0]
