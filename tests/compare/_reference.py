"""What models compute, by ONNX's own reference evaluator: the independent statement behind the tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from knight import model as models

ROUNDING = ("QuantizeLinear", "DequantizeLinear")
Values = Mapping[str, np.ndarray]


def proto(model: ir.Model) -> onnx.ModelProto:
    """`model` at an opset of which the evaluator knows QuantizeLinear and DequantizeLinear."""
    found = models.to_proto(model)
    for entry in found.opset_import:
        if not entry.domain:
            entry.version = max(entry.version, 19)
    return found


def all_values(model: ir.Model, feeds: Values) -> dict[str, np.ndarray]:
    """Every value of the main graph, by name."""
    found = proto(model)
    names = [name for node in found.graph.node for name in node.output if name]
    del found.graph.output[:]
    found.graph.output.extend(helper.make_tensor_value_info(name, 0, None) for name in names)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    return (
        constants
        | dict(feeds)
        | dict(zip(names, ReferenceEvaluator(found).run(None, dict(feeds)), strict=True))
    )


def decibels(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """10 log10(sum l^2 / sum (r - l)^2), over all pairs."""
    signal = sum(float(np.sum(np.square(left, dtype=np.float64))) for left, _ in pairs)
    noise = sum(float(np.sum((right.astype(np.float64) - left) ** 2)) for left, right in pairs)
    return float(10 * np.log10(signal / noise))


class Alone:
    """A QDQ model's layers, each on float values and rounded by itself, node by node."""

    def __init__(self, quantized: ir.Model) -> None:
        self.proto = proto(quantized)
        self.maker = {name: node for node in self.proto.graph.node for name in node.output}
        self.constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.proto.graph.initializer
        }

    def value(self, name: str, floats: Values) -> np.ndarray:
        """`name` of the quantized model: made from the float model's values, with its own constants."""
        node = self.maker.get(name)
        if node is None:
            return self.constants[name] if name in self.constants else floats[name]
        if node.op_type in ROUNDING:
            before = self.value(node.input[0], floats)
            return self._run(node, [before, *(self.constants[other] for other in node.input[1:])])
        return self._run(node, [self._read(source, node, floats) for source in node.input])

    def _read(self, name: str, reader: onnx.NodeProto, floats: Values) -> np.ndarray:
        """An input as the float model has it, constants as they are here; a Relu belongs to its Conv."""
        if name in self.constants:
            return self.constants[name]
        node, root = self.maker.get(name), name
        while node is not None and node.op_type in ROUNDING:
            root = node.input[0]
            if root in self.constants:
                return self.value(name, floats)
            node = self.maker.get(root)
        if root == name and node is not None and reader.op_type == "Relu":
            return self.value(name, floats)
        return floats[root]

    def _run(self, node: onnx.NodeProto, inputs: list[np.ndarray]) -> np.ndarray:
        names = [f"i{place}" for place in range(len(inputs))]
        copy = helper.make_node(node.op_type, names, ["o"])
        copy.attribute.extend(node.attribute)
        graph = helper.make_graph(
            [copy],
            "one",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in zip(names, inputs, strict=True)
            ],
            [helper.make_tensor_value_info("o", 0, None)],
        )
        model = helper.make_model(graph, opset_imports=self.proto.opset_import)
        result: np.ndarray = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))[0]
        return result
