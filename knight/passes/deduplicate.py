"""Merges equal initializers, and equal nodes that read the same values (common subexpressions)."""

from __future__ import annotations

import hashlib
from collections import Counter

import onnx_ir as ir

from knight.edit import Editor, is_used
from knight.operators import has_subgraph, is_op
from knight.passes import PassOptions
from knight.passes._queries import is_random, live_nodes


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of initializers and nodes that another one now stands for. The first one stays."""
    return _merge_initializers(model.graph) + _merge_nodes(model.graph)


def _merge_initializers(graph: ir.Graph) -> int:
    kinds = Counter(_kind(value.const_value) for value in graph.initializers.values() if value.const_value)
    firsts: dict[object, ir.Value] = {}
    changes = 0
    for name, value in tuple(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or value.is_graph_input() or kinds[_kind(tensor)] == 1:
            continue  # without a second of its kind there is no need to read it
        first = firsts.setdefault((_kind(tensor), _digest(tensor)), value)
        if first is value or value.is_graph_output():
            continue
        value.replace_all_uses_with(first)
        del graph.initializers[name]
        changes += 1
    return changes


def _kind(tensor: ir.TensorProtocol) -> tuple[object, ...]:
    return (tensor.dtype, *tensor.shape.numpy())


def _digest(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype == ir.DataType.STRING:
        return repr(tensor.numpy().tolist()).encode()
    return hashlib.sha256(tensor.tobytes()).digest()


def _merge_nodes(graph: ir.Graph) -> int:
    firsts: dict[object, ir.Node] = {}
    edit = Editor(graph)
    changes = 0
    for node in live_nodes(graph):
        if is_random(node) or is_op(node, "Identity", "Constant") or has_subgraph(node):
            continue
        first = firsts.setdefault(_key(node), node)
        if first is node:
            continue
        for own, other in zip(tuple(node.outputs), first.outputs, strict=True):
            if is_used(own):
                edit.replace_value(own, other)
        changes += 1
    return changes


def _key(node: ir.Node) -> tuple[object, ...]:
    """Equal for nodes that compute the same, the same optional outputs included."""
    attributes = sorted(
        (name, ir.serde.serialize_attribute(attribute).SerializeToString(deterministic=True))
        for name, attribute in node.attributes.items()
    )
    asked = tuple(bool(output.name) for output in node.outputs)
    return (*node.op_identifier(), *node.inputs, tuple(attributes), asked)
