"""What an absorbed model and its parameters compute, rounded in NumPy, node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from knight import model as models
from knight.qdq.absorb import Absorbed
from knight.runner import Session
from knight.types import QParams

Arrays = Mapping[str, np.ndarray]


def rounded(x: np.ndarray, params: QParams) -> np.ndarray:
    """`x` through QuantizeLinear and DequantizeLinear, as ONNX states them."""
    spec = params.spec
    shape = [1] * x.ndim
    if spec.axis is not None:
        shape[spec.axis] = -1
    scale = params.scale.reshape(shape) if params.scale.ndim else params.scale
    zero = params.zero_point.astype(np.float32)
    zero = zero.reshape(shape) if zero.ndim else zero
    integers = np.clip(np.round(x / scale) + zero, spec.qmin, spec.qmax)
    return np.asarray((integers - zero) * scale, np.float32)


def replay(absorbed: Absorbed, feeds: Arrays) -> Arrays:
    """The outputs of the absorbed float model with every tapped value rounded, node by node."""
    proto = models.to_proto(absorbed.model)
    raw: dict[str, np.ndarray] = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    raw.update(feeds)

    def read(name: str, edge: tuple[str, int]) -> np.ndarray:
        x = raw[name]
        if name in absorbed.activations and edge not in absorbed.unrounded:
            x = rounded(x, absorbed.activations[name])
        return rounded(x, absorbed.edges[edge]) if edge in absorbed.edges else x

    for node in proto.graph.node:
        places = [f"{node.name}/{place}" if name else "" for place, name in enumerate(node.input)]
        arrays = {
            places[place]: read(name, (node.name, place)) for place, name in enumerate(node.input) if name
        }
        for inner in _inner_nodes(node):  # a body reads what stands around it by name
            for place, name in enumerate(inner.input):
                if name in raw:
                    arrays[name] = read(name, (inner.name, place))
        raw.update(_run(node, places, arrays, proto))
    return {output.name: read(output.name, ("", place)) for place, output in enumerate(proto.graph.output)}


def _inner_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for inner in graph.node:
                yield inner
                yield from _inner_nodes(inner)


def _run(node: onnx.NodeProto, places: list[str], arrays: Arrays, model: onnx.ModelProto) -> Arrays:
    """The outputs of one operator, as ONNX Runtime computes them without optimizing.

    Its constants stay constants: what an empty one means, an operator knows only then.
    """
    fixed = {tensor.name for tensor in model.graph.initializer}
    origin = dict(zip(places, node.input, strict=True))
    weights = {name for name in arrays if origin.get(name, name) in fixed}
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend(places)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
        if name not in weights
    ]
    tensors = [numpy_helper.from_array(arrays[name], name) for name in weights]
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name]
    graph = helper.make_graph([copy], "one", infos, outputs, tensors)
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    session = Session(ir.from_proto(alone), level="none")
    found = session.run({info.name: arrays[info.name] for info in session.inputs})
    return dict(zip((info.name for info in session.outputs), found, strict=True))
