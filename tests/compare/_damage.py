"""Quantized models of the kit's nets with one layer damaged, and what a comparison must say of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models, operators
from knight.qdq.graph import DEQUANTIZE, QUANTIZE

CAUSES = {
    "scale_halved": {"clipped"},
    "scale_doubled": {"wide_range"},
    "read_scale_halved": {"scale_mismatch"},
    "read_scale_doubled": {"scale_mismatch"},
    "weight_halved": {"weight_scale"},
    "weight_doubled": {"weight_scale"},
    "weight_channel": {"weight_channel"},
    "bias_zeroed": {"bias_zero"},
}
"""Kind of damage -> the causes that name it rightly."""

_COMPUTES = operators.ACCUMULATES | {"Relu", "Clip", "Add", "LeakyRelu", "Concat", "Mul", "Sigmoid"}


@dataclass(frozen=True)
class Damage:
    """kind: a key of `CAUSES`. node: the QuantizeLinear, or the operator whose constant is damaged."""

    kind: str
    node: str


def possible(model: ir.Model) -> list[Damage]:
    """All damages that change a layer which computes something."""
    return [Damage(kind, node.name or "") for node in model.graph for kind in _kinds(node)]


def _kinds(node: ir.Node) -> Iterator[str]:
    if node.op_type == QUANTIZE:
        maker = _maker(node.inputs[0])
        if maker is not None and maker.op_type in _COMPUTES and list(_readers(node)):
            yield from ("scale_halved", "scale_doubled", "read_scale_halved", "read_scale_doubled")
    if node.op_type in operators.ACCUMULATES:
        weight, bias = _maker(node.inputs[1]), _maker(operators.bias(node))
        if weight is not None and weight.op_type == DEQUANTIZE and _numbers(weight, 0).any():
            yield from ("weight_halved", "weight_doubled")
            if _numbers(weight, 1).size > 1:
                yield "weight_channel"
        if bias is not None and bias.op_type == DEQUANTIZE and _numbers(bias, 0).any():
            yield "bias_zeroed"


def apply(model: ir.Model, damage: Damage, chance: random.Random) -> tuple[ir.Model, str]:
    """A damaged copy of `model`, and the name of the value that comes out wrong."""
    copy = model.clone()
    node = next(node for node in copy.graph if node.name == damage.node)
    _APPLY[damage.kind](node, chance)
    value = node.inputs[0] if node.op_type == QUANTIZE else node.outputs[0]
    assert value is not None
    return copy, value.name or ""


def row_of(model: ir.Model, name: str, rows: set[str]) -> str:
    """The row that the value `name` belongs to: its own, or that of the activation it is fused with."""
    value = next(value for value in models.values(model.graph) if value.name == name)
    while value.name not in rows:
        ((reader, _),) = value.uses()
        value = reader.outputs[0]
    return value.name


def _scale(factor: float, *, write: bool) -> Callable[[ir.Node, random.Random], None]:
    def change(node: ir.Node, chance: random.Random) -> None:
        scale = _give(node, np.float32(factor) * _numbers(node, 1))
        for reader in _readers(node):
            reader.replace_input_with(1, scale)
        if write:
            node.replace_input_with(1, scale)

    return change


def _weight(factor: float) -> Callable[[ir.Node, random.Random], None]:
    def change(node: ir.Node, chance: random.Random) -> None:
        weight = _maker(node.inputs[1])
        assert weight is not None
        weight.replace_input_with(1, _give(node, np.float32(factor) * _numbers(weight, 1)))

    return change


def _weight_channel(node: ir.Node, chance: random.Random) -> None:
    weight = _maker(node.inputs[1])
    assert weight is not None
    integers, scale = _numbers(weight, 0), _numbers(weight, 1).copy()
    channels = np.moveaxis(integers, weight.attributes.get_int("axis", 1), 0).reshape(scale.size, -1)
    scale[chance.choice(np.flatnonzero(channels.any(axis=1)).tolist())] *= 30
    weight.replace_input_with(1, _give(node, scale))


def _bias(node: ir.Node, chance: random.Random) -> None:
    bias = _maker(operators.bias(node))
    assert bias is not None
    bias.replace_input_with(0, _give(node, np.zeros_like(_numbers(bias, 0))))


_APPLY: dict[str, Callable[[ir.Node, random.Random], None]] = {
    "scale_halved": _scale(0.5, write=True),
    "scale_doubled": _scale(2.0, write=True),
    "read_scale_halved": _scale(0.5, write=False),
    "read_scale_doubled": _scale(2.0, write=False),
    "weight_halved": _weight(0.5),
    "weight_doubled": _weight(2.0),
    "weight_channel": _weight_channel,
    "bias_zeroed": _bias,
}


def _maker(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _readers(node: ir.Node) -> Iterator[ir.Node]:
    for reader, _ in list(node.outputs[0].uses()):
        if reader.op_type == DEQUANTIZE:
            yield reader


def _numbers(node: ir.Node, index: int) -> np.ndarray:
    array = models.constant(node.inputs[index])
    assert array is not None
    return array


def _give(node: ir.Node, array: np.ndarray) -> ir.Value:
    """An initializer of its own, whoever shared the old one."""
    assert node.graph is not None
    return models.add_initializer(node.graph, f"{node.name}_damaged", np.asarray(array))
