"""By which scale and zero point the integers of a quantized model read as real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models, quantizer
from knight.errors import ModelError, shown
from knight.qdq.integer_operators import (
    DOMAINS,
    MOVING,
    Computing,
    computing_of,
    data_places,
    input_at,
    moved_outputs,
    moving_of,
)
from knight.types import QParams, QuantSpec

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int4", "uint4")


@dataclass(frozen=True)
class Numbers:
    """How the integers of a value read: the values that hold scale and zero point, and both as arrays."""

    scale_value: ir.Value
    zero_point_value: ir.Value | None
    scale: np.ndarray
    zero_point: np.ndarray
    dtype: ir.DataType
    domain: str = ""

    @property
    def single(self) -> bool:
        return bool(self.scale.size == 1 and self.zero_point.size == 1)

    def params(self, axis: int | None = None) -> QParams:
        """The same as `QParams`. axis: of the tensor, along which several numbers vary."""
        shape = () if self.single else (-1,)
        scale = self.scale.astype(np.float32).reshape(shape)
        zero_point = np.broadcast_to(self.zero_point.reshape(shape), scale.shape)
        signed = self.dtype.name.startswith("INT")
        return with_range(self.dtype.bitwidth, signed, None if self.single else axis, scale, zero_point)

    def same(self, other: Numbers) -> bool:
        """Whether the integers of both, one scale for all of them, mean the same."""
        mine, theirs = ((n.dtype, n.scale.item(), n.zero_point.item()) for n in (self, other))
        return mine == theirs


def with_range(
    bits: int,
    signed: bool,
    axis: int | None,
    scale: np.ndarray,
    zero_point: np.ndarray,
    *,
    narrow: bool = False,
) -> QParams:
    """`scale` and `zero_point` with the spec that they have come from, as far as they tell.

    A symmetric spec is one whose zero point is the middle of its integers. (That of unsigned ones may be 0
    by chance.)
    """
    middle = 0 if signed else 1 << (bits - 1)
    symmetric = bool(np.all(zero_point == middle))
    spec = QuantSpec(bits, signed, symmetric, axis, narrow, centred=symmetric and not signed)
    return QParams(spec, scale, zero_point.astype(spec.dtype))


def same_params(one: QParams, other: QParams) -> bool:
    """Whether both make the same of every number."""
    kinds = ((each.spec.qmin, each.spec.qmax, each.spec.axis) for each in (one, other))
    return (
        len(set(kinds)) == 1
        and np.array_equal(one.scale, other.scale)
        and np.array_equal(one.zero_point, other.zero_point)
    )


@dataclass(frozen=True)
class Tap:
    """A value that a model holds as integers: its name there, and ``real = scale * (q - zero_point)``.

    scale: float32, zero_point: int32, both () or, with `axis`, (channels,).
    """

    name: str
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None = None

    def real(self, integers: np.ndarray) -> np.ndarray:
        """float32 numbers, of the shape of `integers`."""
        return quantizer.dequantize(
            integers, QParams(QuantSpec(bits=32, axis=self.axis), self.scale, self.zero_point)
        )


def stated_numbers(node: ir.Node, place: int, integers: ir.Value | None, domain: str = "") -> Numbers | None:
    """Of scale and zero point at `place` and the next of `node`; None where they are not fixed.

    integers: the value that they belong to; tells the type where there is no zero point.
    """
    scale_value, zero_point_value = input_at(node, place), input_at(node, place + 1)
    scale = models.constant(scale_value)
    if scale_value is None or scale is None or scale.dtype == object:  # texts, which ONNX Runtime refuses
        return None
    zero_point = models.constant(zero_point_value)
    if zero_point is None:
        dtype = None if zero_point_value is not None or integers is None else integer_type(integers)
        if dtype is None:
            return None
        zero_point = np.zeros(scale.shape, np.int32)
    else:
        dtype = ir.DataType.from_numpy(zero_point.dtype)
    if dtype.is_floating_point():
        return None
    return Numbers(scale_value, zero_point_value, scale, zero_point.astype(np.int32), dtype, domain)


def check_scales(graph: ir.Graph) -> None:
    """Raises ModelError, naming the node, for a stated scale by which nothing can be rounded.

    For who goes on with the scales; a comparison tells what they do to the layer.
    """
    for node in graph:
        for place in _scale_places(node):
            scale = models.constant(input_at(node, place))
            if scale is None or scale.dtype == object:
                continue
            real = scale.astype(np.float64)
            if not np.all(np.isfinite(real) & (real > 0)):
                name = node.inputs[place].name or ""  # type: ignore[union-attr]  # it has a constant
                raise ModelError(
                    f"node {shown(node.name or '')} ({node.op_type}) rounds by {shown(name)}, which is no "
                    f"scale: it has to be above 0 and finite; quantize the float model again"
                )


def _scale_places(node: ir.Node) -> list[int]:
    """Where `node` reads scales of integers."""
    computing = computing_of(node)
    if computing is not None:
        return [*(place + 1 for place in computing.places(node)), computing.output]
    return [1] if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.domain in DOMAINS else []


def integer_type(integers: ir.Value) -> ir.DataType | None:
    """Type of a value of integers, else None; where it is not written down, its maker's zero point has it."""
    found = _type(integers)
    return found if found is not None and found.is_integer() else None


