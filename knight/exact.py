"""A quantized model as its file states it, where ONNX Runtime's kernels would compute something else.

- x86 without VNNI multiplies uint8 activations by int8 weights with ``vpmaddubsw``, which adds pairs of
  products in 16 bits and saturates: 2 * 255 * 127 does not fit. Products of uint8 by uint8 are added in 32
  bits. With 128 added to the integers and to their zero point, ``scale * (q - zero_point)`` stays the same.
- QLinearSoftmax, which ONNX Runtime makes of a Softmax between pairs, rounds down. It becomes a Softmax
  between pairs again, held apart from them by an operator that changes nothing.

What is looked at is the graph that ONNX Runtime has made of the model: only there it is settled which
operators run on integers. (Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from knight.names import Names
from knight.protos import bodies

SATURATION, SOFTMAX, WEIGHTS = "saturation", "softmax", "weights"
"""What the CPU's own kernels get wrong: see `mend`."""
LARGEST = 64
"""Weights of at most this magnitude do not saturate: 2 * 255 * 64 fits in 16 bits."""

_OFFSET = 128


@dataclass(frozen=True)
class _Operand:
    """Places of integers that uint8 activations are multiplied by, of their zero point, and of that of the
    activations (0 where these are floats, which become uint8)."""

    weight: int
    zero_point: int
    activation_zero_point: int


_OPERANDS: Mapping[str, tuple[_Operand, ...]] = {
    "ConvInteger": (_Operand(1, 3, 2),),
    "DynamicQuantizeLSTM": (_Operand(1, 9, 0), _Operand(2, 11, 0)),
    "DynamicQuantizeMatMul": (_Operand(1, 3, 0),),
    "MatMulInteger": (_Operand(1, 3, 2),),
    "MatMulIntegerToFloat": (_Operand(1, 5, 4),),
    "QAttention": (_Operand(1, 7, 6),),
    "QGemm": (_Operand(3, 5, 2),),
    "QLinearConv": (_Operand(3, 5, 2),),
    "QLinearMatMul": (_Operand(3, 5, 2),),
}
_RESULT_ZERO = {
    "QGemm": 8,
    "QLinearConv": 7,
    "QLinearMatMul": 7,
    "QLinearSoftmax": 4,
    "QuantizeLinear": 2,
}
"""Where the zero point of the result is, which has its type; others hand on the type of their input."""


def may_differ(op_types: Iterable[str], *, saturates: bool) -> bool:
    """Whether a model of these operators may need mending. saturates: whether this CPU's kernels do."""
    kinds = set(op_types)
    integer = kinds & (_OPERANDS.keys() | {"DequantizeLinear", "QuantizeLinear"})
    return bool(integer) if saturates else "Softmax" in kinds and "QuantizeLinear" in kinds


def quantized_alone(node: ir.Node) -> bool:
    """Whether ONNX Runtime gives `node`, which has float weights and stands between pairs, int8 weights of
    one scale (its optimizer WeightBiasQuantization).
    """
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.inputs) < 2:
        return False
    weight = node.inputs[1]
    if weight is None or not weight.is_initializer() or weight.dtype != ir.DataType.FLOAT:
        return False
    makers = [value.producer() if value is not None else None for value in node.inputs[:1]]
    readers = [reader for reader, _ in node.outputs[0].uses()]
    return (
        all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
        and bool(readers)
        and all(reader.op_type == "QuantizeLinear" for reader in readers)
    )


def mend(model: onnx.ModelProto, *, saturates: bool) -> frozenset[str]:
    """Changes a `model` as ONNX Runtime has optimized it so that it computes what it states.

    Gives what was mended: `SATURATION`, where int8 integers became uint8, and `SOFTMAX`.
    """
    mender = _Mender(model, saturates)
    mender.mend_graph(model.graph, {})
    return frozenset(mender.mended)


@dataclass(frozen=True)
class _Place:
    """Where a name comes from: a constant, an operator, or an input of that element type."""

    constant: TensorProto | None = None
    node: onnx.NodeProto | None = None
    element_type: int = 0


