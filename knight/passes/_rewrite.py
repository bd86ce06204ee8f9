"""The few graph edits that the passes share: ask a value what it is, put a node in, take a node out.

All of them keep the names of the graph's inputs and outputs, and what the bodies of If, Loop and Scan read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight import model as models

STANDARD = ("", "ai.onnx")
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
"""Operators that answer differently each time: never folded, never merged."""


def remove_node(node: ir.Node) -> None:
    """Takes `node`, which nothing reads, out of its graph; its bodies read nothing any more either."""
    graph = node.graph
    assert graph is not None
    graph.remove(node, safe=True)
    for body in subgraphs(node):
        for inner in (inner for nested in all_graphs(body) for inner in nested):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """True when `node` is one of the standard operators `op_types` (of any, when none is named)."""
    return node is not None and node.domain in STANDARD and (not op_types or node.op_type in op_types)


def is_random(node: ir.Node) -> bool:
    """True for operators that are not a function of their inputs (a Dropout in training mode included)."""
    if is_op(node, "Dropout"):
        return len(node.inputs) > 2 and node.inputs[2] is not None and constant_scalar(node.inputs[2]) != 0
    return is_op(node, *RANDOM)


def live_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that `graph` has now, in order, without those that are removed while iterating."""
    for node in tuple(graph):
        if node.graph is graph:
            yield node


def subgraphs(node: ir.Node) -> tuple[ir.Graph, ...]:
    """The bodies that a control-flow node holds."""
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    return tuple(bodies)


def all_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """`graph` and all bodies in it, outer ones first."""
    yield graph
    for node in graph:
        for body in subgraphs(node):
            yield from all_graphs(body)


def outer_values(node: ir.Node) -> tuple[ir.Value, ...]:
    """What the bodies of `node` read from outside of themselves, each once, in order."""
    bodies = tuple(inner for body in subgraphs(node) for inner in all_graphs(body))
    read = (value for body in bodies for inner in body for value in inner.inputs)
    return tuple(dict.fromkeys(value for value in read if value is not None and value.graph not in bodies))


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node of the same graph that reads `value`, once; None if anything else reads it too."""
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if node.graph is not None and node.graph is value.graph else None


def constant_scalar(value: ir.Value | None) -> float | None:
    """The number of a numeric constant with exactly one element (of any rank), else None."""
    if value is None or not models.is_constant(value):
        return None
    shape = static_shape(value)
    if shape is not None and int(np.prod(shape)) != 1:
        return None
    array = models.constant(value)
    if array is None or array.size != 1 or array.dtype.kind not in "fiub":
        return None
    return float(array.reshape(()))


def constant_ints(value: ir.Value | None) -> tuple[int, ...] | None:
    """The numbers of an integer constant, flattened, else None."""
    array = models.constant(value)
    if array is None or array.dtype.kind not in "iu":
        return None
    return tuple(int(number) for number in array.reshape(-1))


def reduced_axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes of a reduction, an input or (before opset 18) an attribute; None where they are not told."""
    if len(node.inputs) > 1:
        return constant_ints(node.inputs[1])
    attribute = node.attributes.get("axes")
    return None if attribute is None else tuple(attribute.as_ints())


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape when every dimension is known, else None."""
    if value is None:
        return None
    if value.is_initializer() and not value.is_graph_input() and value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    if value.shape is None:
        return None
    dims = tuple(dim for dim in value.shape if isinstance(dim, int))
    return dims if len(dims) == len(value.shape) else None


def rank(value: ir.Value | None) -> int | None:
    """Number of dimensions, None when unknown."""
    if value is None or value.shape is None:
        shape = static_shape(value)
        return None if shape is None else len(shape)
    return len(value.shape)


def same_dims(first: ir.Value | None, second: ir.Value | None) -> bool:
    """True when both shapes are known and provably equal (unknown dimensions equal only by their name)."""
    if first is None or second is None or first.shape is None or second.shape is None:
        return False
    if len(first.shape) != len(second.shape):
        return False
    return all(same_dim(left, right) for left, right in zip(first.shape, second.shape, strict=True))


def same_shape(first: ir.Value | None, second: ir.Value | None) -> bool:
    """As `same_dims`, for two values with the same number of elements: one dimension may be unknown.

    The others must be positive, so that the number of elements decides the unknown one.
    """
    if first is None or second is None or first.shape is None or second.shape is None:
        return False
    if len(first.shape) != len(second.shape):
        return False
    pairs = list(zip(first.shape, second.shape, strict=True))
    unknown = [pair for pair in pairs if not same_dim(*pair)]
    if not unknown:
        return True
    if len(unknown) > 1 or all(isinstance(dim, int) for dim in unknown[0]):
        return False
    return all(isinstance(left, int) and left > 0 for left, right in pairs if same_dim(left, right))


def same_dim(left: int | ir.SymbolicDim, right: int | ir.SymbolicDim) -> bool:
    """True when two dimensions are provably equal."""
    if isinstance(left, int) or isinstance(right, int):
        return isinstance(left, int) and isinstance(right, int) and left == right
    return left.value is not None and left.value == right.value


def is_tensor(value: ir.Value | None) -> bool:
    """True for a plain tensor of known type; False for sequences, optionals, maps and unknown types."""
    return value is not None and isinstance(value.type, ir.TensorType)


def name_of(value: ir.Value) -> str:
    """The value's name; a nameless value is a bug of the caller (`name_nodes` runs first)."""
    if value.name is None:
        raise ValueError(f"value without a name: {value!r}")
    return value.name


