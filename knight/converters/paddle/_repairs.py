"""Corrects what paddle2onnx translates wrongly, one function per operator of Paddle.

Each is handed the operation, the ONNX nodes that stand for it, and the shapes of the program's values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.converters.paddle._program import Operation, Program
from knight.edit import Editor
from knight.errors import ModelError

Group = tuple[int, list[ir.Node]]
Shapes = Mapping[int, tuple[int, ...] | None]
_Repair = Callable[[Editor, Operation, list[ir.Node], Shapes], None]
_repairs: dict[str, _Repair] = {}


def repair(graph: ir.Graph, program: Program, groups: Sequence[Group]) -> None:
    """Applies the repairs to all operations that have one."""
    operations = program.operations
    shapes = {value.number: value.shape for op in operations for value in op.results}
    edit = Editor(graph)
    for position, nodes in groups:
        function = _repairs.get(operations[position].name)
        if function is not None:
            function(edit, operations[position], nodes, shapes)


def _of(name: str) -> Callable[[_Repair], _Repair]:
    def register(function: _Repair) -> _Repair:
        _repairs[name] = function
        return function

    return register


@_of("pd_op.gelu")
def _tanh_gelu(edit: Editor, op: Operation, nodes: list[ir.Node], shapes: Shapes) -> None:
    """The approximation ``x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`` comes as the exact function."""
    x = nodes[0].inputs[0]
    if not op.attributes.get("approximate") or x is None:
        return
    build = _Nodes(edit, nodes)
    cube = build("Mul", build("Mul", x, x), x)
    inner = build("Add", x, build("Mul", cube, build.number(0.044715, x)))
    tanh = build("Tanh", build("Mul", inner, build.number(math.sqrt(2 / math.pi), x)))
    half = build("Mul", x, build.number(0.5, x))
    build.replace(build("Mul", half, build("Add", tanh, build.number(1.0, x))))


@_of("pd_op.layer_norm")
def _several_axes(edit: Editor, op: Operation, nodes: list[ir.Node], shapes: Shapes) -> None:
    """Scale and bias over several axes are stored flat; ONNX wants them in the shape of those axes."""
    node = next((node for node in nodes if node.op_type == "LayerNormalization"), None)
    shape = op.results[0].shape or ()
    axes = shape[int(op.attributes["begin_norm_axis"]) :]
    if node is None or len(axes) < 2 or any(size < 0 for size in axes):
        return
    for index in range(1, len(node.inputs)):
        array = models.constant(node.inputs[index])
        if array is not None:
            name = f"{node.inputs[index].name}.shaped"  # type: ignore[union-attr]
            node.replace_input_with(index, edit.constant(name, array.reshape(axes)))


@_of("pd_op.expand_as")
def _open_sizes(edit: Editor, op: Operation, nodes: list[ir.Node], shapes: Shapes) -> None:
    """Open dimensions are -1 in the shape to expand to, which ONNX has no word for; 1 keeps what is there."""
    for node in nodes:
        target = models.constant(node.inputs[1]) if node.op_type == "Expand" else None
        if target is not None and (target < 0).any():
            sizes = edit.constant("expand_as.shape", np.where(target < 0, 1, target))
            node.replace_input_with(1, sizes)


@_of("pd_op.max_pool2d_with_index")
@_of("pd_op.pool2d")
def _uneven_windows(edit: Editor, op: Operation, nodes: list[ir.Node], shapes: Shapes) -> None:
    """Adaptive pooling whose windows differ in size comes with windows of one size.

    Window i of n over a length covers floor(i length / n) to ceil((i + 1) length / n); means over such
    windows are a product with one matrix per axis.
    """
    given, wanted = shapes.get(op.inputs[0]), op.results[0].shape
    if not op.attributes.get("adaptive") or given is None or wanted is None:
        return
    if op.attributes.get("data_format") == "NHWC" or min(given[2:] + wanted[2:]) < 0:
        return
    if all(size % windows == 0 for size, windows in zip(given[2:], wanted[2:], strict=True)):
        return
    if op.attributes.get("pooling_type") != "avg":
        raise ModelError(
            f"paddle2onnx cannot translate adaptive max pooling from {list(given[2:])} to "
            f"{list(wanted[2:])}: its windows differ in size; choose sizes that divide evenly"
        )
    (x,) = nodes[0].inputs[:1]
    if x is None:
        return
    build = _Nodes(edit, nodes)
    down = edit.constant("pool2d.rows", _means(given[2], wanted[2]))
    across = edit.constant("pool2d.columns", _means(given[3], wanted[3]).T.copy())
    build.replace(build("MatMul", build("MatMul", down, x), across))


def _means(length: int, windows: int) -> np.ndarray:
    matrix = np.zeros((windows, length), np.float32)
    for index in range(windows):
        start, stop = index * length // windows, -(-(index + 1) * length // windows)
        matrix[index, start:stop] = 1 / (stop - start)
    return matrix


def _rank(edit: Editor, op: Operation, nodes: list[ir.Node], shapes: Shapes) -> None:
    """What is reduced to a scalar, or over the last axis, keeps one dimension too many."""
    shape = op.results[0].shape
    if shape == () or (op.short == "dot" and shape is not None and sum(size < 0 for size in shape) < 2):
        build = _Nodes(edit, nodes)
        target = edit.constant(f"{op.short}.shape", np.asarray(shape, np.int64))
        build.replace(build("Reshape", nodes[-1].outputs[0], target, keep=True))


for _name in ("sum", "dot", "mean", "max", "min", "prod"):
    _repairs[f"pd_op.{_name}"] = _rank


class _Nodes:
    """Puts nodes behind those of an operation."""

    def __init__(self, edit: Editor, nodes: list[ir.Node]) -> None:
        self._edit, self._graph, self._nodes = edit, edit.graph, nodes
        self._result = nodes[-1].outputs[0]
        self._keep = False

    def __call__(self, op_type: str, *inputs: ir.Value, keep: bool = False) -> ir.Value:
        node = ir.Node("", op_type, inputs, num_outputs=1)
        node.outputs[0].type = self._result.type
        node.outputs[0].name = self._edit.names.fresh(f"repaired_{op_type}")
        self._graph.insert_after(self._nodes[-1], node)
        self._nodes.append(node)
        self._keep = self._keep or keep
        return node.outputs[0]

    def number(self, value: float, like: ir.Value) -> ir.Value:
        """A constant of the type of `like`."""
        dtype = like.dtype.numpy() if like.dtype else np.float32
        return self._edit.constant("gelu.constant", np.asarray(value, dtype))

    def replace(self, value: ir.Value) -> None:
        """Hands `value` to whoever read the operation's result, under its name; drops what it replaces."""
        old, name = self._result, self._result.name
        users = [use for use in old.uses() if not (self._keep and use.node is value.producer())]
        for use in users:
            use.node.replace_input_with(use.idx, value)
        for index, output in enumerate(self._graph.outputs):
            if output is old:
                self._graph.outputs[index] = value
        old.name = self._edit.names.fresh("repaired")
        value.name, value.shape = name, old.shape if not self._keep else None
        if not self._keep:
            _drop(self._graph, self._nodes)


def _drop(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    """Removes those of `nodes` that nobody reads."""
    outputs = set(graph.outputs)
    for node in reversed(list(nodes)):
        if not any(value.uses() or value in outputs for value in node.outputs):
            nodes.remove(node)
            graph.remove(node, safe=True)
