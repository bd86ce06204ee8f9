"""Evaluates what depends on no input, once, and inlines an If whose condition is then known.

Whole levels of the graph (all nodes whose inputs are constants) are evaluated together by ONNX Runtime. What
stays: random operators, results that would make the model much larger, and DequantizeLinear, since in a model
that is already quantized it marks the weights' scale.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, is_used, remove_node
from knight.errors import KnightError, ModelError
from knight.model import name_of
from knight.names import Names
from knight.operators import all_graphs, is_op, subgraphs
from knight.passes import PassOptions
from knight.passes._constants import lift_constant
from knight.passes._queries import is_random, live_nodes, outer_values
from knight.runner import Session

LARGE = 1 << 20  # bytes; a result up to this size is always kept
SMALL = 1 << 10  # bytes; constants up to this size may decide shapes
_FOLDABLE_TYPES = frozenset(
    {
        *(ir.DataType[f"{kind}{bits}"] for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)),
        ir.DataType.FLOAT16,
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.BOOL,
    }
)


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of nodes evaluated or inlined. Raises ModelError for one that cannot be."""
    changes, edit = 0, Editor(model.graph)
    refused: set[ir.Node] = set()
    while True:
        inlined = sum(_inline_if(edit, node) for node in live_nodes(model.graph))
        ready = [node for node in model.graph if node not in refused and _is_ready(node)]
        folded = _fold(model, edit, ready, refused) if ready else 0
        if not inlined and not ready:
            return changes
        changes += inlined + folded


def _is_ready(node: ir.Node) -> bool:
    if node.op_type in ("Constant", "DequantizeLinear") or node.domain not in models.KNOWN_DOMAINS:
        return False
    if is_op(node, "Identity") and node.outputs[0].is_graph_output():
        return False  # this is how a constant leaves the model
    if not _used(node) or any(is_random(inner) for inner in _with_bodies(node)):
        return False
    sources = _sources(node)
    return bool(sources) and all(_is_foldable_constant(value) for value in sources)


def _with_bodies(node: ir.Node) -> tuple[ir.Node, ...]:
    bodies = (graph for body in subgraphs(node) for graph in all_graphs(body))
    return (node, *(inner for body in bodies for inner in body))


def _sources(node: ir.Node) -> tuple[ir.Value, ...]:
    """All that the node reads, its bodies included."""
    return tuple(dict.fromkeys((*filter(None, node.inputs), *outer_values(node))))


def _is_foldable_constant(value: ir.Value) -> bool:
    if not models.is_constant(value) or value.const_value is None:
        return False
    return value.const_value.dtype in _FOLDABLE_TYPES


def _fold(model: ir.Model, edit: Editor, nodes: list[ir.Node], refused: set[ir.Node]) -> int:
    """Evaluates one level; `refused` takes what must stay."""
    shapes = _inferred(model, nodes)
    accepted = [node for node in nodes if all(_fits(node, shapes.get(o.name or "")) for o in _used(node))]
    refused.update(set(nodes) - set(accepted))
    for node, arrays in zip(accepted, _evaluate_all(model, accepted), strict=True):
        for output, array in zip(_used(node), arrays, strict=True):
            edit.become_constant(output, array)
    return len(accepted)


def _used(node: ir.Node) -> list[ir.Value]:
    return [output for output in node.outputs if is_used(output)]


def _inferred(model: ir.Model, nodes: list[ir.Node]) -> dict[str, ir.Value]:
    """What shape inference tells of the outputs, before anything is computed."""
    proto = _level(model, nodes, with_small=True)
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True)).graph
    return {name_of(output): output for output in graph.outputs}


def _fits(node: ir.Node, output: ir.Value | None) -> bool:
    """True for a plain tensor that does not blow the model up."""
    if output is None or not isinstance(output.type, ir.TensorType) or output.dtype not in _FOLDABLE_TYPES:
        return False
    if output.shape is None or not all(isinstance(dim, int) for dim in output.shape):
        return node.op_type not in ("ConstantOfShape", "Expand", "Tile", "Range")
    size = int(np.prod(output.shape.numpy(), dtype=np.int64)) * output.dtype.itemsize
    replaced = sum(value.const_value.nbytes for value in _sources(node) if value.const_value is not None)
    return size <= max(LARGE, replaced)


def _level(model: ir.Model, nodes: list[ir.Node], *, with_small: bool = False) -> onnx.ModelProto:
    """A model of these nodes alone. Constants are its inputs, small ones (on request) its initializers."""
    graph = onnx.GraphProto(name="constants")
    for value in dict.fromkeys(source for node in nodes for source in _sources(node)):
        tensor = value.const_value
        assert tensor is not None
        kind = onnx.helper.make_tensor_type_proto(int(tensor.dtype), tensor.shape.numpy())
        graph.input.append(onnx.ValueInfoProto(name=value.name, type=kind))
        if with_small and tensor.nbytes <= SMALL:
            graph.initializer.append(ir.serde.serialize_tensor(ir.tensor(tensor.numpy(), name=value.name)))
    graph.node.extend(ir.serde.serialize_node(node) for node in nodes)
    graph.output.extend(onnx.ValueInfoProto(name=o.name) for node in nodes for o in _used(node))
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version)


def _evaluate_all(model: ir.Model, nodes: list[ir.Node]) -> list[list[np.ndarray]]:
    """The used outputs of each node. All at once; one by one only to name the node that fails."""
    if not nodes:
        return []
    try:
        arrays = iter(_evaluate(model, nodes))
    except KnightError:
        for node in nodes:
            try:
                _evaluate(model, [node])
            except KnightError as error:
                raise ModelError(
                    f"node {node.name!r} ({node.op_type}) depends on no input but cannot be evaluated: "
                    f"{error}; repair the model"
                ) from error
        raise
    return [[next(arrays) for _ in _used(node)] for node in nodes]


def _evaluate(model: ir.Model, nodes: list[ir.Node]) -> list[np.ndarray]:
    session = Session(ir.from_proto(_level(model, nodes)), level="none")
    feeds = {name_of(value): models.constant(value) for node in nodes for value in _sources(node)}
    return session.run({name: array for name, array in feeds.items() if array is not None})


def _inline_if(edit: Editor, node: ir.Node) -> bool:
    """Puts the branch that is always taken in place of its If."""
    if node.graph is None or not is_op(node, "If"):
        return False
    condition = models.constant(node.inputs[0])
    if condition is None or condition.size != 1:
        return False
    branch = node.attributes["then_branch" if condition.reshape(-1)[0] else "else_branch"].as_graph()
    results = list(branch.outputs)
    branch.outputs.clear()
    _move(edit, branch, node)
    for output, result in zip(tuple(node.outputs), results, strict=True):
        if is_used(output):
            edit.replace_value(output, result)
    if node.graph is not None:
        remove_node(node)
    for inner in live_nodes(edit.graph):
        lift_constant(edit, inner)
    return True


def _move(edit: Editor, body: ir.Graph, before: ir.Node) -> None:
    """Moves all of `body` into the graph, under names that are free there."""
    graph = edit.graph
    values = Names(value.name for value in models.values(graph))
    names = Names(node.name for node in graph)
    for name, value in tuple(body.initializers.items()):
        del body.initializers[name]
        value.name = values.fresh(name)
        edit.names.add(value.name)
        graph.register_initializer(value)
    nodes = tuple(body)
    body.remove(nodes)
    graph.insert_before(before, nodes)
    for node in nodes:
        node.name = names.fresh(node.name or "")
        edit.names.add(node.name)
        for output in node.outputs:
            if output.name:
                output.name = values.fresh(output.name)
                edit.names.add(output.name)
