"""Operators that tf2onnx lacks, written with operators that it has."""

from __future__ import annotations

from typing import Any


def rewritten(definition: Any) -> Any:
    """A copy of the GraphDef `definition` in which nothing is left that is known to need another form."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    copy = GraphDef()
    copy.CopyFrom(definition)
    for node in list(copy.node):
        if node.op == "Erfc":
            _erfc(copy, node)
    return copy


def _erfc(graph: Any, node: Any) -> None:
    """``erfc(x) = 1 - erf(x)``: how Keras writes the exact Gelu."""
    from tensorflow.python.framework.tensor_util import make_tensor_proto

    dtype = node.attr["T"].type
    one = graph.node.add(name=f"{node.name}/one", op="Const")
    one.attr["dtype"].type = dtype
    one.attr["value"].tensor.CopyFrom(make_tensor_proto(1.0, dtype=dtype))
    erf = graph.node.add(name=f"{node.name}/Erf", op="Erf", input=list(node.input))
    erf.attr["T"].type = dtype
    node.op = "Sub"
    del node.input[:]
    node.input.extend([one.name, erf.name])