def _type(integers: ir.Value) -> ir.DataType | None:
    node = integers.producer()
    if integers.dtype not in (None, ir.DataType.UNDEFINED) or node is None:
        return integers.dtype
    computing = computing_of(node)
    place = computing.output + 1 if computing is not None else 2
    if computing is None and node.op_type != "QuantizeLinear":
        return None
    if (zero_point := input_at(node, place)) is not None:
        return zero_point.dtype
    if computing is not None:  # its output is of its first input's type
        first = input_at(node, computing.inputs[0])
        return None if first is None else _type(first)
    written = models.attribute(node, "output_dtype", 0)
    return ir.DataType(written) if isinstance(written, int) and written else ir.DataType.UINT8


def result_numbers(node: ir.Node, computing: Computing) -> Numbers | None:
    """Of an operator's output, which has one scale."""
    numbers = stated_numbers(node, computing.output, node.outputs[0])
    return numbers if numbers is not None and numbers.single else None


def _converts(node: ir.Node) -> bool:
    """One scale for all, or one per channel; not one per block."""
    known = node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.domain in DOMAINS
    return known and not models.attribute(node, "block_size", 0)


def _read_by_node(node: ir.Node) -> dict[str, Numbers]:
    """The integers whose meaning `node` itself states, with what it states."""
    found: list[tuple[ir.Value | None, Numbers | None]] = []
    computing = computing_of(node)
    if computing is not None:
        for place in computing.places(node):
            found.append((input_at(node, place), stated_numbers(node, place + 1, input_at(node, place))))
        found.append((node.outputs[0], result_numbers(node, computing)))
    elif _converts(node):
        makes = node.op_type == "QuantizeLinear"
        integers = node.outputs[0] if makes else node.inputs[0]
        found.append((integers, stated_numbers(node, 1, integers, node.domain)))
    return {
        value.name or "": numbers
        for value, numbers in found
        if value is not None and numbers is not None and numbers.dtype.name.lower() in _INTEGERS
    }


def fixed_values(graph: ir.Graph) -> set[str]:
    """Names of the values that operators make of constants alone: weights on their way."""
    fixed: set[str] = set()
    for node in graph:
        if moving_of(node) is not None and all(
            value is None or value.name in fixed or models.is_constant(value) for value in node.inputs
        ):
            fixed.update(output.name or "" for output in node.outputs)
    return fixed


@dataclass(frozen=True)
class Conversion:
    """What a QuantizeLinear or DequantizeLinear states. is_float32: its real numbers are of that type."""

    params: QParams
    is_float32: bool


def conversion(node: ir.Node) -> Conversion | None:
    """What `node` states; None where its scale is computed or one per block, or its integers are none."""
    if not _converts(node):
        return None
    integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    numbers = stated_numbers(node, 1, integers, node.domain)
    if numbers is None or numbers.scale.ndim > 1 or numbers.scale.size == 0:
        return None
    axis = None if numbers.single else node.attributes.get_int("axis", 1)
    if axis is not None and axis < 0:
        ranked = next(
            (value for value in (node.inputs[0], integers) if value is not None and value.shape), None
        )
        if ranked is None or ranked.shape is None:
            return None
        axis %= len(ranked.shape)
    return Conversion(numbers.params(axis), numbers.scale.dtype == np.float32)


def known_integers(graph: ir.Graph, moved: Sequence[ir.Node]) -> dict[str, Numbers]:
    """Integer value -> how it reads: as its maker says, else its readers, else what it was moved from or to.

    moved: the operators that move numbers.
    """
    made: dict[str, Numbers] = {}
    read: dict[str, Numbers] = {}
    for node in graph:
        outputs = {output.name for output in node.outputs}
        for name, numbers in _read_by_node(node).items():
            (made if name in outputs else read).setdefault(name, numbers)
    known = made.copy()
    for node in moved:  # the integers' maker knows best, also through operators that move them
        _carry(node, known)
    known = read | known
    before = -1
    while before != len(known):
        before = len(known)
        for node in (*reversed(moved), *moved):
            _carry(node, known)
    return known


def _carry(node: ir.Node, known: dict[str, Numbers]) -> None:
    """What is known of one side of an operator that moves numbers holds for the other side too."""
    moving = MOVING[node.op_type]
    inputs = [value for place in data_places(node) if (value := node.inputs[place]) is not None]
    side = [*inputs, *moved_outputs(node, moving)]
    found = next((known[value.name or ""] for value in side if (value.name or "") in known), None)
    if found is None or not found.single:
        return
    for value in side:
        if value.name and (value.dtype is None or value.dtype == found.dtype):
            known.setdefault(value.name, found)
