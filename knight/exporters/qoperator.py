"""The model with operators that take integers and give integers, as ONNX Runtime has them (QLinearConv ...).

DequantizeLinear, operator, QuantizeLinear become one operator; those that only move numbers do so with the
integers. What has no such form keeps its DequantizeLinear and QuantizeLinear: operators between tensors of
other than 8 bits, and those of `LEFT`. Those of ONNX Runtime's own domain are written only where ONNX Runtime
is what the model is for.

ONNX operators QLinearConv, QLinearMatMul; github.com/microsoft/onnxruntime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, drop_unread_initializers
from knight.errors import ModelError
from knight.exporters import Exported
from knight.exporters._pairs import BYTES, Operand, Result, limits, operand, rank_of, result
from knight.operators import BOUNDED, STANDARD
from knight.outputs import is_for_onnxruntime
from knight.qdq.integer_operators import (
    COMPUTING,
    MICROSOFT,
    Computing,
    Moving,
    data_places,
    input_at,
    moved_outputs,
    moving_of,
)
from knight.qdq.numbers import Numbers
from knight.quantizer import quantize

LEFT = {
    "QLinearSoftmax": "rounds down",
    "QLinearReduceMean": "has no kernel",
    "Trilu": "has no kernel for 8 bits",
}
"""What is left as it is, and what ONNX Runtime's integer operator does wrong."""

_OPSET = 13  # the first with scales per channel, and a Clip that takes integers
_INTEGER_FORMS = {each.op_type: (name, each) for name, each in COMPUTING.items() if name not in LEFT}
_REAL_RESULT = frozenset({"QGemm"})
"""Operators that give real numbers where their output has no scale."""


def export(model: ir.Model) -> Exported:
    """A copy of a QDQ model with integer operators. Raises ModelError for an opset that has none."""
    if models.opset(model) < _OPSET:
        raise ModelError(
            f"format qoperator wants opset {_OPSET} or newer, and the model has {models.opset(model)}; "
            f"raise it, or leave out --format"
        )
    twin = model.clone()
    _Export(twin).run()
    return Exported(twin)


