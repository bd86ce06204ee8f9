"""The way from a model's input to the weights that multiply it: what normalizes it, and what moves it there.

Channels stay apart as long as operators only move, select or interpolate; which of them comes where is found
out by running those operators on marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from knight import border, model as models, operators
from knight.model import name_of
from knight.operators import is_op
from knight.passes import PassOptions, passes
from knight.passes._fold import input_channels, unpadded
from knight.runner import Session

Doubles = NDArray[np.float64]

_MULTIPLIES = ("Conv", "Gemm", "MatMul")
_MOVES = (
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Pad",
    "ReduceMax",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)
"""What moves, selects or interpolates: the same whether its input is multiplied by a positive number or its
result, as long as channels stay apart, which is looked at."""


@dataclass(frozen=True)
class Way:
    """From an input's integers to the weights.

    source: the integers as floats. chain: what normalizes them, ``scale * (x - mean)``, both of the shape
    (1, C, 1, 1), say, or of one element. movers: operators behind that move. readers: what multiplies, and of
    each feature that it reads, which channel of the input it is. padded: zeros stand for the mean somewhere.
    """

    source: ir.Value
    chain: Sequence[ir.Node]
    scale: Doubles
    mean: Doubles
    movers: Sequence[ir.Node]
    readers: Mapping[ir.Node, NDArray[np.int64]]
    padded: bool


class Stays(Exception):
    """Why a normalization cannot be folded."""


def way_from(model: ir.Model, source: ir.Value) -> Way:
    """Raises Stays."""
    chain = list(border.affine_chain(source))
    end = chain[-1].outputs[0] if chain else source
    if source.shape is None:
        raise Stays(f"the rank of input {source.name!r} is not known")
    scale, mean = _affine(chain, source)
    movers, readers = _behind(end)
    if movers and (scale <= 0).any():
        raise Stays("it turns the order of the numbers round")
    marks = np.broadcast_to(
        np.arange(mean.size, dtype=np.float32).reshape(mean.shape) + 1, _shape(source, movers)
    )
    read = {reader: name_of(_first(reader)) for reader in readers}
    traced = _traced(model, end, [*read.values()], marks)
    channels = {reader: _channels(reader, traced[name]) for reader, name in read.items()}
    turned = _traced(model, end, [*read.values()], mean.size + 1 - marks)  # the largest is another one's
    for reader, name in read.items():
        known = channels[reader] >= 0
        if (channels[reader] + _channels(reader, turned[name]) != mean.size - 1)[known].any():
            raise Stays(_several(reader))
        channels[reader][~known] = 0
    pads = any(reader.op_type == "Conv" and not unpadded(reader) for reader in readers)
    zeros = any(bool((array == 0).any()) for array in traced.values())
    return Way(source, chain, scale, mean, movers, channels, pads or zeros)


def _affine(chain: Sequence[ir.Node], source: ir.Value) -> tuple[Doubles, Doubles]:
    """scale and mean of a chain, of one shape; all but one axis have one element."""
    assert source.shape is not None
    rank = len(source.shape)
    scale, shift = np.ones((1,) * rank), np.zeros((1,) * rank)
    for node in chain:
        place = 1 - next(index for index, value in enumerate(node.inputs) if not models.is_constant(value))
        numbers = models.constant(node.inputs[place])
        if numbers is None or numbers.ndim > rank or not np.isfinite(numbers).all():
            raise Stays(f"{node.op_type} {node.name!r} is no number per channel")
        constant = numbers.astype(np.float64).reshape((1,) * (rank - numbers.ndim) + numbers.shape)
        match node.op_type:
            case "Add":
                shift = shift + constant
            case "Sub" if place == 1:
                shift = shift - constant
            case "Sub":
                scale, shift = -scale, constant - shift
            case "Mul":
                scale, shift = scale * constant, shift * constant
            case "Div":
                scale, shift = scale / constant, shift / constant
    with np.errstate(divide="ignore", invalid="ignore"):
        scale, mean = np.broadcast_arrays(scale, -shift / scale)
    if not np.isfinite(mean).all():
        raise Stays("it multiplies a channel by zero")
    if sum(size > 1 for size in scale.shape) > 1:
        raise Stays("it is no number per channel")
    return scale, mean


def _behind(end: ir.Value) -> tuple[list[ir.Node], list[ir.Node]]:
    """What moves the value `end`, and what multiplies it or what it was moved to; in graph order."""
    graph, moved = end.graph, {end}
    movers, readers = [], []
    assert graph is not None
    for node in graph:
        read = [index for index, value in enumerate(node.inputs) if value in moved]
        if read == [0] and is_op(node, *_MULTIPLIES) and input_channels(node) is not None:
            readers.append(node)
        elif read and _only_moves(node, moved):
            movers.append(node)
            moved.update(node.outputs)
        elif read:
            raise Stays(
                f"{node.op_type} {node.name!r} reads it as well, which has no weights to fold it into"
            )
    for value in moved:
        if value.is_graph_output():
            raise Stays(f"{value.name!r} is an output of the model")
        if any(node.graph is not graph for node in value.consumers()):
            raise Stays(f"the body of an If, Loop or Scan reads {value.name!r}")
    if not readers:
        raise Stays("no Conv, Gemm or MatMul with constant weights reads it")
    return movers, readers


def _only_moves(node: ir.Node, moved: set[ir.Value]) -> bool:
    others = [value for value in node.inputs if value is not None and value not in moved]
    if not is_op(node, *_MOVES) or not operators.keeps_range(node):
        return False
    return all(map(models.is_constant, others)) and all(map(operators.is_float, node.outputs))


def _shape(source: ir.Value, movers: Sequence[ir.Node]) -> tuple[int, ...]:
    assert source.shape is not None
    sizes = tuple(dim if isinstance(dim, int) else 1 for dim in source.shape)
    if movers and not all(isinstance(dim, int) for dim in source.shape[1:]):
        raise Stays(f"the shape of input {source.name!r} is not fixed")
    return sizes


def _traced(
    model: ir.Model, end: ir.Value, wanted: Sequence[str], marks: np.ndarray
) -> dict[str, np.ndarray]:
    """What the values called `wanted` are where `end` holds `marks`, which nothing but moving leads to."""
    names = [name for name in dict.fromkeys(wanted) if name != end.name]
    found = {name_of(end): marks}
    if not names:
        return found
    twin = model.clone()
    values = {name_of(value): value for value in models.values(twin.graph) if value.name}
    fed = ir.Value(name=models.fresh_name(twin.graph, "marks"), type=ir.TensorType(ir.DataType.FLOAT))
    fed.shape = ir.Shape(marks.shape)
    values[name_of(end)].replace_all_uses_with(fed)
    twin.graph.inputs[:] = [fed]
    twin.graph.outputs[:] = [values[name] for name in names]
    passes.get("remove_unused")(twin, PassOptions())
    results = Session(twin, level="none").run({name_of(fed): np.ascontiguousarray(marks)}, names)
    return found | dict(zip(names, results, strict=True))


def _channels(reader: ir.Node, marks: np.ndarray) -> NDArray[np.int64]:
    """The channel of the input that each feature is that `reader` reads, by the marks that came there; -1
    where only zeros did. Raises Stays where a feature is of several.
    """
    axis = marks.ndim - 1 if reader.op_type == "MatMul" else 1
    rows = np.moveaxis(marks, axis, 0).reshape(marks.shape[axis], -1)
    top = rows.max(axis=1, initial=0)
    alike = (np.abs(rows - top[:, None]) < 1e-3) | (rows == 0)
    if not alike.all() or (np.abs(top - np.rint(top)) > 1e-3).any():
        raise Stays(_several(reader))
    found: NDArray[np.int64] = np.rint(top).astype(np.int64) - 1
    return found


def _several(reader: ir.Node) -> str:
    return f"{reader.op_type} {reader.name!r} reads several channels as one"


def _first(reader: ir.Node) -> ir.Value:
    value = reader.inputs[0]
    assert value is not None
    return value
