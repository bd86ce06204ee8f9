"""From the float model and the numbers to the QDQ model.

Every tensor of a value v is a ``QuantizeLinear`` and a ``DequantizeLinear`` behind it; its readers read the
second. The names of the float model's values stay, so that the two models can be compared value by value.
Weights and biases become integer initializers behind a ``DequantizeLinear``. Standard ONNX operators only.
"""

from __future__ import annotations

import json
from collections import Counter

import onnx_ir as ir

from knight import model as models, operators
from knight.edit import drop_unread_initializers
from knight.forms import Blocks, Writing, forms
from knight.outputs import OUTPUT_SCALES, RUNTIME
from knight.quantizer import quantize
from knight.solver import Numbers, Parameters
from knight.types import FloatArray, QParams, QuantPlan

Readers = list[tuple[ir.Node, int]]


def rewrite(model: ir.Model, plan: QuantPlan, params: Parameters, *, fixed_point: bool = True) -> ir.Model:
    """The quantized twin of a prepared model.

    fixed_point: outputs that the plan names leave as integers held in float, their scales in the metadata;
    else every output is dequantized.
    """
    quantized = model.clone()
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
        self.blocks = Blocks(self.graph)
        self.numbers = Numbers(model, plan, params.patch)
        self.integer_nodes = set(plan.integer_nodes)
        counts = Counter(tensor.value for tensor in plan.tensors.values())
        self.at_one_width = {name for name, count in counts.items() if count == 1}
        self.number_pairs: dict[str, tuple[ir.Value, ir.Value]] = {}
        self.weights: dict[str, ir.Value] = {}
        self.output_scales: dict[str, dict[str, float | int]] = {}

    def run(self) -> None:
        for key in self.plan.tensors:
            self._write(key)
        for name in self.plan.integer_nodes:
            self._quantize_constants(self.nodes[name])
        drop_unread_initializers(self.graph)
        self.model.metadata_props[RUNTIME] = self.plan.runtime or "chip"
        if self.output_scales:
            self.model.metadata_props[OUTPUT_SCALES] = json.dumps(self.output_scales, sort_keys=True)

    # Activations ----------------------------------------------------------------------------------

    def _write(self, key: str) -> None:
        """Q/DQ of one tensor, and its readers moved behind it."""
        tensor = self.plan.tensors[key]
        name, value = tensor.value, self.values[tensor.value]
        params = self.params.activations[tensor.group]
        scale, zero_point = self._numbers(tensor.group, params)
        readers = [
            (node, index)
            for node, index in value.uses()
            if self.plan.reads.get((node.name or "", index)) == key
        ]
        producer = value.producer()
        integers = made = self._made_by(producer, value, key, readers)
        added: list[ir.Node] = []
        if integers is None:
            added.append(
                self.blocks.node("QuantizeLinear", [value, scale, zero_point], key, zero_point.dtype, value)
            )
            integers = added[0].outputs[0]
        is_output = self.plan.outputs.get(name) == key
        as_integers = is_output and name in self.fixed_point
        if readers or (is_output and not as_integers):
            real = self.blocks.node(
                "DequantizeLinear", [integers, scale, zero_point], key, ir.DataType.FLOAT, value
            )
            added.append(real)
            for node, index in readers:
                node.replace_input_with(index, real.outputs[0])
        if as_integers:
            cast = self.blocks.node("Cast", [integers], key, ir.DataType.FLOAT, value)
            cast.attributes.add(ir.AttrInt64("to", int(ir.DataType.FLOAT)))
            added.append(cast)
            self.output_scales[name] = {"scale": float(params.scale), "zero_point": int(params.zero_point)}
        maker = made.producer() if made is not None else None
        if producer is None:
            self.graph.insert_before(next(iter(self.graph)), added)
        elif maker is not None and made not in producer.inputs:  # a node that the form put behind
            self.graph.insert_after(maker, added)
        else:
            self.graph.insert_after(producer, added)
        gone = made is not None and made is not value and self._remove_unused(producer)
        if is_output:
            self._take_over_output(value, added[-1].outputs[0])
        elif (gone or made is value) and added:
            if not gone:
                value.name = self.blocks.fresh(f"{name}_integers")
            added[-1].outputs[0].name = name  # the real numbers have the float model's name

    def _remove_unused(self, node: ir.Node | None) -> bool:
        """Whether nobody needed it."""
        if node is None or any(value.uses() or value.is_graph_output() for value in node.outputs):
            return False
        self.graph.remove(node, safe=True)
        return True

    def _made_by(
        self, producer: ir.Node | None, value: ir.Value, key: str, readers: Readers
    ) -> ir.Value | None:
        """The integers of a tensor, where its maker's form gives them: for values of one width only."""
        form = self.plan.forms.get(producer.name or "") if producer is not None else None
        if form is None or producer is None or value.name not in self.at_one_width:
            return None
        group = self.plan.tensors[key].group
        params, (scale, zero_point) = self.params.activations[group], self.number_pairs[group]
        writing = Writing(producer, value, params, scale, zero_point, readers, self.blocks)
        read = [source.producer() for source in producer.inputs if source is not None]
        made = forms.get(form)(writing)
        for maker in read:  # what dequantized for it may have no reader left
            if maker is not None and maker.op_type == "DequantizeLinear" and maker.graph is self.graph:
                self._remove_unused(maker)
        return made

    def _take_over_output(self, value: ir.Value, replacement: ir.Value) -> None:
        """`replacement` becomes the graph output, under the name that users know."""
        name = value.name
        value.name = self.blocks.fresh(f"{name}_before_quantization")
        replacement.name = name
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = replacement

    def _numbers(self, group: str, params: QParams) -> tuple[ir.Value, ir.Value]:
        """Initializers of scale and zero point, one pair per group."""
        if group not in self.number_pairs:
            scale = self.blocks.initializer(f"{group}_scale", params.scale)
            self.number_pairs[group] = (
                scale,
                self.blocks.initializer(f"{group}_zero_point", params.zero_point),
            )
        return self.number_pairs[group]

    # Constants ------------------------------------------------------------------------------------

    def _quantize_constants(self, node: ir.Node) -> None:
        name = node.name or ""
        bias, index = operators.bias(node), operators.roles(node).bias
        if bias is not None and index is not None and name in self.params.biases:
            flat = self.numbers.bias(name).reshape(-1)
            real = self._dequantized(node, flat, self.params.biases[name], f"{name}_bias")
            node.replace_input_with(index, real)
        for position, value in enumerate(list(node.inputs)):
            key = self.plan.reads.get((name, position))
            if value is not None and key is not None and key in self.plan.weights:
                if key not in self.weights:  # `node` is its first reader: nodes come in graph order
                    array = self.numbers.constant(value.name or "")
                    self.weights[key] = self._dequantized(node, array, self.params.weights[key], key)
                node.replace_input_with(position, self.weights[key])

    def _dequantized(self, node: ir.Node, array: FloatArray, params: QParams, name: str) -> ir.Value:
        """The constant as an integer initializer behind a DequantizeLinear, which stands before `node`."""
        stored = [
            self.blocks.initializer(f"{name}_quantized", quantize(array, params)),
            self.blocks.initializer(f"{name}_scale", params.scale),
            self.blocks.initializer(f"{name}_zero_point", params.zero_point),
        ]
        real = self.blocks.node("DequantizeLinear", stored, name, ir.DataType.FLOAT, stored[0])
        if params.spec.axis is not None and params.scale.ndim:
            real.attributes.add(ir.AttrInt64("axis", params.spec.axis))
            if params.spec.block_size is not None:
                real.attributes.add(ir.AttrInt64("block_size", params.spec.block_size))
        self.graph.insert_before(node, [real])
        return real.outputs[0]
