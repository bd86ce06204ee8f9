"""Fixes the batch size of a model with a dynamic batch, and refuses dynamic inputs where the chip takes none.

The batch is the first dimension of the first input that leaves it open: its name wherever inputs use it, and
every other input's first dimension that has no name of its own.
"""

from __future__ import annotations

import re

import onnx_ir as ir

from knight.errors import ConfigError, ModelError
from knight.operators import is_op
from knight.passes import PassOptions, infer_shapes

_GENERATED = re.compile(r"unk__\d+|DynamicDimension\.\d+")
"""Names that exporters (tf2onnx, paddle2onnx) give to each unknown dimension anew; they mean nothing."""


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of inputs fixed.

    Raises ConfigError for a model whose batch is fixed at another size, ModelError for an input that stays
    dynamic with `options.static_shapes`.
    """
    changes = 0 if options.batch_size is None else _fix_batch(model, options.batch_size)
    if options.static_shapes:
        for value in model.graph.inputs:
            _check_static(value)
    return changes


def _fix_batch(model: ir.Model, size: int) -> int:
    inputs = [value for value in model.graph.inputs if value.shape is not None and len(value.shape) > 0]
    first = next((value for value in inputs if _is_open(value)), None)
    if first is None:
        _check_batch(inputs, size)
        return 0
    assert first.shape is not None
    name = _given_name(first.shape[0])
    changes = sum(_fix_dims(value, name, size, first_too=True) for value in inputs)
    for value in model.graph.outputs:
        _fix_dims(value, name, size, first_too=False)
    _forget_shapes(model.graph)
    infer_shapes.infer(model)
    return changes


def _is_open(value: ir.Value) -> bool:
    return value.shape is not None and isinstance(value.shape[0], ir.SymbolicDim)


def _given_name(dim: int | ir.SymbolicDim) -> str | None:
    """The name that the model's author gave to a dimension."""
    if isinstance(dim, int) or dim.value is None or _GENERATED.fullmatch(dim.value):
        return None
    return dim.value


def _check_batch(inputs: list[ir.Value], size: int) -> None:
    if not inputs or inputs[0].shape is None:
        raise ConfigError(f"-ib {size}: the model has no input with a batch dimension; leave -ib out")
    own = inputs[0].shape[0]
    if all(value.shape is None or value.shape[0] != size for value in inputs):
        raise ConfigError(
            f"-ib {size}: the model's batch is already fixed at {own}; leave -ib out, or export the model "
            f"with a dynamic batch"
        )


def _fix_dims(value: ir.Value, name: str | None, size: int, *, first_too: bool) -> bool:
    if value.shape is None:
        return False
    dims: list[int | ir.SymbolicDim] = list(value.shape)
    for axis, dim in enumerate(dims):
        if isinstance(dim, int):
            continue
        given = _given_name(dim)
        if (name is not None and given == name) or (first_too and axis == 0 and given is None):
            dims[axis] = size
    changed = dims != list(value.shape)
    value.shape = ir.Shape(dims)
    return changed


def _forget_shapes(graph: ir.Graph) -> None:
    """Shapes inside the graph are worked out again. What shape inference does not know stays."""
    for node in graph:
        for output in node.outputs:
            if is_op(node) and not output.is_graph_output():
                output.shape = None


def _check_static(value: ir.Value) -> None:
    if not isinstance(value.type, ir.TensorType):
        return
    if value.shape is None:
        raise ModelError(
            f"input {value.name!r}: has no shape, and the chip takes fixed shapes only; export it with one"
        )
    for axis, dim in enumerate(value.shape):
        if not isinstance(dim, int):
            label = f" ({dim.value})" if dim.value else ""
            remedy = "give -ib, or export" if axis == 0 else "export"
            raise ModelError(
                f"input {value.name!r}: dimension {axis}{label} may vary, and the chip takes fixed shapes "
                f"only; {remedy} the model with a fixed size"
            )
