"""Models that compute on integers, read as models of real numbers between Quantize- and DequantizeLinear.

An integer operator (QLinearConv, QGemm ...) or one that moves integers about (a Pad between the two) becomes
DequantizeLinear, the float operator, QuantizeLinear. The integers keep their names and, but for the rounding
of ties, their numbers; so whoever compares such a model has to know one form only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.compare.integers import (
    MICROSOFT,
    MOVING,
    STANDARD,
    Computing,
    Moving,
    Numbers,
    computing_of,
    data_places,
    fixed_values,
    input_at,
    known_integers,
    moved_outputs,
    moving_of,
    result_numbers,
    stated_numbers,
)

_NEW_OPSET = 17  # for a model that uses no standard operator yet
_AXIS_OPSET = 13  # the first whose QuantizeLinear and DequantizeLinear know channels
_QDQ_OPSET = 10  # the first that has them
_WIDE_OPSET = 21  # the first whose QuantizeLinear takes 16-bit and 4-bit integers
_NARROW = ("int8", "uint8")


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
        scale, zero_point = self.scale, self.zero_point
        if self.axis is not None and scale.ndim:
            shape = [1] * integers.ndim
            shape[self.axis] = -1
            scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
        real: np.ndarray = ((integers.astype(np.int32) - zero_point) * scale).astype(np.float32)
        return real


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
    lowering = _Lowering(model.clone())
    lowering.run()
    return Lowered(lowering.model, lowering.taps)


# Names ------------------------------------------------------------------------------------------------

_PREFIXES = re.compile(r"^d?q_output_(?=.)")  # NNCF
_SUFFIXES = re.compile(
    r"(?<=.)(?:"
    r"_(?:convert_(?:clone_)?)?(?:Dequantize|Quantize)Linear(?:_(?:Input|Output|input|output))?"  # ORT, Quark
    r"|_quantized|_dequantized|_dequant|_integers|_before_quantization"  # ORT, Knight
    r")(?:_\d+)?$"
)


def real_name(name: str) -> str:
    """The name that a value had in the float model, as far as the tool's way of naming tells it.

    ``X_quantized``, ``X_QuantizeLinear_Output``, ``dq_output_X`` ... give ``X``; other names come back as
    they are. PyTorch's exporter names values after the module that makes them
    (``/net/DequantizeLinear_output_0``): such a name holds no other.
    """
    while (shorter := _SUFFIXES.sub("", _PREFIXES.sub("", name))) != name:
        name = shorter
    return name


# The rewriting ----------------------------------------------------------------------------------------


class _Lowering:
    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.graph = model.graph
        self.taps: dict[str, Tap] = {}
        self.changed = False
        fixed = fixed_values(self.graph)
        self.moved = [
            node for node in self.graph if moving_of(node) is not None and node.outputs[0].name not in fixed
        ]
        self.known = known_integers(self.graph, self.moved)
        self.taken = {value.name for value in models.values(self.graph)}
        self.taken |= {node.name for node in self.graph.all_nodes()}
        self.taken |= {output.name for node in self.graph.all_nodes() for output in node.outputs}
        self.parameters: dict[tuple[str, str, str], tuple[ir.Value, ir.Value]] = {}
        imported = any(domain in model.opset_imports for domain in STANDARD)
        self.opset = models.opset(model) if imported else _NEW_OPSET

    def run(self) -> None:
        moved = set(self.moved)
        for node in list(self.graph):
            if (computing := computing_of(node)) is not None:
                self._lower_computing(node, computing)
            elif node in moved:
                self._lower_moving(node, MOVING[node.op_type])
        if self.changed:
            self._import()

    # Operators that compute -----------------------------------------------------------------------

    def _lower_computing(self, node: ir.Node, computing: Computing) -> None:
        attributes = self._attributes(node, computing)
        operands = self._operands(node, computing)
        result = result_numbers(node, computing)
        as_real = input_at(node, computing.output) is None  # QGemm without an output scale
        if attributes is None or operands is None or (result is None and not as_real):
            return
        added = [self._dequantize(*operand) for operand in operands]
        inputs: list[ir.Value | None] = [node.inputs[place] for place in computing.plain]
        inputs += [each.outputs[0] for each in added]
        if computing.bias is not None and (bias := input_at(node, computing.bias)) is not None:
            added.append(self._bias(bias, operands[0][1], operands[1][1]))
            inputs.append(added[-1].outputs[0])
        if computing.op_type == "ReduceMean" and self.opset >= 18 and "axes" in attributes:
            axes = np.asarray(attributes.pop("axes").as_ints(), np.int64)
            inputs.append(self._initializer(f"{node.name}_axes", axes))
        name = self._fresh((node.name or computing.op_type).removesuffix("_quant"), node.name)
        real = ir.Node("", computing.op_type, inputs, attributes.values(), num_outputs=1, name=name)
        self._put(node, added, real, [result])

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
            flat = int(_number(models.attribute(node, "opset", self.opset))) < 13  # all axes from `axis` on
            if flat != (self.opset < 13) and axis != -1 and axis + 1 != rank:
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
            self._initializer(f"{base}_scale", scale),
            self._initializer(f"{base}_zero_point", np.zeros(scale.shape, np.int32)),
        )
        zero_point = np.zeros(scale.shape, np.int32)
        numbers = Numbers(*values, scale, zero_point, ir.DataType.INT32)
        axis = None if numbers.single else max(0, (_rank(bias) or 1) - 1)
        return self._dequantize(bias, numbers, axis)

    # Operators that move integers -----------------------------------------------------------------

    def _lower_moving(self, node: ir.Node, moving: Moving) -> None:
        data = [
            (place, value) for place in data_places(node, moving) if (value := node.inputs[place]) is not None
        ]
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
            added.append(self._dequantize(value, first, None))
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
        self._put(node, added, real, [first] * moved + [None] * (len(node.outputs) - moved))

    def _number(self, value: ir.Value, numbers: Numbers, added: list[ir.Node]) -> ir.Value:
        """A single integer of an operator (a fill, a bound) as a real number."""
        array = models.constant(value)
        if array is None:
            added.append(self._dequantize(value, numbers, None))
            return added[-1].outputs[0]
        return self._initializer(f"{real_name(value.name or '')}_real", _real(array, numbers))

    def _fill(
        self, node: ir.Node, numbers: Numbers, inputs: list[ir.Value | None], attributes: dict[str, ir.Attr]
    ) -> bool:
        """Spells out the integer 0 where the operator takes it unsaid; False where that cannot be said."""
        zero = _real(np.zeros((), np.int32), numbers)
        if node.op_type == "Relu":
            return float(zero) == 0.0
        if node.op_type == "Pad" and models.attribute(node, "mode", "constant") == "constant":
            if self.opset < 11:
                value = _number(models.attribute(node, "value", 0.0))
                attributes["value"] = ir.AttrFloat32("value", float(_real(np.asarray(value), numbers)))
            elif input_at(node, 2) is None:
                inputs.extend([None] * (3 - len(inputs)))
                inputs[2] = self._initializer(f"{node.outputs[0].name}_fill", zero)
        outside = models.attribute(node, "coordinate_transformation_mode", "")
        if node.op_type == "Resize" and outside == "tf_crop_and_resize":
            value = _number(models.attribute(node, "extrapolation_value", 0.0))
            real = float(_real(np.asarray(value), numbers))
            attributes["extrapolation_value"] = ir.AttrFloat32("extrapolation_value", real)
        return True

    # Building blocks ------------------------------------------------------------------------------

    def _put(
        self, node: ir.Node, before: list[ir.Node], real: ir.Node, results: Sequence[Numbers | None]
    ) -> None:
        """`real`, fed by `before`, in the place of `node`; outputs with numbers become integers again."""
        added = [*before, real]
        for old, output, numbers in zip(node.outputs, real.outputs, results, strict=True):
            new = output
            if numbers is not None and old.name:
                output.name = self._real_name(old.name)
                output.shape, output.dtype = old.shape, ir.DataType.from_numpy(numbers.scale.dtype)
                added.append(self._quantize(output, numbers))
                new = added[-1].outputs[0]
                self.taps[output.name] = _tap(old.name, numbers)
            new.shape = old.shape
            new.type = old.type or new.type
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name, old.name = old.name, None
        read = [value for value in node.inputs if value is not None]
        self.graph.insert_after(node, added)
        self.graph.remove(node, safe=True)
        for value in read:  # a fill that is a real number now
            if value.is_initializer() and not (
                value.uses() or value.is_graph_input() or value.is_graph_output()
            ):
                self.graph.initializers.pop(value.name or "", None)
        self.changed = True

    def _quantize(self, value: ir.Value, numbers: Numbers) -> ir.Node:
        scale, zero_point = self._parameters(numbers)
        domain = self._domain(numbers)
        name = self._fresh(f"{value.name}_QuantizeLinear")
        node = ir.Node(domain, "QuantizeLinear", [value, scale, zero_point], num_outputs=1, name=name)
        node.outputs[0].dtype = numbers.dtype
        return node

    def _dequantize(self, value: ir.Value, numbers: Numbers, axis: int | None) -> ir.Node:
        scale, zero_point = self._parameters(numbers)
        attributes = [] if axis is None else [ir.AttrInt64("axis", axis)]
        base = real_name(value.name or "")
        node = ir.Node(
            self._domain(numbers),
            "DequantizeLinear",
            [value, scale, zero_point],
            attributes,
            num_outputs=1,
            name=self._fresh(f"{base}_DequantizeLinear"),
        )
        output = node.outputs[0]
        output.name = self._fresh(f"{base}_DequantizeLinear_output")
        output.shape, output.dtype = value.shape, ir.DataType.from_numpy(numbers.scale.dtype)
        return node

    def _domain(self, numbers: Numbers) -> str:
        """Of the QuantizeLinear and DequantizeLinear that can say `numbers` at this model's opset."""
        if numbers.domain == MICROSOFT:
            return MICROSOFT
        needed = _QDQ_OPSET if numbers.single else _AXIS_OPSET
        if numbers.dtype.name.lower() not in (*_NARROW, "int32"):
            needed = _WIDE_OPSET
        return "" if self.opset >= needed else MICROSOFT

    def _parameters(self, numbers: Numbers) -> tuple[ir.Value, ir.Value]:
        """Scale and zero point as initializers of one shape, the model's own where they are that."""
        scale, zero_point = numbers.scale_value, numbers.zero_point_value
        shape = () if numbers.single else (numbers.scale.size,)
        plain = numbers.single or numbers.scale.shape == numbers.zero_point.shape == shape
        if zero_point is not None and plain and scale.is_initializer() and zero_point.is_initializer():
            return scale, zero_point
        key = (scale.name or "", (zero_point and zero_point.name) or "", numbers.dtype.name)
        if key not in self.parameters:
            zeros = np.broadcast_to(numbers.zero_point.reshape(-1), max(1, numbers.scale.size)).reshape(shape)
            self.parameters[key] = (
                self._initializer(f"{scale.name}fixed_values", numbers.scale.reshape(shape)),
                self._initializer(f"{scale.name}_zero_point", zeros.astype(numbers.dtype.numpy())),
            )
        return self.parameters[key]

    def _import(self) -> None:
        imports = self.model.opset_imports
        if not any(domain in imports for domain in STANDARD):
            imports[""] = self.opset
        if any(node.domain == MICROSOFT for node in self.graph):
            imports.setdefault(MICROSOFT, 1)

    def _real_name(self, integers: str) -> str:
        name = real_name(integers)
        return self._fresh(name if name not in self.taken else f"{name}_before_quantization")

    def _fresh(self, base: str, own: str | None = None) -> str:
        """`base`, numbered where another than the name `own` has it."""
        name, number = base, 0
        while name in self.taken and name != own:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def _initializer(self, name: str, array: np.ndarray) -> ir.Value:
        value = models.initializer(self._fresh(name), array)
        self.graph.register_initializer(value)
        return value


def _real(integers: np.ndarray, numbers: Numbers) -> np.ndarray:
    """Single integers as real numbers of the scale's type."""
    scale, zero_point = numbers.scale.reshape(()), numbers.zero_point.reshape(())
    real: np.ndarray = ((integers.astype(np.int32) - zero_point) * scale).astype(scale.dtype)
    return real


def _tap(name: str, numbers: Numbers) -> Tap:
    return Tap(name, numbers.scale.reshape(()).astype(np.float32), numbers.zero_point.reshape(()))


def _rank(value: ir.Value | None) -> int | None:
    if value is None:
        return None
    if value.const_value is not None:
        return len(value.const_value.shape)
    return None if value.shape is None else len(value.shape)


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return value
