"""Corrects what paddle2onnx translates wrongly, one function per operator of Paddle.

Each is handed the operation and the ONNX nodes that stand for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.converters.paddle._program import Operation, Program

Group = tuple[int, list[ir.Node]]
_Repair = Callable[[ir.Graph, Operation, Sequence[ir.Node]], None]
_repairs: dict[str, _Repair] = {}


def repair(graph: ir.Graph, program: Program, groups: Sequence[Group]) -> None:
    """Applies the repairs to all operations that have one."""
    operations = program.operations
    for position, nodes in groups:
        function = _repairs.get(operations[position].name)
        if function is not None:
            function(graph, operations[position], nodes)


def _of(name: str) -> Callable[[_Repair], _Repair]:
    def register(function: _Repair) -> _Repair:
        _repairs[name] = function
        return function

    return register


@_of("pd_op.pad3d")
def _pad_value(graph: ir.Graph, op: Operation, nodes: Sequence[ir.Node]) -> None:
    """The number to pad with is read from memory that nobody wrote."""
    for node in nodes:
        if node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] is not None:
            old = node.inputs[2]
            value = np.asarray(
                op.attributes.get("pad_value", 0.0), old.dtype.numpy() if old.dtype else np.float32
            )
            node.replace_input_with(2, models.add_initializer(graph, f"{op.short}.value", value))