class _Export:
    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.graph = model.graph
        self.editor = Editor(self.graph)
        self.opset = models.opset(model)
        self.own_domain = is_for_onnxruntime(model)
        self.zeros: dict[str, ir.Value] = {}

    def run(self) -> None:
        for node in list(self.graph):
            if node.graph is self.graph and node.domain in STANDARD:  # some have gone with the one before
                self._write(node)
        self._drop_unused()
        if any(node.domain == MICROSOFT for node in self.graph):
            self.model.opset_imports.setdefault(MICROSOFT, 1)

    def _write(self, node: ir.Node) -> bool:
        """Whether `node` could be written on integers; standard operators come first."""
        return self._bound(node) or self._move(node) or self._compute(node)

    # Operators that compute -----------------------------------------------------------------------

    def _compute(self, node: ir.Node) -> bool:
        name, computing = _INTEGER_FORMS.get(node.op_type, ("", None))
        domain = "" if name and onnx.defs.has(name) else MICROSOFT
        if computing is None or (domain and not self.own_domain):
            return False
        became = result(node.outputs[0])
        inputs = self._inputs(node, name, computing, became)
        attributes = _attributes(node, computing)
        if inputs is None or attributes is None or (became is None and name not in _REAL_RESULT):
            return False
        integer = ir.Node(domain, name, inputs, attributes.values(), num_outputs=1, name=node.name)
        self._put(node, integer, [became])
        return True

    def _inputs(
        self, node: ir.Node, name: str, computing: Computing, became: Result | None
    ) -> list[ir.Value | None] | None:
        """Of the integer operator `name`; None where `node` does not read what that can take."""
        first = len(computing.plain)
        last = len(node.inputs) if computing.variadic else first + len(computing.inputs)
        operands = [found for value in node.inputs[first:last] if (found := operand(value)) is not None]
        if len(operands) < last - first or not _fit(node, name, computing, operands, became):
            return None
        inputs: dict[int, ir.Value | None] = dict(zip(computing.plain, node.inputs, strict=False))
        for order, each in enumerate(operands):
            place = computing.inputs[-1] + 3 * order if computing.variadic else computing.inputs[order]
            inputs |= dict(enumerate((each.integers, *self._stated(each.numbers)), place))
        if computing.bias is not None and (bias := input_at(node, last)) is not None:
            sums = _sum_of_products(bias, operands)
            if sums is None:
                return None
            inputs[computing.bias] = sums
        if became is not None:
            inputs |= dict(enumerate(self._stated(became.numbers), computing.output))
        return [inputs.get(place) for place in range(max(inputs) + 1)]

    # Operators that move numbers ------------------------------------------------------------------

    def _move(self, node: ir.Node) -> bool:
        moving = moving_of(node)
        if moving is None or node.op_type in (*BOUNDED, *LEFT):
            return False
        places = data_places(node)
        operands = [found for place in places if (found := operand(node.inputs[place])) is not None]
        if len(operands) < len(places) or not _same([each.numbers for each in operands]):
            return False
        numbers = operands[0].numbers
        outputs = [value for value in moved_outputs(node, moving) if value.uses() or value.is_graph_output()]
        results = {value: became for value in outputs if (became := result(value)) is not None}
        if len(results) < len(outputs) or not _same([numbers, *(each.numbers for each in results.values())]):
            return False
        inputs = self._moved_inputs(node, moving, dict(zip(places, operands, strict=True)))
        if inputs is None or not _takes(node, places, numbers.dtype, self.opset):
            return False
        integer = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            node.attributes.values(),
            num_outputs=len(node.outputs),
            name=node.name,
        )
        for value, moved in zip(moved_outputs(node, moving), integer.outputs, strict=False):
            moved.type, moved.shape = ir.TensorType(numbers.dtype), value.shape
        self._put(node, integer, [results.get(value) for value in node.outputs])
        return True

    def _moved_inputs(
        self, node: ir.Node, moving: Moving, operands: Mapping[int, Operand]
    ) -> list[ir.Value | None] | None:
        """Of `node` on integers; None where it would fill in or compute what these cannot say."""
        numbers = next(iter(operands.values())).numbers
        inputs = list(node.inputs)
        for place, each in operands.items():
            inputs[place] = each.integers
        if node.op_type == "Resize":
            outside = models.attribute(node, "coordinate_transformation_mode", "")
            if models.attribute(node, "mode", "nearest") != "nearest" or outside == "tf_crop_and_resize":
                return None
        for place in moving.numbers:
            value = input_at(node, place)
            real = np.zeros((), np.float32) if value is None else models.constant(value)
            if real is None:
                return None
            inputs += [None] * (place + 1 - len(inputs))
            inputs[place] = self._constant(f"{node.name}_fill", quantize(real, numbers.params()))
        return inputs

    # Relu and Clip by themselves ------------------------------------------------------------------

    def _bound(self, node: ir.Node) -> bool:
        """Relu or Clip of integers; most went with the operator before them."""
        value = node.inputs[0] if limits(node) is not None else None
        read = operand(value)
        whole = result(value, node) if value is not None and read is not None else None
        if read is None or whole is None or not _same([read.numbers, whole.numbers]):
            return False
        clip = self._clip(node, read.integers, whole)
        self._replace(whole.integers, clip)
        self._remove(whole)
        return True

    # Building blocks ------------------------------------------------------------------------------

    def _put(self, node: ir.Node, integer: ir.Node, results: Sequence[Result | None]) -> None:
        """`integer` in the place of `node`, and its results in that of the integers which become of these."""
        self.graph.insert_before(node, integer)
        for old, new, became in zip(node.outputs, integer.outputs, results, strict=True):
            if became is None:
                new.type, new.shape = new.type or old.type, old.shape
                self._replace(old, new)
                continue
            new.type, new.shape = ir.TensorType(became.numbers.dtype), became.integers.shape
            if not became.saturates:
                new.name = self.editor.names.fresh(f"{became.integers.name}_unbounded")
                new = self._clip(node, new, became)
            self._replace(became.integers, new)
            self._remove(became)
        self.graph.remove(node, safe=True)

    def _clip(self, before: ir.Node, integers: ir.Value, became: Result) -> ir.Value:
        """`integers` within the bounds of a result."""
        name = became.bounds[-1].name
        bounds = [
            self._constant(f"{name}_{end}", array)
            for end, array in (("low", became.low), ("high", became.high))
        ]
        clip = ir.Node("", "Clip", [integers, *bounds], num_outputs=1, name=name)
        clip.outputs[0].type = ir.TensorType(became.numbers.dtype)
        clip.outputs[0].shape = became.integers.shape
        self.graph.insert_before(before, clip)
        return clip.outputs[0]

    @staticmethod
    def _replace(old: ir.Value, new: ir.Value) -> None:
        """Who reads `old` reads `new`, under its name."""
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        new.name, old.name = old.name, None

    def _remove(self, became: Result) -> None:
        for node in (became.quantize, *reversed(became.bounds)):
            self.graph.remove(node, safe=True)

    def _drop_unused(self) -> None:
        for node in reversed(list(self.graph)):
            output = node.outputs[0] if node.op_type == "DequantizeLinear" else None
            if output is not None and not output.uses() and not output.is_graph_output():
                self.graph.remove(node, safe=True)
        drop_unread_initializers(self.graph)

    def _stated(self, numbers: Numbers) -> tuple[ir.Value, ir.Value]:
        """Scale and zero point as an integer operator wants them: both there."""
        scale, zero_point = numbers.scale_value, numbers.zero_point_value
        if zero_point is None:
            key = f"{scale.name} {numbers.dtype.name}"
            if key not in self.zeros:
                zeros = numbers.zero_point.astype(numbers.dtype.numpy())
                self.zeros[key] = self._constant(f"{scale.name}_zero_point", zeros)
            zero_point = self.zeros[key]
        return scale, zero_point

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        return self.editor.constant(name, array)


