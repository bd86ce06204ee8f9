"""Which operators really run as integers.

Where ONNX Runtime executes the result, a QDQ file proves nothing: the file is optimised by ONNX Runtime
itself and the operators that are left are counted. Where a chip executes it, the plan says what the chip
runs as integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from knight.protos import bodies
from knight.runner import Session
from knight.temporary import TemporaryFolder
from knight.types import QuantPlan

_COMPUTE = frozenset({"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
_INTEGER = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger", "QOrdered")
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_EIGHT_BITS = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
_FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE})
_TO_FLOAT = frozenset({"DequantizeLinear", "MatMulIntegerToFloat"})
_TO_INT64 = frozenset({"Shape", "Size", "ArgMax", "ArgMin", "NonZero"})


@dataclass(frozen=True)
class Coverage:
    """integer: how many operators run as integers. float_operators: "OpType name" of those on floats.
    conversions: QuantizeLinear and DequantizeLinear nodes left, and Casts of 8-bit integers. float_compute:
    Conv, Gemm and MatMul among the floats.
    """

    integer: int
    float_operators: tuple[str, ...]
    conversions: int
    float_compute: tuple[str, ...]


def measure(model: ir.Model, plan: QuantPlan) -> Coverage:
    """Integer coverage of a quantized model where the plan's target runs it."""
    if plan.runtime == "onnxruntime":
        return optimised_coverage(model)
    kinds = {node.name or "": node.op_type for node in model.graph}
    floats = tuple(f"{kinds[name]} {name}" for name in plan.float_nodes if name in kinds)
    compute = tuple(name for name in floats if name.split(" ")[0] in _COMPUTE)
    conversions = sum(node.op_type in _CONVERSIONS for node in model.graph)
    return Coverage(len(plan.integer_nodes), floats, conversions, compute)


def optimised_coverage(model: ir.Model) -> Coverage:
    """Counts over the graph that ONNX Runtime makes of `model` (extended level, before layout changes)."""
    with TemporaryFolder() as folder:
        path = Path(folder, "optimised.onnx")
        Session(model, level="extended", optimized=path, kernels="host")
        return _count(onnx.load(path, load_external_data=False).graph)


def _count(graph: onnx.GraphProto) -> Coverage:
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    types.update((tensor.name, tensor.data_type) for tensor in graph.initializer)
    integer, conversions = 0, 0
    floats: list[str] = []
    for node in graph.node:
        read = [types.get(name, 0) for name in node.input if name]
        types.update(dict.fromkeys(node.output, _result_type(node, read)))
        apart = node.op_type == "Sum" and len(node.input) == 1  # see knight.forms.kept_apart
        if apart or node.op_type in _CONVERSIONS or (node.op_type == "Cast" and read[0] in _EIGHT_BITS):
            conversions += 1
        elif node.op_type.startswith(_INTEGER) or (read and read[0] in _EIGHT_BITS):
            integer += 1
        elif any(kind in _FLOATS for kind in read) or any(True for _ in bodies(node)):
            floats.append(f"{node.op_type} {node.name}")
    compute = tuple(name for name in floats if name.split(" ")[0] in _COMPUTE)
    return Coverage(integer, tuple(floats), conversions, compute)


def _result_type(node: onnx.NodeProto, read: list[int]) -> int:
    """Element type of a node's results, as far as counting needs it."""
    if node.op_type in _TO_FLOAT or (node.op_type == "QGemm" and len(node.input) < 8):
        return onnx.TensorProto.FLOAT
    if node.op_type in _TO_INT64:
        return onnx.TensorProto.INT64
    if node.op_type == "Cast":
        return next(int(attribute.i) for attribute in node.attribute if attribute.name == "to")
    if node.op_type == "QuantizeLinear":
        return read[2] if len(read) > 2 else onnx.TensorProto.UINT8
    if node.op_type.startswith("QLinear"):
        return onnx.TensorProto.UINT8
    if node.op_type == "Where":
        return read[-1] if read else 0
    return read[0] if read else 0
