"""Models that compute on integers, read as models of real numbers between Quantize- and DequantizeLinear.

An integer operator (QLinearConv, QGemm ...) or one that moves integers about (a Pad between the two) becomes
DequantizeLinear, the float operator, QuantizeLinear. The integers keep their names and, but for the rounding
of ties, their numbers; so whoever compares such a model has to know one form only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.qdq._edit import Edit
from knight.qdq.integer_operators import (
    MOVING,
    Computing,
    Moving,
    computing_of,
    data_places,
    input_at,
    moved_outputs,
    moving_of,
)
from knight.qdq.names import real_name
from knight.qdq.numbers import Numbers, Tap, fixed_values, known_integers, result_numbers, stated_numbers
from knight.quantizer import dequantize
from knight.types import QParams, QuantSpec


@dataclass(frozen=True)
class Lowered:
    """A model without integer operators, as far as they can be read, and `taps`: the real values that it has
    and its source has not -> where the source holds them.
    """

    model: ir.Model
    taps: Mapping[str, Tap]


def lower(model: ir.Model) -> Lowered:
    """`model` with its integer operators as float ones between QuantizeLinear and DequantizeLinear.

    `model` stays as it is. Operators that cannot be read as real numbers with fixed scales stay too.
    """
    edit = Edit(model.clone())
    _Lowering(edit).run()
    return Lowered(edit.model, edit.taps)


class _Lowering:
    def __init__(self, edit: Edit) -> None:
        self.edit = edit
        self.graph = edit.graph
        fixed = fixed_values(self.graph)
        self.moved = [
            node for node in self.graph if moving_of(node) is not None and node.outputs[0].name not in fixed
        ]
        self.known = known_integers(self.graph, self.moved)

    def run(self) -> None:
        moved = set(self.moved)
        for node in list(self.graph):
            if (computing := computing_of(node)) is not None:
                self._lower_computing(node, computing)
            elif node in moved:
                self._lower_moving(node, MOVING[node.op_type])
        if self.edit.changed:
            self.edit.import_domains()

    # Operators that compute -----------------------------------------------------------------------

    def _lower_computing(self, node: ir.Node, computing: Computing) -> None:
        attributes = self._attributes(node, computing)
        operands = self._operands(node, computing)
        result = result_numbers(node, computing)
        as_real = input_at(node, computing.output) is None  # QGemm without an output scale
        if attributes is None or operands is None or (result is None and not as_real):
            return
        added = [self.edit.dequantize(*operand) for operand in operands]
        inputs: list[ir.Value | None] = [node.inputs[place] for place in computing.plain]
        inputs += [each.outputs[0] for each in added]
        if computing.bias is not None and (bias := input_at(node, computing.bias)) is not None:
            added.append(self._bias(bias, operands[0][1], operands[1][1]))
            inputs.append(added[-1].outputs[0])
        if computing.op_type == "ReduceMean" and self.edit.opset >= 18 and "axes" in attributes:
            axes = np.asarray(attributes.pop("axes").as_ints(), np.int64)
            inputs.append(self.edit.initializer(f"{node.name}_axes", axes))
        name = self.edit.fresh((node.name or computing.op_type).removesuffix("_quant"), node.name)
        real = ir.Node("", computing.op_type, inputs, attributes.values(), num_outputs=1, name=name)
        self.edit.put(node, added, real, [result])

    def _attributes(self, node: ir.Node, computing: Computing) -> dict[str, ir.Attr] | None:
        """Of the float operator; None where it cannot say the same."""
        if models.attribute(node, "channels_last", 0):
            return None
        kept = {key: value for key, value in node.attributes.items() if key not in computing.drop}
        if node.op_type == "QGemm":  # alpha stretches the bias too
            kept["beta"] = ir.AttrFloat32("beta", _number(models.attribute(node, "alpha", 1.0)))
        if node.op_type == "QLinearSoftmax":
            axis = int(_number(models.attribute(node, "axis", -1)))
            rank = _rank(node.inputs[0])
            flat = (
                int(_number(models.attribute(node, "opset", self.edit.opset))) < 13
            )  # all axes from `axis` on
            if flat != (self.edit.opset < 13) and axis != -1 and axis + 1 != rank:
                return None
            kept["axis"] = ir.AttrInt64("axis", axis)
        return kept

    def _operands(
        self, node: ir.Node, computing: Computing
    ) -> list[tuple[ir.Value, Numbers, int | None]] | None:
        """The quantized inputs: value, numbers, axis of the scale."""
        operands: list[tuple[ir.Value, Numbers, int | None]] = []
        for order, place in enumerate(computing.places(node)):
            value = input_at(node, place)
            numbers = stated_numbers(node, place + 1, value)
            if value is None or numbers is None:
                return None
            axis = None
            if not numbers.single:
                axis = computing.axis if order == 1 else None
                if node.op_type == "QGemm" and models.attribute(node, "transB", 0):
                    axis = 0
                rank = _rank(value)
                if axis is None or rank is None or numbers.scale.size != numbers.scale.shape[-1]:
                    return None
                axis %= rank
            operands.append((value, numbers, axis))
        return operands

    def _bias(self, bias: ir.Value, first: Numbers, second: Numbers) -> ir.Node:
        """int32 sums of products as real numbers."""
        scale = np.asarray(first.scale.reshape(()) * second.scale.reshape(-1))
        scale = scale.reshape(()) if scale.size == 1 else scale
        base = real_name(bias.name or "bias")
        values = (
            self.edit.initializer(f"{base}_scale", scale),
            self.edit.initializer(f"{base}_zero_point", np.zeros(scale.shape, np.int32)),
        )
        zero_point = np.zeros(scale.shape, np.int32)
        numbers = Numbers(*values, scale, zero_point, ir.DataType.INT32)
        axis = None if numbers.single else max(0, (_rank(bias) or 1) - 1)
        return self.edit.dequantize(bias, numbers, axis)

    # Operators that move integers -----------------------------------------------------------------

    def _lower_moving(self, node: ir.Node, moving: Moving) -> None:
        data = [(place, value) for place in data_places(node) if (value := node.inputs[place]) is not None]
        read = [self.known.get(value.name or "") for _, value in data]
        first = read[0] if read else None
        if (
            first is None
            or not first.single
            or not all(each is not None and each.same(first) for each in read)
        ):
            return
        attributes = dict(node.attributes)
        inputs = list(node.inputs)
        if not self._fill(node, first, inputs, attributes):
            return
        added = []
        for place, value in data:
            added.append(self.edit.dequantize(value, first, None))
            inputs[place] = added[-1].outputs[0]
        for place in moving.numbers:
            if (value := input_at(node, place)) is not None and value.name:
                inputs[place] = self._number(value, first, added)
        real = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            attributes.values(),
            num_outputs=len(node.outputs),
            name=node.name,
        )
        moved = len(moved_outputs(node, moving))
        self.edit.put(node, added, real, [first] * moved + [None] * (len(node.outputs) - moved))

    def _number(self, value: ir.Value, numbers: Numbers, added: list[ir.Node]) -> ir.Value:
        """A single integer of an operator (a fill, a bound) as a real number."""
        array = models.constant(value)
        if array is None:
            added.append(self.edit.dequantize(value, numbers, None))
            return added[-1].outputs[0]
        return self.edit.initializer(f"{real_name(value.name or '')}_real", _real(array, numbers))

    def _fill(
        self, node: ir.Node, numbers: Numbers, inputs: list[ir.Value | None], attributes: dict[str, ir.Attr]
    ) -> bool:
        """Spells out the integer 0 where the operator takes it unsaid; False where that cannot be said."""
        zero = _real(np.zeros((), np.int32), numbers)
        if node.op_type == "Relu":
            return float(zero) == 0.0
        if node.op_type == "Pad" and models.attribute(node, "mode", "constant") == "constant":
            if self.edit.opset < 11:
                value = _number(models.attribute(node, "value", 0.0))
                attributes["value"] = ir.AttrFloat32("value", float(_real(np.asarray(value), numbers)))
            elif input_at(node, 2) is None:
                inputs.extend([None] * (3 - len(inputs)))
                inputs[2] = self.edit.initializer(f"{node.outputs[0].name}_fill", zero)
        outside = models.attribute(node, "coordinate_transformation_mode", "")
        if node.op_type == "Resize" and outside == "tf_crop_and_resize":
            value = _number(models.attribute(node, "extrapolation_value", 0.0))
            real = float(_real(np.asarray(value), numbers))
            attributes["extrapolation_value"] = ir.AttrFloat32("extrapolation_value", real)
        return True


def _real(integers: np.ndarray, numbers: Numbers) -> np.ndarray:
    """Single integers as real numbers of the scale's type."""
    scale, zero_point = numbers.scale.reshape(()), numbers.zero_point.reshape(())
    params = QParams(QuantSpec(bits=32), scale.astype(np.float32), zero_point)
    return dequantize(integers, params).astype(scale.dtype)


def _rank(value: ir.Value | None) -> int | None:
    if value is None:
        return None
    if value.const_value is not None:
        return len(value.const_value.shape)
    return None if value.shape is None else len(value.shape)


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return value