def new_node(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    output: str | None = None,
    like: ir.Value | None = None,
) -> ir.Node:
    """A new one-output standard node in front of `before`; its value is named after `output` or the node.

    name: wanted node name (made unique), by default derived from `before`. like: a value whose type and
    shape the output has.
    """
    graph = before.graph
    assert graph is not None
    name = models.fresh_name(graph, name or f"{before.name or 'node'}_{op_type}")
    output = name if output is None else models.fresh_name(graph, output)
    value = ir.Value(name=output)
    if like is not None:
        copy_type(like, value)
    node = ir.node(op_type, list(inputs), dict(attributes or {}), outputs=[value], name=name)
    graph.insert_before(before, node)
    return node


def copy_type(source: ir.Value, target: ir.Value) -> None:
    """Gives `target` the type and a copy of the shape of `source`."""
    target.type = source.type
    target.shape = None if source.shape is None else source.shape.copy()


def set_constant(value: ir.Value, array: np.ndarray) -> None:
    """Replaces the numbers of an initializer, for all its readers. Check its readers first."""
    value.const_value = ir.tensor(array, name=value.name)
    value.shape = ir.Shape(array.shape)
    value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))


def become_constant(value: ir.Value, tensor: ir.TensorProtocol | np.ndarray) -> ir.Value:
    """Replaces a node's output by an initializer of the same name (a graph output: by an Identity of one)."""
    graph = value.graph
    assert graph is not None
    name = name_of(value)
    if isinstance(tensor, np.ndarray):
        tensor = ir.tensor(tensor)
    if value.is_graph_output():
        name = models.fresh_name(graph, f"{name}_constant")
    else:
        value.name = None
    constant = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()))
    constant.const_value = tensor
    graph.register_initializer(constant)
    replace_value(value, constant)
    return constant


def can_take_over(old: ir.Value, new: ir.Value) -> bool:
    """True when `new` may become the graph output that `old` is: it is free to change its name."""
    return (
        not (new.is_graph_input() or new.is_graph_output() or new.is_initializer()) and new.graph is old.graph
    )


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Everything that reads `old` reads `new` instead, bodies included.

    A graph output keeps its name: `new` takes it over where it is free to, else an Identity in place of the
    node that made `old` gives it. The producer of `old` is removed when no other output of it is in use.
    """
    node, graph = old.producer(), old.graph
    if old is new or graph is None:
        raise ValueError(f"value {old.name!r} cannot be replaced")
    _merge_type(new, old)
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
    elif can_take_over(old, new):
        name = name_of(old)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = models.fresh_name(graph, f"{name}_unused")
        new.name = name
    else:
        _replace_by_identity(graph, old, new)
    if node is not None and node.graph is not None and not any(map(_in_use, node.outputs)):
        remove_node(node)


def _replace_by_identity(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    node = old.producer()
    assert node is not None
    copy = ir.Value(name=old.name)
    copy_type(old, copy)
    identity = ir.node("Identity", [new], outputs=[copy], name=node.name)
    graph.insert_before(node, identity)
    positions = [index for index, output in enumerate(graph.outputs) if output is old]
    for index in positions:
        graph.outputs[index] = copy
    old.replace_all_uses_with(new)
    old.name = models.fresh_name(graph, f"{old.name}_unused")
    if any(map(_in_use, node.outputs)):
        identity.name = models.fresh_name(graph, f"{node.name}_Identity")


def bypass(node: ir.Node, value: ir.Value) -> bool:
    """Removes `node`, whose first output equals `value`; False when nothing changes.

    Nothing changes where the node is already the Identity that a graph output needs.
    """
    old = node.outputs[0]
    if old.is_graph_output() and not can_take_over(old, value) and is_op(node, "Identity"):
        return False
    if any(map(_in_use, node.outputs[1:])):
        return False
    replace_value(old, value)
    return True


def _in_use(value: ir.Value) -> bool:
    return value.is_graph_output() or bool(value.uses())


def _merge_type(value: ir.Value, other: ir.Value) -> None:
    """Adds to `value` what `other` knows of the same tensor."""
    if value.type is None:
        value.type = other.type
    if value.is_initializer() or other.shape is None:
        return
    if value.shape is None:
        value.shape = other.shape.copy()
    elif len(value.shape) == len(other.shape) and not value.is_graph_input():
        dims = [
            theirs if isinstance(theirs, int) and not isinstance(ours, int) else ours
            for ours, theirs in zip(value.shape, other.shape, strict=True)
        ]
        value.shape = ir.Shape(dims)
