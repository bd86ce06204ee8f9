"""Opens the batch: Caffe's files always name a size for it, though most nets take any.

A net is translated once more for a batch that is larger by one. Where both translations are the same graph,
with the same constants, and each output has its samples along the first axis, it holds for every batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

BATCH = "batch"


def batch_of(shapes: Iterable[tuple[int, ...]]) -> int | None:
    """The first dimension of all input shapes, where they agree."""
    sizes = {shape[0] if shape else None for shape in shapes}
    return sizes.pop() if len(sizes) == 1 else None


def open_batch(model: ir.Model, larger: ir.Model) -> bool:
    """Leaves the batch of `model` open if `larger`, the net with one sample more, is the same graph."""
    if not _same(model.graph, larger.graph):
        return False
    pairs = list(zip(_values(model.graph), _values(larger.graph), strict=True))
    opened = {value: _opened(value, other) for value, other in pairs}
    ends = (*model.graph.inputs, *model.graph.outputs)
    if any(not opened[value] or opened[value][0] != BATCH for value in ends):
        return False
    for value, shape in opened.items():
        value.shape = ir.Shape(shape)
    return True


def _opened(value: ir.Value, other: ir.Value) -> list[int | str | None]:
    """The shape of `value`; what grows with the batch is open, and has its name where it grows by one."""
    if value.shape is None or other.shape is None:
        return []
    shape: list[int | str | None] = []
    for dim, grown in zip(value.shape.numpy(), other.shape.numpy(), strict=True):
        shape.append(dim if dim == grown else BATCH if grown == dim + 1 else None)
    return shape


def _same(graph: ir.Graph, other: ir.Graph) -> bool:
    nodes, others = list(graph), list(other)
    if len(nodes) != len(others) or graph.initializers.keys() != other.initializers.keys():
        return False
    alike = all(_described(node) == _described(twin) for node, twin in zip(nodes, others, strict=True))
    return alike and all(
        _equal(value, other.initializers[name]) for name, value in graph.initializers.items()
    )


def _described(node: ir.Node) -> tuple[object, ...]:
    names = [value.name if value is not None else None for value in node.inputs]
    attributes = {key: attribute.value for key, attribute in node.attributes.items()}
    return node.op_type, names, [value.name for value in node.outputs], repr(sorted(attributes.items()))


def _equal(value: ir.Value, other: ir.Value) -> bool:
    if value.const_value is None or other.const_value is None:
        return False
    return np.array_equal(value.const_value.numpy(), other.const_value.numpy())


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *(value for node in graph for value in node.outputs)]