# What an integer operator can say ---------------------------------------------------------------------


def _fit(
    node: ir.Node, name: str, computing: Computing, operands: Sequence[Operand], became: Result | None
) -> bool:
    """Whether the types and scales are such that the integer operator `name` has a kernel for them."""
    numbers = [each.numbers for each in operands]
    if any(each.dtype not in BYTES for each in numbers) or not numbers[0].single:
        return False
    if became is not None and became.numbers.dtype != numbers[0].dtype:
        return False
    if computing.axis is None:  # no products: all of one type, one scale each
        return all(each.single and each.dtype == numbers[0].dtype for each in numbers)
    if numbers[0].dtype == ir.DataType.INT8 and numbers[1].dtype != ir.DataType.INT8:
        return False
    if numbers[1].single:
        return True
    rank = rank_of(operands[1].integers)
    axis = 0 if models.attribute(node, "transB", 0) else computing.axis
    plain = not np.ptp(numbers[1].zero_point) if name == "QLinearConv" else rank == 2
    return rank is not None and operands[1].axis == axis % rank and bool(plain)


def _attributes(node: ir.Node, computing: Computing) -> dict[str, ir.Attr] | None:
    """Of the integer operator; None where it cannot say the same."""
    kept = dict(node.attributes)
    if computing.op_type == "Gemm":  # alpha stretches the bias too
        alpha, beta = (models.attribute(node, key, 1.0) for key in ("alpha", "beta"))
        kept.pop("beta", None)
        return kept if alpha == beta or input_at(node, 2) is None else None
    if computing.op_type == "AveragePool":
        dilations = kept.pop("dilations", None)
        return kept if dilations is None or set(dilations.as_ints()) == {1} else None
    return kept


def _sum_of_products(bias: ir.Value, operands: Sequence[Operand]) -> ir.Value | None:
    """The int32 numbers of a bias whose unit is that of the accumulator, one per channel; else None."""
    found = operand(bias)
    if found is None or found.numbers.dtype != ir.DataType.INT32 or rank_of(found.integers) != 1:
        return None
    unit = operands[0].numbers.scale.reshape(()) * operands[1].numbers.scale.reshape(-1)
    scale = found.numbers.scale.reshape(-1)
    same = scale.size in (1, unit.size) or unit.size == 1
    if not same or found.numbers.zero_point.any() or not np.allclose(scale, unit, rtol=1e-6, atol=0.0):
        return None
    return found.integers


def _takes(node: ir.Node, places: Sequence[int], dtype: ir.DataType, opset: int) -> bool:
    """Whether the operator's specification allows integers of `dtype` at these inputs."""
    schema = onnx.defs.get_schema(node.op_type, opset)
    wanted = f"tensor({dtype.name.lower()})"
    last = len(schema.inputs) - 1
    return not schema.deprecated and all(wanted in schema.inputs[min(place, last)].types for place in places)


def _same(numbers: Sequence[Numbers]) -> bool:
    """Whether 8-bit integers, one scale for each tensor, all mean the same."""
    first = numbers[0] if numbers else None
    return first is not None and all(
        each.single and each.dtype in BYTES and each.same(first) for each in (first, *numbers)
    )
