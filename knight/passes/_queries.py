"""What the passes ask of a graph: who reads a value, what is fixed, which shapes are equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.operators import RANDOM, all_graphs, is_op, subgraphs


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


def reduced_axes(node: ir.Node, axis_count: int) -> tuple[int, ...] | None:
    """The axes of a reduction, sorted and counted from 0; None where they are computed or not given.

    They are an input or (before opset 18) an attribute.
    """
    axes = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes")
    return tuple(sorted(axis % axis_count for axis in axes)) if axes else None


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
