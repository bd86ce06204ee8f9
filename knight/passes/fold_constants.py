"""Evaluates what depends on no input, once, and inlines an If whose condition is then known.

Whole levels of the graph (all nodes whose inputs are constants) are evaluated together by ONNX Runtime. What
stays: random operators, results that would make the model much larger, by themselves or together, and
DequantizeLinear, since in a model that is already quantized it marks the weights' scale. Memory and time have
an end, which only what is not told beforehand can reach: loops, and results whose size depends on numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir

from knight import memory, model as models, sizes
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
GROWTH = 1 << 28
"""Bytes by which all results may exceed the constants that they replace, or the weights if these are more."""
WORKING, WORKING_TIMES = 1 << 31, 8
"""Bytes that an evaluation may take, or so many times the constants that it reads if these are more."""
SECONDS = 60.0
"""For the evaluations of a run of this pass; the constants of real models take less than one."""
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
    budget = _Budget(max(GROWTH, models.weight_bytes(model)))
    refused: set[ir.Node] = set()
    while True:
        inlined = sum(_inline_if(edit, node) for node in live_nodes(model.graph))
        ready = [node for node in model.graph if node not in refused and _is_ready(node)]
        folded = _fold(model, edit, ready, refused, budget) if ready else 0
        if not inlined and not ready:
            return changes
        changes += inlined + folded


@dataclass
class _Budget:
    """What is left: bytes that the model may grow by, and seconds. replaced: constants that were counted."""

    growth: int
    seconds: float = SECONDS
    replaced: set[ir.Value] = field(default_factory=set)

    def grants(self, node: ir.Node, size: int) -> bool:
        """Takes what results of `size` bytes add to the model, where so much is left."""
        sources = {value for value in _sources(node) if value not in self.replaced}
        added = max(0, size - _bytes(sources))
        if added > self.growth:
            return False
        self.growth -= added
        self.replaced |= sources
        return True

    @contextmanager
    def evaluation(self, nodes: Sequence[ir.Node]) -> Iterator[float]:
        """Limits the block's memory to what `nodes` may take; gives the seconds left, and counts its own."""
        sources = {value for node in nodes for value in _sources(node)}
        start = time.monotonic()
        with memory.at_most(max(WORKING, WORKING_TIMES * _bytes(sources))):
            yield max(1.0, self.seconds)
        self.seconds -= time.monotonic() - start


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


def _fold(model: ir.Model, edit: Editor, nodes: list[ir.Node], refused: set[ir.Node], budget: _Budget) -> int:
    """Evaluates one level; `refused` takes what must stay."""
    shapes = _inferred(model, nodes)
    told = {node: [_size(shapes.get(output.name or "")) for output in _used(node)] for node in nodes}
    accepted = [node for node in nodes if _is_granted(node, told[node], budget)]
    folded = set()
    for node, arrays in zip(accepted, _evaluate_all(model, accepted, budget), strict=True):
        if None in told[node] and not budget.grants(node, sum(array.nbytes for array in arrays)):
            continue
        folded.add(node)
        for output, array in zip(_used(node), arrays, strict=True):
            edit.become_constant(output, array)
    refused.update(set(nodes) - folded)
    return len(folded)


def _used(node: ir.Node) -> list[ir.Value]:
    return [output for output in node.outputs if is_used(output)]


def _inferred(model: ir.Model, nodes: list[ir.Node]) -> dict[str, ir.Value]:
    """What shape inference tells of the outputs, before anything is computed."""
    proto = _level(model, nodes, with_small=True)
    graph = ir.from_proto(sizes.inferred(proto, "the constants of the model")).graph
    return {name_of(output): output for output in graph.outputs}


def _size(output: ir.Value | None) -> float | None:
    """Bytes of a plain tensor, None where they are not told; infinite for what cannot be folded."""
    if output is None or not isinstance(output.type, ir.TensorType) or output.dtype not in _FOLDABLE_TYPES:
        return math.inf
    if output.shape is None or not all(isinstance(dim, int) for dim in output.shape):
        return None
    return math.prod(output.shape.numpy()) * output.dtype.itemsize


def _is_granted(node: ir.Node, told: list[float | None], budget: _Budget) -> bool:
    """True for results that do not blow the model up, each by itself or with all others together."""
    known = [size for size in told if size is not None]
    if len(known) < len(told) and node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range"):
        return False
    if any(size > max(LARGE, _bytes(_sources(node))) for size in known):
        return False
    return len(known) < len(told) or budget.grants(node, int(sum(known)))


def _bytes(constants: Iterable[ir.Value]) -> int:
    return sum(value.const_value.nbytes for value in constants if value.const_value is not None)


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


def _evaluate_all(model: ir.Model, nodes: list[ir.Node], budget: _Budget) -> list[list[np.ndarray]]:
    """The used outputs of each node. All at once; one by one only to name the node that fails."""
    if not nodes:
        return []
    try:
        arrays = iter(_evaluate(model, nodes, budget))
    except KnightError:
        again = _Budget(0)
        for node in nodes:
            try:
                _evaluate(model, [node], again)
            except KnightError as error:
                raise ModelError(
                    f"node {node.name!r} ({node.op_type}) depends on no input but cannot be evaluated: "
                    f"{error}; repair the model"
                ) from error
        raise
    return [[next(arrays) for _ in _used(node)] for node in nodes]


def _evaluate(model: ir.Model, nodes: list[ir.Node], budget: _Budget) -> list[np.ndarray]:
    with budget.evaluation(nodes) as seconds:
        session = Session(ir.from_proto(_level(model, nodes)), level="none")
        feeds = {name_of(value): models.constant(value) for node in nodes for value in _sources(node)}
        given = {name: array for name, array in feeds.items() if array is not None}
        return session.run(given, seconds=seconds)


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
