"""Edits of a graph: put a node or a constant in, take one out, let one value stand for another.

All of them keep the names of the graph's inputs and outputs, and what the bodies of If, Loop and Scan read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.model import name_of
from knight.names import Names
from knight.operators import all_graphs, is_op, subgraphs


class Editor:
    """The edits of one graph that need new names, which it reads once, when the first is asked for."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph

    @cached_property
    def names(self) -> Names:
        """The names in the graph. What is named by other hands from then on has to be added."""
        return Names.of(self.graph)

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """A new initializer with these numbers; `name` is made unique."""
        value = models.initializer(self.names.fresh(name), array)
        self.graph.register_initializer(value)
        return value

    def new_node(
        self,
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
        name = self.names.free(name or f"{before.name or 'node'}_{op_type}")
        value = ir.Value(name=name if output is None else self.names.free(output))
        self.names.add(name)  # a node and its value may share one
        self.names.add(name_of(value))
        if like is not None:
            copy_type(like, value)
        node = ir.node(op_type, list(inputs), dict(attributes or {}), outputs=[value], name=name)
        self.graph.insert_before(before, node)
        return node

    def set_constant(self, node: ir.Node, index: int, array: np.ndarray, name: str) -> None:
        """Makes `array` the input `index` of `node`; who else reads the constant there keeps the old numbers.

        name: of the new constant where the input was not given.
        """
        old = node.inputs[index] if index < len(node.inputs) else None
        if old is not None and old.is_initializer() and len(old.uses()) == 1 and not old.is_graph_output():
            old.const_value = ir.tensor(array, name=old.name)
            old.shape = ir.Shape(array.shape)
            old.dtype = ir.DataType.from_numpy(array.dtype)
            return
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        name = name if old is None else str(old.name)
        node.replace_input_with(index, self.constant(name, array))
        drop_unread_constant(self.graph, old)

    def become_constant(self, value: ir.Value, tensor: ir.TensorProtocol | np.ndarray) -> ir.Value:
        """Replaces a node's output by an initializer of its name; a graph output by an Identity of one."""
        name = name_of(value)
        if isinstance(tensor, np.ndarray):
            tensor = ir.tensor(tensor)
        if value.is_graph_output():
            name = self.names.fresh(f"{name}_constant")
        else:
            value.name = None
        constant = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()))
        constant.const_value = tensor
        self.graph.register_initializer(constant)
        self.replace_value(value, constant)
        return constant

    def replace_value(self, old: ir.Value, new: ir.Value) -> None:
        """Everything that reads `old` reads `new` instead, which keeps its own name.

        A graph output keeps its name: `new` takes it over where it is free to, else an Identity in place of
        the node that made `old` gives it. The producer of `old` is removed when no other output of it is in
        use.
        """
        node = old.producer()
        if old is new or old.graph is not self.graph:
            raise ValueError(f"value {old.name!r} cannot be replaced")
        _merge_type(new, old)
        if not old.is_graph_output():
            old.replace_all_uses_with(new)
        elif _can_take_over(old, new):
            name = name_of(old)
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name = self.names.fresh(f"{name}_unused")
            new.name = name
        else:
            self._replace_by_identity(old, new)
        if node is not None and node.graph is not None and not any(map(is_used, node.outputs)):
            remove_node(node)

    def _replace_by_identity(self, old: ir.Value, new: ir.Value) -> None:
        node = old.producer()
        assert node is not None
        copy = ir.Value(name=old.name)
        copy_type(old, copy)
        identity = ir.node("Identity", [new], outputs=[copy], name=node.name)
        self.graph.insert_before(node, identity)
        positions = [index for index, output in enumerate(self.graph.outputs) if output is old]
        for index in positions:
            self.graph.outputs[index] = copy
        old.replace_all_uses_with(new)
        old.name = self.names.fresh(f"{old.name}_unused")
        if any(map(is_used, node.outputs)):
            identity.name = self.names.fresh(f"{node.name}_Identity")

    def bypass(self, node: ir.Node, value: ir.Value) -> bool:
        """Removes `node`, whose first output equals `value`; False when nothing changes.

        Nothing changes where the node is already the Identity that a graph output needs.
        """
        old = node.outputs[0]
        if old.is_graph_output() and not _can_take_over(old, value) and is_op(node, "Identity"):
            return False
        if any(map(is_used, node.outputs[1:])):
            return False
        self.replace_value(old, value)
        return True


def hand_over(old: ir.Value, new: ir.Value) -> None:
    """Everything that reads `old` reads `new` instead, which takes its name and what is known of its shape.

    For a `new` that was made for this. The node that made `old` is removed, with its constants.
    """
    name, node = old.name, old.producer()
    new.shape = old.shape if old.shape is not None else new.shape
    new.type = old.type if old.type is not None else new.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    assert node is not None
    remove_with_constants(node)
    new.name = name


def take_place(old: ir.Node, new: ir.Node) -> None:
    """`new` stands where `old` stood: its node name, the name and the readers of its first output."""
    name = old.name
    hand_over(old.outputs[0], new.outputs[0])
    new.name = name


def remove_node(node: ir.Node) -> None:
    """Takes `node`, whose outputs nobody reads, out of its graph."""
    graph = node.graph
    assert graph is not None
    graph.remove(node, safe=True)
    for body in subgraphs(node):  # what is no longer in the graph reads nothing
        for inner in (inner for nested in all_graphs(body) for inner in nested):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)


def remove_with_constants(node: ir.Node) -> None:
    """`remove_node`, and the constants that only it read."""
    graph, read = node.graph, dict.fromkeys(node.inputs)
    assert isinstance(graph, ir.Graph)
    remove_node(node)
    for value in read:
        drop_unread_constant(graph, value)


def drop_unread_constant(graph: ir.Graph, value: ir.Value | None) -> None:
    """Removes `value` if it is a constant of `graph` that nothing reads."""
    if value is None or value.graph is not graph or is_used(value) or not models.is_constant(value):
        return
    producer = value.producer()
    if producer is None:
        del graph.initializers[name_of(value)]
    else:
        graph.remove(producer, safe=True)


def drop_unread_initializers(graph: ir.Graph) -> int:
    """Removes all initializers that nothing reads, and says how many; inputs stay."""
    unread = [
        name
        for name, value in graph.initializers.items()
        if not is_used(value) and not value.is_graph_input()
    ]
    for name in unread:
        del graph.initializers[name]
    return len(unread)


def is_used(value: ir.Value) -> bool:
    """Something reads `value`, or it leaves the graph."""
    return value.is_graph_output() or bool(value.uses())


def copy_type(source: ir.Value, target: ir.Value) -> None:
    """Gives `target` the type and a copy of the shape of `source`."""
    target.type = source.type
    target.shape = None if source.shape is None else source.shape.copy()


def _can_take_over(old: ir.Value, new: ir.Value) -> bool:
    """True when `new` may become the graph output that `old` is: it is free to change its name."""
    return (
        not (new.is_graph_input() or new.is_graph_output() or new.is_initializer()) and new.graph is old.graph
    )


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
