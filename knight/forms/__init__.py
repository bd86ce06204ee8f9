"""How an integer operator is written: one file per form, named by the plan (`QuantPlan.forms`).

In the usual form, "dequantized", an operator reads DequantizeLinear and a QuantizeLinear reads it. Others
make the integers of their output themselves. The rewriter asks a node's form once for every tensor of its
output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from knight.forms._blocks import Blocks
from knight.registry import Registry
from knight.types import QParams

__all__ = ["Blocks", "Form", "Writing", "forms"]


@dataclass(frozen=True)
class Writing:
    """A tensor that is about to be written behind the node that makes its value.

    node: the maker; what it reads is quantized already. value: the one of its outputs. params: the tensor's
    numbers. scale, zero_point: initializers that hold them. readers: (node, input index) of all that read it
    quantized. blocks: makes nodes and initializers with names of their own.
    """

    node: ir.Node
    value: ir.Value
    params: QParams
    scale: ir.Value
    zero_point: ir.Value
    readers: Sequence[tuple[ir.Node, int]]
    blocks: Blocks


Form = Callable[[Writing], ir.Value | None]
"""``integers(writing)``: the integers that the node makes by itself, its inputs and attributes changed as
that takes; None where a QuantizeLinear has to make them. The result is `Writing.value`, given a new type, or
an input of the node (which then goes), or the output of a node that was put behind it.
"""

forms: Registry[Form] = Registry("form", "knight.forms", "knight.forms", "integers")
