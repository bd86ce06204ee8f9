"""A quantized model in a form that every CPU's kernels compute as the file states it.

- x86 without VNNI multiplies uint8 activations by int8 weights with ``vpmaddubsw``, which adds pairs of
  products in 16 bits and saturates: 2 * 255 * 127 does not fit. Products of uint8 by uint8 are added in 32
  bits. With 128 added to the integers and to their zero point, ``scale * (q - zero_point)`` stays the same.
- ONNX Runtime makes an integer operator of a Softmax between pairs, and that rounds down. With an operator
  that changes nothing between the Softmax and its pair, it stays what it is.

(Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW; ONNX, DequantizeLinear.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from knight import model as models

LARGEST = 64
"""Weights of at most this magnitude do not saturate: 2 * 255 * 64 fits in 16 bits."""

_OFFSET = 128
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
_Places = tuple[tuple[int, int], ...]
_DEQUANTIZED: _Places = ((0, 2),)
_WEIGHTS: Mapping[str, _Places] = {
    "ConvInteger": ((1, 3),),
    "DynamicQuantizeLSTM": ((1, 9), (2, 11)),
    "DynamicQuantizeMatMul": ((1, 3),),
    "MatMulInteger": ((1, 3),),
    "MatMulIntegerToFloat": ((1, 5),),
    "QAttention": ((1, 7),),
    "QGemm": ((3, 5),),
    "QLinearConv": ((3, 5),),
    "QLinearMatMul": ((3, 5),),
}
"""Integer operator -> the places of its weights and of their zero points."""
_ACTIVATION_ZERO = {
    "ConvInteger": 2,
    "MatMulInteger": 2,
    "MatMulIntegerToFloat": 4,
    "QAttention": 6,
    "QGemm": 2,
    "QLinearConv": 2,
    "QLinearMatMul": 2,
}
"""Where the zero point of the first input, the activations, is: it has their type."""


def exact(model: ir.Model, *, saturates: bool) -> ir.Model:
    """`model` so that ONNX Runtime computes what it states; itself where it does so anyway.

    saturates: whether the CPU's kernels for uint8 by int8 do.
    """
    nodes = list(model.graph.all_nodes())
    shift = saturates and any(True for node in nodes for _ in _operands(node))
    if not shift and not any(map(_is_rounded_down, nodes)):
        return model
    copy = model.clone()
    if shift:
        _Shifter(copy).run()
    for node in list(copy.graph.all_nodes()):
        if _is_rounded_down(node):
            _keep_apart(node)
    return copy


def _is_rounded_down(node: ir.Node) -> bool:
    """Whether `node` is a Softmax that ONNX Runtime may turn into QLinearSoftmax."""
    if node.op_type != "Softmax" or node.domain not in ("", "ai.onnx"):
        return False
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    readers = {reader.op_type for reader, _ in node.outputs[0].uses()}
    return source is not None and source.op_type == "DequantizeLinear" and readers == {"QuantizeLinear"}


def _keep_apart(node: ir.Node) -> None:
    """Puts a Softmax in front of `node`, which becomes a sum of one term."""
    softmax = ir.Node("", "Softmax", [node.inputs[0]], list(node.attributes.values()), num_outputs=1)
    softmax.name = softmax.outputs[0].name = f"{node.outputs[0].name}__alone"
    softmax.outputs[0].type = node.outputs[0].type
    assert node.graph is not None
    node.graph.insert_before(node, softmax)
    node.op_type = "Sum"
    node.attributes.clear()
    node.replace_input_with(0, softmax.outputs[0])


def _operands(node: ir.Node) -> Iterator[tuple[int, int]]:
    """Places of int8 integers that are multiplied as they are with uint8 ones, and of their zero points."""
    if node.op_type == "DequantizeLinear":
        places = _DEQUANTIZED if _is_multiplied(node.outputs[0]) else ()
    else:
        places = _WEIGHTS.get(node.op_type, ())
        if ir.DataType.INT8 in _activation_types(node):
            return  # int8 by int8 has kernels of its own, which are exact
    for place, zero_point in places:
        value = node.inputs[place] if place < len(node.inputs) else None
        if value is not None and value.dtype == ir.DataType.INT8 and not _is_small(value):
            yield place, zero_point


def _activation_types(node: ir.Node) -> set[ir.DataType | None]:
    """As far as the graph tells: the types of integer activations and of their zero point."""
    places = (0, _ACTIVATION_ZERO.get(node.op_type, 0))
    return {value.dtype for place in places for value in node.inputs[place : place + 1] if value is not None}


def _is_multiplied(value: ir.Value) -> bool:
    """Whether real numbers behind a DequantizeLinear are the second factor of sums of products."""
    return any(
        (node.op_type in _PRODUCTS and index == 1)
        or (node.op_type in _MOVES and index == 0 and _is_multiplied(node.outputs[0]))
        for node, index in value.uses()
    )


def _is_small(value: ir.Value) -> bool:
    """Whether the integers cannot saturate; those of a QuantizeLinear ONNX Runtime makes uint8 by itself."""
    array = models.constant(value)
    if array is None:
        producer = value.producer()
        return producer is not None and producer.op_type == "QuantizeLinear"
    return bool(array.size == 0 or np.abs(array.astype(np.int16)).max() <= LARGEST)


class _Shifter:
    """Adds 128 to integers and zero points, to each once however many read it."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._taken = {value.name for node in model.graph.all_nodes() for value in node.outputs}
        self._taken.update(value.name for node in model.graph.all_nodes() for value in node.inputs if value)
        self._taken.update(value.name for value in models.values(model.graph))
        self._shifted: dict[ir.Value, ir.Value] = {}
        self._zeros: dict[tuple[int, ...], ir.Value] = {}

    def run(self) -> None:
        for node in list(self._graph.all_nodes()):
            for place, zero_point in list(_operands(node)):
                value = node.inputs[place]
                assert value is not None
                node.replace_input_with(place, self._shift(value, node))
                node.resize_inputs(max(zero_point + 1, len(node.inputs)))
                given = node.inputs[zero_point]
                scale = node.inputs[1] if node.op_type == "DequantizeLinear" else None
                zero = self._middle(scale) if given is None else self._shift(given, node)
                node.replace_input_with(zero_point, zero)

    def _shift(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        array = models.constant(value)
        if array is None:
            return self._computed(value, reader)
        if value not in self._shifted:
            self._shifted[value] = self._constant(
                f"{value.name}_as_uint8", (array.astype(np.int16) + _OFFSET).astype(np.uint8)
            )
        return self._shifted[value]

    def _computed(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        """uint8(int32(value) + 128), in front of `reader`."""
        offset = self._constant("uint8_offset", np.asarray(_OFFSET, np.int32))
        for op_type, dtype in (("Cast", ir.DataType.INT32), ("Add", None), ("Cast", ir.DataType.UINT8)):
            attributes = [] if dtype is None else [ir.AttrInt64("to", int(dtype))]
            inputs = [value, offset] if dtype is None else [value]
            node = ir.Node("", op_type, inputs, attributes, num_outputs=1)
            node.name = node.outputs[0].name = self._fresh("as_uint8")
            node.outputs[0].dtype = ir.DataType.INT32 if dtype is None else dtype
            graph = reader.graph
            assert graph is not None
            graph.insert_before(reader, node)
            value = node.outputs[0]
        return value

    def _middle(self, scale: ir.Value | None) -> ir.Value:
        """The zero point 128 for integers that had none, in the shape of their scale."""
        shape = () if scale is None or scale.shape is None else tuple(scale.shape.numpy())
        if shape not in self._zeros:
            self._zeros[shape] = self._constant("uint8_zero_point", np.full(shape, _OFFSET, np.uint8))
        return self._zeros[shape]

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        value = models.initializer(self._fresh(name), array)
        self._graph.register_initializer(value)
        return value

    def _fresh(self, base: str) -> str:
        number = 0
        while (name := f"{base}_{number}" if number else base) in self._taken:
            number += 1
        self._taken.add(name)
        return name
