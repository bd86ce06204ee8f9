"""Writes an ONNX graph operator by operator, and knows the type and shape of every value on the way.

Converters that translate layer by layer (Caffe, PyTorch) use it: the nodes of a layer bear the layer's
name, and shapes come from ONNX's own inference, so that no translation has to repeat it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from knight.errors import ModelError
from knight.names import Names

OPSET = 20
IR_VERSION = 10
_SMALL = 1024
"""Constants of up to this many elements are shown to shape inference (shapes, axes, pads)."""


class Builder:
    """A growing graph of the standard operators of opset `OPSET`."""

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph((), (), nodes=(), opset_imports={"": OPSET}, name=name)
        self._layer = ""
        self._values = Names()  # nodes and values may share a name: a layer and its result often do
        self._nodes = Names()

    @contextmanager
    def layer(self, name: str) -> Iterator[None]:
        """Nodes and constants that are made inside bear `name`, with a suffix from the second on."""
        outer, self._layer = self._layer, name
        try:
            yield
        finally:
            self._layer = outer

    def input(self, name: str, dtype: np.dtype | type, shape: Sequence[int | str | None]) -> ir.Value:
        """A graph input; a string or None is an open dimension."""
        value = ir.Value(name=self._values.fresh(name), shape=ir.Shape(shape))
        value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
        self._graph.inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str) -> None:
        """Makes `value` a graph output called `name`."""
        if value.is_graph_input() or value.is_initializer() or value in self._graph.outputs:
            value = self.op("Identity", value)
        if value.name != name:
            value.name = self._values.fresh(name)
        self._graph.outputs.append(value)

    def constant(self, array: Any, name: str = "", dtype: np.dtype | type | None = None) -> ir.Value:
        """An initializer; `name` defaults to one after the layer."""
        array = np.ascontiguousarray(array, dtype).reshape(np.shape(array))
        name = self._values.fresh(name or (f"{self._layer}.constant" if self._layer else "constant"))
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        self._graph.register_initializer(value)
        return value

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """A node with one output. Attributes that are None are left out."""
        (value,) = self.ops(op_type, *inputs, outputs=1, **attributes)
        return value

    def ops(self, op_type: str, *inputs: ir.Value | None, outputs: int, **attributes: Any) -> list[ir.Value]:
        """A node with several outputs."""
        name = self._layer or op_type
        if self._layer and name in self._nodes:
            name = f"{name}/{op_type}"
        name = self._nodes.fresh(name)
        given = [
            ir.convenience.convert_attribute(key, value)
            for key, value in attributes.items()
            if value is not None
        ]
        node = ir.Node("", op_type, inputs, given, num_outputs=outputs, name=name, version=OPSET)
        for index, value in enumerate(node.outputs):
            value.name = self._values.fresh(f"{name}:{index}" if index else f"{name}:out")
        self._graph.append(node)
        _infer(node)
        return list(node.outputs)

    def rename(self, value: ir.Value, name: str) -> ir.Value:
        """Calls the result of a layer `name`, unless it is an input or a constant, or the name is taken."""
        if value.producer() is not None and value not in self._graph.outputs and name not in self._values:
            value.name = self._values.fresh(name)
        return value

    def model(self) -> ir.Model:
        """The finished model."""
        return ir.Model(self._graph, ir_version=IR_VERSION, producer_name="knight")


def shape_of(value: ir.Value) -> tuple[int | str | None, ...] | None:
    """The dimensions of `value`: a number, the name of an open one, or None; None for an unknown rank."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def fixed_shape(value: ir.Value) -> tuple[int, ...]:
    """The dimensions of `value`, all of which have to be numbers. Raises ModelError."""
    shape = shape_of(value)
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        raise ModelError(f"value {value.name!r} has no fixed shape ({shape}), and its reader needs one")
    return tuple(dim for dim in shape if isinstance(dim, int))


def _infer(node: ir.Node) -> None:
    """Fills types and shapes of the outputs of `node` from those of its inputs."""
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    proto = ir.to_proto(node)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or value.name is None or value.type is None:
            continue
        types[value.name] = ir.to_proto(value).type
        if value.const_value is not None and value.const_value.size <= _SMALL:
            data[value.name] = ir.to_proto(value.const_value)
    try:
        found = onnx.shape_inference.infer_node_outputs(
            schema,
            proto,
            types,
            data,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
    except Exception as error:  # onnx raises several unrelated classes
        reason = " ".join(str(error).split())
        raise ModelError(f"node {node.name!r} ({node.op_type}) does not fit its inputs: {reason}") from error
    for value in node.outputs:
        if value.name in found:
            inferred = ir.from_proto(found[value.name])
            value.type, value.shape = inferred.type, inferred.shape
