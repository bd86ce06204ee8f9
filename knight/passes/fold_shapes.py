"""Works out shape arithmetic: Shape, and the integers that are gathered, joined and computed from it.

Each small integer tensor is followed as an array whose elements are numbers, dimension names, or unknown. A
tensor of numbers alone becomes a constant. A Reshape whose target has unknown elements gets a constant target
where 0 (the dimension of the input at this place) and -1 (whatever is left) say the same for every input,
empty ones included.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from knight import model as models
from knight.edit import Editor
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes, rank

LARGEST = 256  # elements; shapes are small
Elements: TypeAlias = NDArray[np.object_]
Rule: TypeAlias = "Callable[[ir.Node, Sequence[Elements | None]], Elements | None]"


class _Unknown:
    """An element of which nothing is known; equal to itself alone."""


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of tensors that became constants and of Reshape targets made constant."""
    known: dict[ir.Value, Elements] = {}
    targets: dict[tuple[int, ...], ir.Value] = {}
    changes, edit = 0, Editor(model.graph)
    for node in live_nodes(model.graph):
        if is_op(node, "Reshape"):
            changes += _fix_target(edit, node, known, targets)
        elements = _evaluate(node, known)
        if elements is None:
            continue
        output = node.outputs[0]
        if output.dtype is not None and all(isinstance(item, int) for item in elements.reshape(-1)):
            edit.become_constant(output, elements.astype(output.dtype.numpy()))
            changes += 1
        else:
            known[output] = elements
    return changes


def _evaluate(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    rule = _RULES.get(node.op_type)
    if rule is None or not is_op(node) or len(node.outputs) != 1:
        return None
    if is_op(node, "Identity") and node.outputs[0].is_graph_output():
        return None  # this is how a constant leaves the model
    if node.outputs[0].dtype not in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL):
        return None
    inputs = [None if value is None else _elements(value, known) for value in node.inputs]
    unknown = any(
        array is None for array, value in zip(inputs, node.inputs, strict=True) if value is not None
    )
    if unknown and node.op_type != "Shape":
        return None
    result = rule(node, inputs)
    return None if result is None or result.size > LARGEST else result


def _elements(value: ir.Value, known: dict[ir.Value, Elements]) -> Elements | None:
    if value in known:
        return known[value]
    if value.const_value is None or value.const_value.size > LARGEST:
        return None
    array = models.constant(value)
    if array is None or array.dtype.kind not in "iub":
        return None
    return np.array(array.tolist(), dtype=object).reshape(array.shape)


def _numbers(array: Elements | None) -> tuple[int, ...] | None:
    """The elements when all of them are known."""
    if array is None or not all(isinstance(item, int) for item in array.reshape(-1)):
        return None
    return tuple(int(item) for item in array.reshape(-1))


