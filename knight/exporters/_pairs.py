"""What stands around an operator of a QDQ model: the integers that it reads, and those that become of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.operators import STANDARD
from knight.qdq.integer_operators import input_at
from knight.qdq.numbers import Numbers, stated_numbers
from knight.quantizer import quantize

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


@dataclass(frozen=True)
class Operand:
    """Integers that are dequantized before they are read. axis: along which their scale varies, if any."""

    integers: ir.Value
    numbers: Numbers
    axis: int | None = None


@dataclass(frozen=True)
class Result:
    """Integers that a value becomes. bounds: the Relu and Clip on the way, none of which anybody else reads.
    low, high: the least and the largest integer that these let through.
    """

    bounds: tuple[ir.Node, ...]
    quantize: ir.Node
    numbers: Numbers
    low: np.ndarray
    high: np.ndarray

    @property
    def integers(self) -> ir.Value:
        return self.quantize.outputs[0]

    @property
    def saturates(self) -> bool:
        """Whether Relu and Clip change nothing that the integers' own range would not."""
        held = np.iinfo(self.low.dtype)
        return bool(self.low == held.min and self.high == held.max)


def operand(value: ir.Value | None) -> Operand | None:
    """The integers behind a float32 `value`; None where it is not made of some by a DequantizeLinear whose
    scale is fixed, one for all or one per channel.
    """
    node = value.producer() if value is not None else None
    if node is None or not _is(node, "DequantizeLinear") or models.attribute(node, "block_size", 0):
        return None
    integers = node.inputs[0]
    numbers = stated_numbers(node, 1, integers)
    if integers is None or numbers is None or numbers.scale.dtype != np.float32:
        return None
    if numbers.single:
        return Operand(integers, numbers)
    axis, rank = models.attribute(node, "axis", 1), rank_of(integers)
    assert isinstance(axis, int)
    return None if rank is None else Operand(integers, numbers, axis % rank)


def result(value: ir.Value, reader: ir.Node | None = None) -> Result | None:
    """The 8-bit integers, one scale for all, that are all that is read of a `value`; else None.

    reader: what becomes of the value by this one of its readers.
    """
    bounds: list[ir.Node] = []
    reader = reader or _only_reader(value)
    while reader is not None and limits(reader) is not None:
        bounds.append(reader)
        reader = _only_reader(reader.outputs[0])
    if reader is None or not _is(reader, "QuantizeLinear") or models.attribute(reader, "block_size", 0):
        return None
    numbers = stated_numbers(reader, 1, reader.outputs[0])
    if numbers is None or not numbers.single or numbers.dtype not in BYTES:
        return None
    low, high = bounded(bounds, numbers)
    return Result(tuple(bounds), reader, numbers, low, high)


def limits(node: ir.Node) -> tuple[float, float] | None:
    """Between which numbers a Relu or Clip holds its input; None for other operators, and where they vary."""
    if _is(node, "Relu"):
        return 0.0, np.inf
    if not _is(node, "Clip"):
        return None
    found = [-np.inf, np.inf]
    for place in (1, 2):
        if (value := input_at(node, place)) is not None:
            array = models.constant(value)
            if array is None or array.size != 1:
                return None
            found[place - 1] = float(array.reshape(()))
    return found[0], found[1]


def bounded(bounds: list[ir.Node], numbers: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """The integers of the least and the largest number that come through a chain of Relu and Clip.

    Rounding keeps the order of numbers, so what lies between these bounds before it does so after it.
    """
    ends = []
    for end in (-np.inf, np.inf):
        held = reduce(_held, bounds, end)
        ends.append(quantize(np.asarray(held, np.float32), numbers.params()))
    return ends[0], ends[1]


def _held(number: float, node: ir.Node) -> float:
    found = limits(node)
    assert found is not None
    return min(max(number, found[0]), found[1])


def rank_of(value: ir.Value) -> int | None:
    """Number of dimensions, None when unknown."""
    shape = value.shape if value.const_value is None else value.const_value.shape
    return None if shape is None else len(shape)


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if uses[0].idx == 0 and node.graph is value.graph else None


def _is(node: ir.Node, op_type: str) -> bool:
    return node.op_type == op_type and node.domain in STANDARD
