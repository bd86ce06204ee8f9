"""Puts the normalization that a user asks for (--mean, --std) behind the model's first input.

``(x - mean) / std`` is folded into the first Conv, Gemm or MatMul where that is exact, and is one Mul by
``1 / std`` and one Add of ``-mean / std`` elsewhere. `insert` is for inputs of integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight.edit import Editor
from knight.errors import ConfigError
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._fold import Affine, Channels, fold_before, input_channels
from knight.passes._queries import sole_consumer

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns 1, or 0 where no mean and std are given. Raises ConfigError where they do not fit the input."""
    if not options.mean and not options.std:
        return 0
    _check_numbers(options)
    data = _first_input(model.graph)
    channels = _channels(data, max(len(options.mean), len(options.std)))
    mean, std = np.array(options.mean, np.float64), np.array(options.std, np.float64)
    affine = Affine(1.0 / std, -mean / std)
    edit = Editor(model.graph)
    if not _fold(edit, data, channels, affine):
        steps = (("Mul", affine.scale, "scale", "scaled"), ("Add", affine.shift, "shift", "normalized"))
        _insert(edit, data, channels, steps)
    return 1


def insert(model: ir.Model, options: PassOptions) -> None:
    """The normalization as a Sub and a Div, which give the bits that ``(x - mean) / std`` gives in NumPy.

    Raises ConfigError where mean and std do not fit the input.
    """
    _check_numbers(options)
    data = _first_input(model.graph)
    channels = _channels(data, max(len(options.mean), len(options.std)))
    mean, std = np.array(options.mean, np.float64), np.array(options.std, np.float64)
    steps = (("Sub", mean, "mean", "centred"), ("Div", std, "std", "normalized"))
    _insert(Editor(model.graph), data, channels, steps)


def _check_numbers(options: PassOptions) -> None:
    mean, std = options.mean, options.std
    if not mean or not std:
        given, missing = ("mean", "std") if mean else ("std", "mean")
        raise ConfigError(f"--{given} is given without --{missing}; give both or none")
    if len(mean) != len(std) and 1 not in (len(mean), len(std)):
        raise ConfigError(f"--mean has {len(mean)} numbers, --std {len(std)}; give as many of each, or one")
    if not np.isfinite([*mean, *std]).all():
        raise ConfigError("--mean and --std take finite numbers only")
    if 0 in std:
        raise ConfigError("--std has a zero, and the input is divided by it; give the standard deviations")


def _first_input(graph: ir.Graph) -> ir.Value:
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    if not inputs:
        raise ConfigError("--mean and --std: the model has no input to normalize; leave them out")
    if inputs[0].dtype not in FLOATS:
        kind = "of unknown type" if inputs[0].dtype is None else str(inputs[0].dtype)
        raise ConfigError(
            f"--mean and --std: the first input {inputs[0].name!r} is {kind}, not float; leave them out"
        )
    return inputs[0]


def _channels(data: ir.Value, length: int) -> Channels | None:
    """Where the channels of `data` are; None where one number serves all.

    Axis 1 of pictures (N, C, H, W) and signals (N, C, L), the last axis otherwise; also the last axis of
    pictures whose axis 1 does not fit and whose last does (N, H, W, C).
    """
    if length == 1:
        return None
    if data.shape is None or len(data.shape) == 0:
        raise ConfigError(
            f"--mean and --std: the input {data.name!r} has no known channel axis; give one number of each"
        )
    dims = list(data.shape)
    axis = 1 if len(dims) >= 3 else len(dims) - 1
    if isinstance(dims[axis], int) and dims[axis] != length and dims[-1] == length:
        axis = len(dims) - 1
    if isinstance(dims[axis], int) and dims[axis] != length:
        raise ConfigError(
            f"--mean and --std: the input {data.name!r} has {dims[axis]} channels (axis {axis}), wanted "
            f"{dims[axis]} numbers or one, got {length}"
        )
    return Channels(len(dims), axis, length)


def _fold(edit: Editor, data: ir.Value, channels: Channels | None, affine: Affine) -> bool:
    reader = sole_consumer(data)
    count = input_channels(reader) if is_op(reader) and reader is not None else None
    if reader is None or reader.inputs[0] is not data or count is None:
        return False
    axis = 1 if reader.op_type == "Conv" else None if channels is None else channels.rank - 1
    if channels is not None and channels.axis != axis:
        return False
    if max(affine.scale.size, affine.shift.size) not in (1, count):
        return False
    scale, shift = (np.broadcast_to(numbers, (count,)) for numbers in (affine.scale, affine.shift))
    return fold_before(edit, reader, Affine(scale, shift))


def _insert(
    edit: Editor,
    data: ir.Value,
    channels: Channels | None,
    steps: Sequence[tuple[str, np.ndarray, str, str]],
) -> None:
    """Puts operators behind `data`: each with its constants, and the endings of its constant's and result's
    names.
    """
    assert data.dtype is not None
    uses = data.uses()
    first = edit.graph.node(0)
    result = data
    for op_type, numbers, suffix, ending in steps:
        array = numbers if channels is None else np.broadcast_to(numbers, (channels.count,))
        shape = () if channels is None else _broadcastable(channels)
        constant = edit.constant(f"{data.name}_{suffix}", array.astype(data.dtype.numpy()).reshape(shape))
        name = f"{data.name}_{ending}"
        node = edit.new_node(first, op_type, [result, constant], name=name, output=name, like=data)
        result = node.outputs[0]
    for use in uses:
        use.node.replace_input_with(use.idx, result)


def _broadcastable(channels: Channels) -> tuple[int, ...]:
    return (channels.count,) + (1,) * (channels.rank - 1 - channels.axis)
