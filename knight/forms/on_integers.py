"""on_integers: an operator that moves values reads the integers of its input and gives them back elsewhere.

For runtimes that drop no pairs around it, but have a kernel for integers. What it fills in (a Pad) is the
zero point.
"""

from __future__ import annotations

import onnx_ir as ir

from knight.errors import ModelError
from knight.forms import Writing


def integers(writing: Writing) -> ir.Value | None:
    """The node's own output, which holds integers from here on."""
    node = writing.node
    real = next(iter(node.inputs), None)
    dequantize = real.producer() if real is not None else None
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        raise ModelError(
            f"{node.name}: the plan has it work on integers, and what it reads is not quantized; "
            f"make the plan again"
        )
    node.replace_input_with(0, dequantize.inputs[0])
    if node.op_type == "Pad":
        node.resize_inputs(max(3, len(node.inputs)))
        node.replace_input_with(2, writing.zero_point)
    writing.value.type = writing.zero_point.type  # a new type: the float model's value shares the old one
    return writing.value
