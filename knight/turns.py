"""How often a loop turns, where the file itself says so, and nothing in the loop can end it sooner."""

from __future__ import annotations

from collections import ChainMap

import onnx
from onnx import numpy_helper

from knight.errors import ModelError, shown
from knight.protos import bodies

MOST = 10**8
"""Turns of all loops around an operator together: half an hour for the quickest body."""


def check_turns(graph: onnx.GraphProto, where: str) -> None:
    """Raises ModelError, which names it, for a Loop of more than `MOST` turns, those around it counted in.

    A Loop whose body decides how long it goes on is not judged, whatever its limit.
    """
    _check(graph, ChainMap(), 1, where)


def _check(graph: onnx.GraphProto, outer: ChainMap[str, int], around: int, where: str) -> None:
    known = ChainMap(_numbers(graph), *outer.maps)  # a copy for each body would take the square of the time
    for node in graph.node:
        turns = known.get(node.input[0], 1) if node.op_type == "Loop" and node.input else 1
        for body in bodies(node):
            endless = turns > 1 and goes_on(body)
            total = around * (turns if endless else 1)
            if total > MOST:
                raise ModelError(
                    f"{where}: node {shown(node.name or node.output[0])} ({node.op_type}) turns {total:.4g} "
                    f"times; the most are {MOST}; export it with fewer turns"
                )
            _check(body, known, total, where)


def _numbers(graph: onnx.GraphProto) -> dict[str, int]:
    """The whole numbers among the constants of `graph`."""
    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute:
            form = node.attribute[0]
            tensors += [(node.output[0], form.t)] if form.HasField("t") else []
    single = [(name, each) for name, each in tensors if _is_number(each)]
    found = {name: int(numpy_helper.to_array(each).reshape(-1)[0]) for name, each in single}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value_int":
            found[node.output[0]] = node.attribute[0].i
    return found


def _is_number(tensor: onnx.TensorProto) -> bool:
    return (
        tensor.data_type == onnx.TensorProto.INT64
        and tensor.data_location != onnx.TensorProto.EXTERNAL
        and all(dim == 1 for dim in tensor.dims)
    )


def goes_on(body: onnx.GraphProto) -> bool:
    """Whether a Loop's body hands on the condition that it was given, or one that never changes."""
    if not body.output:
        return False
    makers = {name: node for node in body.node for name in node.output}
    name = body.output[0].name
    while name in makers and makers[name].op_type == "Identity" and makers[name].input:
        name = makers.pop(name).input[0]  # popped: a body that is no graph may go in a circle
    constant = name in makers and makers[name].op_type == "Constant"
    kept = {value.name for value in body.input[1:2]} | {each.name for each in body.initializer}
    return constant or name in kept
