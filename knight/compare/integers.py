"""What the integers of a quantized model stand for: which operators compute on them, which only move them,
and by which scale and zero point each value reads as real numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models

STANDARD = ("", "ai.onnx")
MICROSOFT = "com.microsoft"
DOMAINS = (*STANDARD, MICROSOFT)
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int4", "uint4")


# Operators --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Computing:
    """An integer operator that computes, and the float operator that it is.

    inputs: positions of its quantized inputs, each followed by scale and zero point. output: position of the
    output's scale, followed by its zero point. plain: inputs that are passed on. bias: input of int32 numbers
    of scale x_scale * w_scale. axis: of the second input, along which its scale may vary. variadic: the last
    of `inputs` repeats. drop: attributes that the float operator does not have.
    """

    op_type: str
    inputs: tuple[int, ...]
    output: int
    plain: tuple[int, ...] = ()
    bias: int | None = None
    axis: int | None = None
    variadic: bool = False
    drop: tuple[str, ...] = ("channels_last",)

    def places(self, node: ir.Node) -> tuple[int, ...]:
        """Positions of all quantized inputs of `node`."""
        return tuple(range(self.inputs[-1], len(node.inputs), 3)) if self.variadic else self.inputs


COMPUTING = {
    "QLinearConv": Computing("Conv", (0, 3), 6, bias=8, axis=0),
    "QLinearMatMul": Computing("MatMul", (0, 3), 6, axis=-1),
    "QGemm": Computing("Gemm", (0, 3), 7, bias=6, axis=1),
    "QLinearAdd": Computing("Add", (0, 3), 6),
    "QLinearMul": Computing("Mul", (0, 3), 6),
    "QLinearSigmoid": Computing("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": Computing("LeakyRelu", (0,), 3),
    "QLinearSoftmax": Computing("Softmax", (0,), 3, drop=("opset",)),
    "QLinearGlobalAveragePool": Computing("GlobalAveragePool", (0,), 3),
    "QLinearAveragePool": Computing("AveragePool", (0,), 3),
    "QLinearReduceMean": Computing("ReduceMean", (0,), 3),
    "QLinearConcat": Computing("Concat", (2,), 0, variadic=True),
    "QLinearWhere": Computing("Where", (1, 4), 7, plain=(0,)),
}


@dataclass(frozen=True)
class Moving:
    """A standard operator that gives its input's numbers back, elsewhere or fewer of them.

    data: inputs that hold the numbers, None for all. outputs: how many of the outputs do (-1: all). numbers:
    inputs that are single numbers of the same kind.
    """

    data: tuple[int, ...] | None = (0,)
    outputs: int = 1
    numbers: tuple[int, ...] = ()


MOVING = {
    **dict.fromkeys(
        (
            *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Identity"),
            *("Slice", "Gather", "GatherElements", "GatherND", "Compress", "ReverseSequence", "Trilu"),
            *("DepthToSpace", "SpaceToDepth", "Resize", "Upsample"),
            *("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "TopK", "Relu"),
        ),
        Moving(),
    ),
    "Pad": Moving(numbers=(2,)),
    "Clip": Moving(numbers=(1, 2)),
    "Split": Moving(outputs=-1),
    **dict.fromkeys(("Concat", "Max", "Min"), Moving(data=None)),
    "Where": Moving(data=(1, 2)),
    **dict.fromkeys(("ScatterElements", "ScatterND"), Moving(data=(0, 2))),
    **dict.fromkeys(("ArgMax", "ArgMin"), Moving(outputs=0)),
}


def moving_of(node: ir.Node) -> Moving | None:
    """How `node` moves numbers; None where it does not."""
    return MOVING.get(node.op_type) if node.domain in STANDARD else None


def computing_of(node: ir.Node) -> Computing | None:
    """What `node` computes on integers; None where it does not."""
    return COMPUTING.get(node.op_type) if node.domain in DOMAINS else None


def data_places(node: ir.Node, moving: Moving) -> list[int]:
    """Positions of the inputs that hold the numbers which are moved."""
    places = range(len(node.inputs)) if moving.data is None else moving.data
    return [place for place in places if input_at(node, place) is not None]


def moved_outputs(node: ir.Node, moving: Moving) -> Sequence[ir.Value]:
    """The outputs that hold them."""
    return node.outputs if moving.outputs < 0 else node.outputs[: moving.outputs]


def input_at(node: ir.Node, place: int) -> ir.Value | None:
    """None also where the node ends before `place`."""
    return node.inputs[place] if place < len(node.inputs) else None


# What the integers stand for --------------------------------------------------------------------------


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

    def same(self, other: Numbers) -> bool:
        """Whether the integers of both, one scale for all of them, mean the same."""
        mine, theirs = ((n.dtype, n.scale.item(), n.zero_point.item()) for n in (self, other))
        return mine == theirs


def stated_numbers(node: ir.Node, place: int, integers: ir.Value | None, domain: str = "") -> Numbers | None:
    """Of scale and zero point at `place` and the next of `node`; None where they are not fixed.

    integers: the value that they belong to; tells the type where there is no zero point.
    """
    scale_value, zero_point_value = input_at(node, place), input_at(node, place + 1)
    scale = models.constant(scale_value)
    if scale_value is None or scale is None:
        return None
    zero_point = models.constant(zero_point_value)
    if zero_point is None:
        dtype = None if zero_point_value is not None or integers is None else integer_type(integers)
        if dtype is None:
            return None
        zero_point = np.zeros(scale.shape, np.int32)
    else:
        dtype = ir.DataType.from_numpy(zero_point.dtype)
    if zero_point.dtype.kind == "f":
        return None
    return Numbers(scale_value, zero_point_value, scale, zero_point.astype(np.int32), dtype, domain)


def integer_type(integers: ir.Value) -> ir.DataType | None:
    """Type of a value; where it is not written down, the one that its maker's zero point has."""
    node = integers.producer()
    if integers.dtype is not None or node is None:
        return integers.dtype
    computing = computing_of(node)
    place = computing.output + 1 if computing is not None else 2
    if computing is None and node.op_type != "QuantizeLinear":
        return None
    if (zero_point := input_at(node, place)) is not None:
        return zero_point.dtype
    if computing is not None:  # its output is of its first input's type
        first = input_at(node, computing.inputs[0])
        return None if first is None else integer_type(first)
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
    inputs = [value for place in data_places(node, moving) if (value := node.inputs[place]) is not None]
    side = [*inputs, *moved_outputs(node, moving)]
    found = next((known[value.name or ""] for value in side if (value.name or "") in known), None)
    if found is None or not found.single:
        return
    for value in side:
        if value.name and (value.dtype is None or value.dtype == found.dtype):
            known.setdefault(value.name, found)