def _shape(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    dims = [dim if isinstance(dim, int) else dim.value or _Unknown() for dim in value.shape]
    start, end = models.attribute(node, "start", 0), models.attribute(node, "end", len(dims))
    return np.array([*dims, None], dtype=object)[:-1][start:end]


def _gather(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    data, indices = inputs[0], inputs[1]
    numbers = _numbers(indices)
    if data is None or indices is None or numbers is None:
        return None
    axis = node.attributes.get_int("axis", 0)
    if data.ndim == 0 or any(not -data.shape[axis] <= number < data.shape[axis] for number in numbers):
        return None
    return np.asarray(np.take(data, np.array(numbers, dtype=int).reshape(indices.shape), axis), dtype=object)


def _slice(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    data, *rest = inputs
    bounds = [None if array is None else _numbers(array) for array in rest]
    if data is None or data.ndim != 1 or len(bounds) < 2 or bounds[0] is None or bounds[1] is None:
        return None
    if any(array is not None and numbers is None for array, numbers in zip(rest, bounds, strict=True)):
        return None
    step = bounds[3][0] if len(bounds) > 3 and bounds[3] is not None else 1
    start, end = bounds[0][0], bounds[1][0]
    if step < 0:
        return None  # where an end below the start of the array means more than Python's
    return data[start:end:step]


def _concat(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    arrays = [array for array in inputs if array is not None]
    return np.concatenate(arrays, axis=node.attributes.get_int("axis", 0))


def _unsqueeze(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    axes = _axes(node, inputs)
    return None if axes is None or inputs[0] is None else np.expand_dims(inputs[0], axes)


def _squeeze(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    axes = _axes(node, inputs)
    return None if inputs[0] is None else np.squeeze(inputs[0], axis=axes)


def _axes(node: ir.Node, inputs: Sequence[Elements | None]) -> tuple[int, ...] | None:
    if len(inputs) > 1:
        return _numbers(inputs[1])
    attribute = node.attributes.get("axes")
    return None if attribute is None else tuple(attribute.as_ints())


def _reshape(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    target = _numbers(inputs[1])
    if target is None or inputs[0] is None or any(number == 0 for number in target):
        return None
    return inputs[0].reshape(target)


def _same(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    return inputs[0]


def _cast(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    value = node.inputs[0]
    integer = (ir.DataType.INT64, ir.DataType.INT32)
    return (
        inputs[0]
        if value is not None and value.dtype in integer and node.outputs[0].dtype in integer
        else None
    )


def _where(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    def choose(condition: object, first: object, second: object) -> object:
        if isinstance(condition, int):
            return first if condition else second
        return first if first == second else _Unknown()

    return _map(choose, inputs)


def _equal(left: object, right: object) -> object:
    if left is right or (isinstance(left, int) and isinstance(right, int)):
        return left == right
    if isinstance(left, str) and isinstance(right, str):
        return True if left == right else _Unknown()
    negative = any(isinstance(item, int) and item < 0 for item in (left, right))
    dimension = any(isinstance(item, str) for item in (left, right))
    return False if negative and dimension else _Unknown()  # a dimension is never negative


def _arithmetic(
    compute: Callable[[int, int], int], right_neutral: int | None, left_neutral: int | None
) -> Rule:
    """A rule for a binary operator; a neutral operand leaves the other as it is, known or not."""

    def element(left: object, right: object) -> object:
        if isinstance(left, int) and isinstance(right, int):
            return compute(int(left), int(right))
        if right_neutral is not None and isinstance(right, int) and right == right_neutral:
            return left
        if left_neutral is not None and isinstance(left, int) and left == left_neutral:
            return right
        return _Unknown()

    return lambda node, inputs: _map(element, inputs)


def _divide(left: int, right: int) -> int:
    """Towards zero, as ONNX Runtime divides integers."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _div(node: ir.Node, inputs: Sequence[Elements | None]) -> Elements | None:
    if inputs[1] is None or any(isinstance(item, int) and item == 0 for item in inputs[1].reshape(-1)):
        return None
    return _arithmetic(_divide, 1, None)(node, inputs)


def _map(function: Callable[..., object], inputs: Sequence[Elements | None]) -> Elements | None:
    given = [array for array in inputs if array is not None]
    if math.prod(np.broadcast_shapes(*(array.shape for array in given))) > LARGEST:
        return None  # three of 256 elements may come to 16 million
    arrays = np.broadcast_arrays(*given)
    result = np.empty(arrays[0].shape, dtype=object)
    for index in np.ndindex(result.shape):
        result[index] = function(*(array[index] for array in arrays))
    return result


_RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Identity": _same,
    "Cast": _cast,
    "Where": _where,
    "Equal": lambda node, inputs: _map(_equal, inputs),
    "Add": _arithmetic(operator.add, 0, 0),
    "Sub": _arithmetic(operator.sub, 0, None),
    "Mul": _arithmetic(operator.mul, 1, 1),
    "Div": _div,
}


def _fix_target(
    edit: Editor,
    node: ir.Node,
    known: dict[ir.Value, Elements],
    targets: dict[tuple[int, ...], ir.Value],
) -> bool:
    """Makes the target of a Reshape constant where that is exact; `targets` are those that exist by now."""
    data, target = node.inputs[0], node.inputs[-1]
    if data is None or target is None or models.is_constant(target):
        return False
    elements = known.get(target)
    if elements is None or elements.ndim != 1:
        return False
    copies_zero = not models.attribute(node, "allowzero", 0)
    numbers = [_target_number(data, axis, item, copies_zero) for axis, item in enumerate(elements)]
    if numbers.count(None) + numbers.count(-1) > 1:
        return False
    if None in numbers and not all(
        _never_empty(data, axis, n, copies_zero) for axis, n in enumerate(numbers)
    ):
        return False
    final = tuple(-1 if number is None else number for number in numbers)
    if not copies_zero and -1 in final and 0 in final:
        return False  # what is left for -1 beside a true zero cannot be told
    if final not in targets:
        array = np.array(final, dtype=np.int64)
        targets[final] = edit.constant(f"{target.name}_fixed", array)
    node.replace_input_with(1, targets[final])
    return True


def _target_number(data: ir.Value, axis: int, item: object, copies_zero: bool) -> int | None:
    """The element as a number; 0 where it is the input's own dimension; None if it is not known."""
    if isinstance(item, int):
        return int(item)
    size = rank(data)
    if not copies_zero or data.shape is None or size is None or axis >= size:
        return None
    dim = data.shape[axis]
    return 0 if isinstance(item, str) and not isinstance(dim, int) and dim.value == item else None


def _never_empty(data: ir.Value, axis: int, number: int | None, copies_zero: bool) -> bool:
    """True if this part of the target cannot be an empty dimension, beside which -1 has no meaning."""
    if number is None or number > 0:
        return True
    if number < 0 or not copies_zero or data.shape is None or axis >= len(data.shape):
        return False
    dim = data.shape[axis]
    return isinstance(dim, int) and dim > 0
