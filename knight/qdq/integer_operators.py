"""The operators that take integers: which compute on them, which only move them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from knight import operators
from knight.operators import STANDARD

MICROSOFT = "com.microsoft"
DOMAINS = (*STANDARD, MICROSOFT)


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
    """A standard operator that gives the numbers of its data inputs back, elsewhere or fewer of them.

    Which inputs are data `knight.operators` says. outputs: how many of the outputs hold them (-1: all).
    numbers: inputs that are single numbers of the same kind.
    """

    outputs: int = 1
    numbers: tuple[int, ...] = ()


MOVING = {
    **dict.fromkeys(
        (
            *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Identity"),
            *("Slice", "Gather", "GatherElements", "GatherND", "Compress", "ReverseSequence", "Trilu"),
            *("DepthToSpace", "SpaceToDepth", "Resize", "Upsample"),
            *("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "TopK", "Relu"),
            *("Concat", "Max", "Min", "Where", "ScatterElements", "ScatterND"),
        ),
        Moving(),
    ),
    "Pad": Moving(numbers=(2,)),
    "Clip": Moving(numbers=(1, 2)),
    "Split": Moving(outputs=-1),
    **dict.fromkeys(("ArgMax", "ArgMin"), Moving(outputs=0)),
}


def moving_of(node: ir.Node) -> Moving | None:
    """How `node` moves numbers; None where it does not."""
    return MOVING.get(node.op_type) if node.domain in STANDARD else None


def computing_of(node: ir.Node) -> Computing | None:
    """What `node` computes on integers; None where it does not."""
    return COMPUTING.get(node.op_type) if node.domain in DOMAINS else None


def data_places(node: ir.Node) -> list[int]:
    """Positions of the inputs that hold the numbers which a moving operator moves."""
    data = operators.roles(node).data
    places = range(len(node.inputs)) if data is None else data
    return [place for place in places if input_at(node, place) is not None]


def moved_outputs(node: ir.Node, moving: Moving) -> Sequence[ir.Value]:
    """The outputs that hold them."""
    return node.outputs if moving.outputs < 0 else node.outputs[: moving.outputs]


def input_at(node: ir.Node, place: int) -> ir.Value | None:
    """None also where the node ends before `place`."""
    return node.inputs[place] if place < len(node.inputs) else None
