"""From the float model and the numbers to the QDQ model.

Every quantized value v is followed by ``QuantizeLinear`` and ``DequantizeLinear``; its readers read the
second. The names of the float model's values stay, so that the two models can be compared value by value.
Weights and biases become integer initializers behind a ``DequantizeLinear``. Standard ONNX operators only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models, operators
from knight.quantizer import quantize
from knight.solver import Parameters
from knight.types import QParams, QuantPlan

OUTPUT_SCALES = "knight.output_scales"
"""Metadata key: JSON object, graph output name -> {"scale", "zero_point"} of outputs that are fixed-point
numbers.
"""

_WIDE_OPSET = 21  # the first whose QuantizeLinear takes 16-bit integers


def rewrite(model: ir.Model, plan: QuantPlan, params: Parameters, *, fixed_point: bool = True) -> ir.Model:
    """The quantized twin of a prepared model.

    fixed_point: outputs that the plan names leave as integers held in float, their scales in the metadata;
    else every output is dequantized.
    """
    quantized = model.clone()
    if any(spec.bits > 8 for spec in plan.activations.values()):
        quantized.opset_imports[""] = max(models.opset(quantized), _WIDE_OPSET)
    _Rewriter(quantized, plan, params, fixed_point).run()
    return quantized


class _Rewriter:
    def __init__(self, model: ir.Model, plan: QuantPlan, params: Parameters, fixed_point: bool) -> None:
        self.model = model
        self.graph = model.graph
        self.plan = plan
        self.params = params
        self.fixed_point = set(plan.fixed_point_outputs) if fixed_point else set()
        self.values = {value.name or "": value for value in models.values(self.graph)}
        self.nodes = {node.name or "": node for node in self.graph}
        self.taken = set(self.values) | set(self.nodes)
        self.integer_nodes = set(plan.integer_nodes)
        self.number_pairs: dict[str, tuple[ir.Value, ir.Value]] = {}
        self.constants: dict[str, ir.Value] = {}
        self.output_scales: dict[str, dict[str, float | int]] = {}

    def run(self) -> None:
        for name in self.plan.activations:
            self._quantize_value(self.values[name])
        for name in self.plan.integer_nodes:
            self._quantize_constants(self.nodes[name])
        self._drop_unused_initializers()
        self.model.metadata_props[models.RUNTIME] = self.plan.runtime or "chip"
        if self.output_scales:
            self.model.metadata_props[OUTPUT_SCALES] = json.dumps(self.output_scales, sort_keys=True)

    # Activations ----------------------------------------------------------------------------------

    def _quantize_value(self, value: ir.Value) -> None:
        name = value.name or ""
        params = self.params.activations[self.plan.root(name)]
        scale, zero_point = self._numbers(self.plan.root(name), params)
        readers = [
            (node, index)
            for node, index in value.uses()
            if (node.name or "", index) not in self.plan.float_reads
        ]
        producer = value.producer()
        made_by_integers = producer is not None and producer.name in self.integer_nodes
        added: list[ir.Node] = []
        if producer is not None and producer.name in self.plan.on_integers:
            self._stand_on_integers(producer, zero_point)
            integers = value
        elif _is_cast_of(producer, params) and self._only_integers_read(value, readers):
            assert producer is not None and producer.inputs[0] is not None
            integers = producer.inputs[0]  # the quantizer would give them back as they are
        else:
            added.append(
                self._node("QuantizeLinear", [value, scale, zero_point], name, zero_point.dtype, value)
            )
            integers = added[0].outputs[0]
        is_output = made_by_integers and any(output is value for output in self.graph.outputs)
        as_integers = is_output and name in self.fixed_point
        if readers or (is_output and not as_integers):
            real = self._node(
                "DequantizeLinear", [integers, scale, zero_point], name, ir.DataType.FLOAT, value
            )
            added.append(real)
            for node, index in readers:
                node.replace_input_with(index, real.outputs[0])
        if as_integers:
            cast = self._node("Cast", [integers], name, ir.DataType.FLOAT, value)
            cast.attributes.add(ir.AttrInt64("to", int(ir.DataType.FLOAT)))
            added.append(cast)
            self.output_scales[name] = {"scale": float(params.scale), "zero_point": int(params.zero_point)}
        if producer is None:
            first = next(iter(self.graph))
            self.graph.insert_before(first, added)
        else:
            self.graph.insert_after(producer, added)
        if producer is not None and integers in producer.inputs:
            self.graph.remove(producer, safe=True)
            added[-1].outputs[0].name = name  # the real numbers have the float model's name
            return
        if is_output:
            self._take_over_output(value, added[-1].outputs[0])
        elif integers is value:
            value.name = self._fresh(f"{name}_integers")
            added[-1].outputs[0].name = name  # the real numbers have the float model's name

    def _only_integers_read(self, value: ir.Value, readers: list[tuple[ir.Node, int]]) -> bool:
        """Whether nobody but `readers`, of which there are some, needs the value as it is."""
        return bool(readers) and len(readers) == len(value.uses()) and not value.is_graph_output()

    def _stand_on_integers(self, node: ir.Node, zero_point: ir.Value) -> None:
        """`node` reads the integers of its input; what it fills in (a Pad) is the zero point."""
        real = node.inputs[0]
        dequantize = real.producer() if real is not None else None
        assert dequantize is not None and dequantize.op_type == "DequantizeLinear"
        node.replace_input_with(0, dequantize.inputs[0])
        if node.op_type == "Pad":
            node.resize_inputs(max(3, len(node.inputs)))
            node.replace_input_with(2, zero_point)
        node.outputs[0].type = zero_point.type  # a new type: the float model's value shares the old one
        if not dequantize.outputs[0].uses() and not dequantize.outputs[0].is_graph_output():
            self.graph.remove(dequantize, safe=True)

    def _take_over_output(self, value: ir.Value, replacement: ir.Value) -> None:
        """`replacement` becomes the graph output, under the name that users know."""
        name = value.name
        value.name = self._fresh(f"{name}_before_quantization")
        replacement.name = name
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = replacement

    def _numbers(self, root: str, params: QParams) -> tuple[ir.Value, ir.Value]:
        """Initializers of scale and zero point, one pair per group."""
        if root not in self.number_pairs:
            scale = self._initializer(f"{root}_scale", params.scale)
            self.number_pairs[root] = (scale, self._initializer(f"{root}_zero_point", params.zero_point))
        return self.number_pairs[root]

    # Constants ------------------------------------------------------------------------------------

    def _quantize_constants(self, node: ir.Node) -> None:
        name = node.name or ""
        bias, index = operators.bias(node), operators.roles(node).bias
        if bias is not None and index is not None and name in self.params.biases:
            real = self._dequantized(node, bias, self.params.biases[name], f"{name}_bias", flat=True)
            node.replace_input_with(index, real)
        for position, value, _ in list(operators.constant_operands(node)):
            name = value.name or ""
            if name in self.plan.weights:
                real = self._dequantized(node, value, self.params.weights[name], name)
                node.replace_input_with(position, real)

    def _dequantized(
        self, node: ir.Node, value: ir.Value, params: QParams, name: str, *, flat: bool = False
    ) -> ir.Value:
        """The constant as an integer initializer behind a DequantizeLinear that all its readers share.

        `node` is the first of them: nodes come in graph order.
        """
        if name not in self.constants:
            array = models.constant(value)
            assert array is not None
            integers = quantize(array.reshape(-1) if flat else array, params)
            stored = [
                self._initializer(f"{name}_quantized", integers),
                self._initializer(f"{name}_scale", params.scale),
                self._initializer(f"{name}_zero_point", params.zero_point),
            ]
            real = self._node("DequantizeLinear", stored, name, ir.DataType.FLOAT, stored[0])
            if params.spec.axis is not None and params.scale.ndim:
                real.attributes.add(ir.AttrInt64("axis", params.spec.axis))
            self.graph.insert_before(node, [real])
            self.constants[name] = real.outputs[0]
        return self.constants[name]

    def _drop_unused_initializers(self) -> None:
        outputs = set(self.graph.outputs)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and value not in outputs and not value.is_graph_input():
                del self.graph.initializers[name]

    # Building blocks ------------------------------------------------------------------------------

    def _fresh(self, base: str) -> str:
        name, number = base, 0
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def _initializer(self, name: str, array: np.ndarray) -> ir.Value:
        value = models.initializer(self._fresh(name), array)
        self.graph.register_initializer(value)
        return value

    def _node(
        self, op_type: str, inputs: list[ir.Value], name: str, dtype: ir.DataType | None, like: ir.Value
    ) -> ir.Node:
        node = ir.Node("", op_type, inputs, num_outputs=1, name=self._fresh(f"{name}_{op_type}"))
        output = node.outputs[0]
        output.name = self._fresh(f"{name}_{op_type}_output")
        output.shape = like.shape
        if dtype is not None:
            output.dtype = dtype
        return node


def _is_cast_of(node: ir.Node | None, params: QParams) -> bool:
    """Whether `node` makes floats of integers that `params` would turn back into the same ones."""
    source = node.inputs[0] if node is not None and node.op_type == "Cast" else None
    same = source is not None and source.dtype == ir.DataType.from_numpy(params.zero_point.dtype)
    return same and float(params.scale) == 1.0 and int(params.zero_point) == 0


def output_scales(model: ir.Model) -> dict[str, dict[str, float]]:
    """Output name -> {"scale", "zero_point"} of the outputs that are fixed-point numbers; empty for other
    models.
    """
    stored: dict[str, dict[str, float]] = json.loads(model.metadata_props.get(OUTPUT_SCALES, "{}"))
    return stored


def dequantized(
    names: Sequence[str], outputs: list[np.ndarray], scales: Mapping[str, Mapping[str, float]]
) -> list[np.ndarray]:
    """Real numbers of outputs that leave the model as integers held in float."""
    return [
        (array - np.float32(scales[name]["zero_point"])) * np.float32(scales[name]["scale"])
        if name in scales
        else array
        for name, array in zip(names, outputs, strict=True)
    ]
