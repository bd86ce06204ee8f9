"""The edits of lowering: a float operator between a DequantizeLinear and a QuantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, drop_unread_constant
from knight.operators import STANDARD
from knight.qdq.integer_operators import MICROSOFT
from knight.qdq.names import real_name
from knight.qdq.numbers import Numbers, Tap

_NEW_OPSET = 17  # for a model that uses no standard operator yet
_AXIS_OPSET = 13  # the first whose QuantizeLinear and DequantizeLinear know channels
_QDQ_OPSET = 10  # the first that has them
_WIDE_OPSET = 21  # the first whose QuantizeLinear takes 16-bit and 4-bit integers
_NARROW = ("int8", "uint8")


class Edit:
    """Changes `model` in place. taps: the real values that it has got -> where its source holds them."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.graph = model.graph
        self.taps: dict[str, Tap] = {}
        self.changed = False
        self._editor = Editor(self.graph)
        self._parameters: dict[tuple[str, str, str], tuple[ir.Value, ir.Value]] = {}
        imported = any(domain in model.opset_imports for domain in STANDARD)
        self.opset = models.opset(model) if imported else _NEW_OPSET

    def put(
        self, node: ir.Node, before: list[ir.Node], real: ir.Node, results: Sequence[Numbers | None]
    ) -> None:
        """`real`, fed by `before`, in the place of `node`; outputs with numbers become integers again."""
        added = [*before, real]
        for old, output, numbers in zip(node.outputs, real.outputs, results, strict=True):
            new = output
            if numbers is not None and old.name:
                output.name = self._real_name(old.name)
                output.shape, output.dtype = old.shape, ir.DataType.from_numpy(numbers.scale.dtype)
                added.append(self.quantize(output, numbers))
                new = added[-1].outputs[0]
                scale = numbers.scale.reshape(()).astype(np.float32)
                self.taps[output.name] = Tap(old.name, scale, numbers.zero_point.reshape(()))
            new.shape = old.shape
            new.type = old.type or new.type
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name, old.name = old.name, None
        read = [value for value in node.inputs if value is not None]
        self.graph.insert_after(node, added)
        self.graph.remove(node, safe=True)
        for value in read:  # a fill that is a real number now
            if value.is_initializer():
                drop_unread_constant(self.graph, value)
        self.changed = True

    def quantize(self, value: ir.Value, numbers: Numbers) -> ir.Node:
        """QuantizeLinear of a real `value`, of no graph yet."""
        scale, zero_point = self._stated(numbers)
        domain = self._domain(numbers)
        name = self.fresh(f"{value.name}_QuantizeLinear")
        node = ir.Node(domain, "QuantizeLinear", [value, scale, zero_point], num_outputs=1, name=name)
        node.outputs[0].dtype = numbers.dtype
        return node

    def dequantize(self, value: ir.Value, numbers: Numbers, axis: int | None) -> ir.Node:
        """DequantizeLinear of the integers `value`, of no graph yet."""
        scale, zero_point = self._stated(numbers)
        attributes = [] if axis is None else [ir.AttrInt64("axis", axis)]
        base = real_name(value.name or "")
        node = ir.Node(
            self._domain(numbers),
            "DequantizeLinear",
            [value, scale, zero_point],
            attributes,
            num_outputs=1,
            name=self.fresh(f"{base}_DequantizeLinear"),
        )
        output = node.outputs[0]
        output.name = self.fresh(f"{base}_DequantizeLinear_output")
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

    def _stated(self, numbers: Numbers) -> tuple[ir.Value, ir.Value]:
        """Scale and zero point as initializers of one shape, the model's own where they are that."""
        scale, zero_point = numbers.scale_value, numbers.zero_point_value
        shape = () if numbers.single else (numbers.scale.size,)
        plain = numbers.single or numbers.scale.shape == numbers.zero_point.shape == shape
        if zero_point is not None and plain and scale.is_initializer() and zero_point.is_initializer():
            return scale, zero_point
        key = (scale.name or "", (zero_point and zero_point.name) or "", numbers.dtype.name)
        if key not in self._parameters:
            zeros = np.broadcast_to(numbers.zero_point.reshape(-1), max(1, numbers.scale.size)).reshape(shape)
            self._parameters[key] = (
                self.initializer(f"{scale.name}_values", numbers.scale.reshape(shape)),
                self.initializer(f"{scale.name}_zero_point", zeros.astype(numbers.dtype.numpy())),
            )
        return self._parameters[key]

    def import_domains(self) -> None:
        """Imports the domains of what was put in."""
        imports = self.model.opset_imports
        if not any(domain in imports for domain in STANDARD):
            imports[""] = self.opset
        if any(node.domain == MICROSOFT for node in self.graph):
            imports.setdefault(MICROSOFT, 1)

    def _real_name(self, integers: str) -> str:
        name = real_name(integers)
        return self.fresh(name if name not in self._editor.names else f"{name}_before_quantization")

    def fresh(self, base: str, own: str | None = None) -> str:
        """`base`, numbered where it is taken by another than its owner, whose name is `own`."""
        return base if base == own else self._editor.names.fresh(base)

    def initializer(self, name: str, array: np.ndarray) -> ir.Value:
        """`array` in the graph, under `name` or a numbered one."""
        return self._editor.constant(name, array)