class _Mender:
    def __init__(self, model: onnx.ModelProto, saturates: bool) -> None:
        self.main = model.graph
        self.saturates = saturates
        self.mended: set[str] = set()
        self._names = Names(_names(model.graph))
        self._shifted: dict[int, str] = {}  # by identity: names may be used again in bodies

    def mend_graph(self, graph: onnx.GraphProto, outer: Mapping[str, _Place]) -> None:
        """`graph` and the bodies in it; `outer` is what it sees around it."""
        places = {**outer, **_places(graph)}
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            for body in bodies(node):
                self.mend_graph(body, places)
            if node.op_type == "QLinearSoftmax":
                nodes += self._softmax(node)
                continue
            for operand in _OPERANDS.get(node.op_type, ()) if self.saturates else ():
                nodes += self._operand(node, operand, places)
            nodes.append(node)
        del graph.node[:]
        graph.node.extend(nodes)

    # Integers that would saturate -----------------------------------------------------------------

    def _operand(
        self, node: onnx.NodeProto, operand: _Operand, places: Mapping[str, _Place]
    ) -> list[onnx.NodeProto]:
        """Makes an int8 operand uint8; gives the operators that this takes in front of `node`."""
        name = _input(node, operand.weight)
        if not name or _type(name, places) != TensorProto.INT8 or _activations(node, operand, places):
            return []
        constant = places[name].constant
        if constant is not None and _is_small(constant):
            return []
        self.mended.add(SATURATION)
        before, shifted = self._shift(name, places)
        zero = _input(node, operand.zero_point)
        more, zero = self._shift(zero, places) if zero else ([], self._constant("middle", np.uint8(_OFFSET)))
        node.input[operand.weight] = shifted
        node.input.extend([""] * (operand.zero_point + 1 - len(node.input)))
        node.input[operand.zero_point] = zero
        return before + more

    def _shift(self, name: str, places: Mapping[str, _Place]) -> tuple[list[onnx.NodeProto], str]:
        """`name` with 128 added: another constant, or three operators that compute it."""
        constant = places[name].constant
        if constant is None:
            offset = self._constant("offset", np.int32(_OFFSET))
            wide, sum_, result = (self._names.fresh(f"{name}_{part}") for part in ("int32", "sum", "uint8"))
            return [
                helper.make_node("Cast", [name], [wide], wide, to=TensorProto.INT32),
                helper.make_node("Add", [wide, offset], [sum_], sum_),
                helper.make_node("Cast", [sum_], [result], result, to=TensorProto.UINT8),
            ], result
        if id(constant) not in self._shifted:
            integers = numpy_helper.to_array(constant).astype(np.int16) + _OFFSET
            self._shifted[id(constant)] = self._constant(f"{name}_uint8", integers.astype(np.uint8))
        return [], self._shifted[id(constant)]

    # A Softmax that would be rounded down ---------------------------------------------------------

    def _softmax(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        self.mended.add(SOFTMAX)
        x, x_scale, x_zero, y_scale, y_zero = node.input
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
        base = node.output[0]
        real, soft, apart = (self._names.fresh(f"{base}_{part}") for part in ("real", "soft", "apart"))
        return [
            helper.make_node("DequantizeLinear", [x, x_scale, x_zero], [real], real),
            helper.make_node("Softmax", [real], [soft], soft, axis=axis),
            helper.make_node("Sum", [soft], [apart], apart),
            helper.make_node("QuantizeLinear", [apart, y_scale, y_zero], list(node.output), node.name),
        ]

    # Building blocks ------------------------------------------------------------------------------

    def _constant(self, base: str, array: np.generic | np.ndarray) -> str:
        name = self._names.fresh(base)
        self.main.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name of a value or operator, those in bodies too."""
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output, *graph.value_info))
    for node in graph.node:
        yield node.name
        yield from node.input
        yield from node.output
        for body in bodies(node):
            yield from _names(body)


def _places(graph: onnx.GraphProto) -> dict[str, _Place]:
    """Where each name of `graph` comes from. A later source is nearer than an earlier one."""
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    places = {name: _Place(element_type=kind) for name, kind in types.items()}
    for node in graph.node:
        for name in node.output:
            places[name] = _Place(node=node, element_type=types.get(name, 0))
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:  # one that is an input as well may be replaced by the caller
        if tensor.name in inputs:
            places[tensor.name] = _Place(element_type=tensor.data_type)
        else:
            places[tensor.name] = _Place(constant=tensor, element_type=tensor.data_type)
    return places


def _type(name: str, places: Mapping[str, _Place]) -> int:
    """Element type of `name`, 0 where the graph does not tell."""
    seen = 0
    while name in places and seen <= len(places):
        place = places[name]
        if place.element_type or place.node is None:
            return place.element_type
        node = place.node
        if node.op_type == "Cast":
            return next(int(attribute.i) for attribute in node.attribute if attribute.name == "to")
        if node.op_type == "DynamicQuantizeLinear":
            return int(TensorProto.UINT8)
        zero = _input(node, _RESULT_ZERO.get(node.op_type, 0))
        if not zero:
            return int(TensorProto.UINT8) if node.op_type == "QuantizeLinear" else 0
        name, seen = zero, seen + 1
    return 0


def _activations(node: onnx.NodeProto, operand: _Operand, places: Mapping[str, _Place]) -> bool:
    """Whether the activations are int8: int8 by int8 has kernels of its own, which are exact."""
    zero = operand.activation_zero_point
    names = [_input(node, place) for place in (0, zero)] if zero else []
    return any(_type(name, places) == TensorProto.INT8 for name in names if name)


def _input(node: onnx.NodeProto, place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


def _is_small(constant: TensorProto) -> bool:
    array = numpy_helper.to_array(constant)
    return bool(array.size == 0 or np.abs(array.astype(np.int16)).max() <= LARGEST)
