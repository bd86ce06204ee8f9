"""The graph without its large weights, for ONNX's C++ functions, whose protobuf ends at 2 GB."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from knight.model import name_of

LARGE = 1024  # bytes; smaller tensors stay, since shapes and axes are among them


def skeleton(model: ir.Model) -> onnx.ModelProto:
    """`model` as protobuf, with each large initializer as one more graph input of the same name and type."""
    bare = model.clone()
    graph = bare.graph
    for name, value in tuple(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.nbytes <= LARGE:
            continue
        value.type = ir.TensorType(tensor.dtype)
        value.shape = ir.Shape(tensor.shape.numpy())
        del graph.initializers[name]
        if not value.is_graph_input():
            graph.inputs.append(value)
    return ir.to_proto(bare)


def with_weights(proto: onnx.ModelProto, source: ir.Model) -> ir.Model:
    """The model that `proto` describes, with the weights of `source` that `skeleton` had taken out."""
    model = ir.from_proto(proto)
    graph = model.graph
    own = {value.name for value in source.graph.inputs}
    for value in tuple(graph.inputs):
        origin = source.graph.initializers.get(name_of(value))
        if origin is None or value.is_initializer():
            continue
        value.const_value = origin.const_value
        graph.register_initializer(value)
    graph.inputs[:] = [value for value in graph.inputs if value.name in own]
    return model
