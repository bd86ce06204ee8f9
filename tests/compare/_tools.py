"""Models quantized by ONNX Runtime, and models in other clothes, for the tests of pairing."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from knight import model as models

Arrays = Mapping[str, np.ndarray]


class CalibrationSamples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Iterable[Arrays]) -> None:
        self.samples = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        found = next(self.samples, None)
        return None if found is None else dict(found)


def by_onnxruntime(
    source: Path, folder: Path, samples: Iterable[Arrays], form: str, *, prepared: bool, **options: object
) -> ir.Model:
    """`source` as onnxruntime.quantization makes it; form: QDQ or QOperator. prepared: first as its
    documentation advises.
    """
    if prepared:
        quant_pre_process(str(source), str(folder / "prepared.onnx"))
        source = folder / "prepared.onnx"
    target = folder / "quantized.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            str(source), str(target), CalibrationSamples(samples), quant_format=QuantFormat[form], **options
        )
    return models.load(target)


def renamed(model: ir.Model, seed: int) -> ir.Model:
    """`model` with other names for all values, in no order, and none for nodes; inputs keep theirs."""
    copy = model.clone()
    values = [value for value in models.values(copy.graph) if value.name and not value.is_graph_input()]
    names = [f"v{number}" for number in range(len(values))]
    random.Random(seed).shuffle(names)
    weights = [value for value in values if value.is_initializer()]
    for value in weights:
        copy.graph.initializers.pop(value.name or "")
    for value, name in zip(values, names, strict=True):
        value.name = name
    for value in weights:
        copy.graph.register_initializer(value)
    for node in copy.graph:
        node.name = ""
    return copy


def net(
    nodes: Iterable[onnx.NodeProto],
    weights: Arrays,
    *,
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Iterable[str],
    opset: int = 17,
) -> ir.Model:
    """A model of float inputs and outputs."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [
        array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(np.asarray(array), name)
        for name, array in weights.items()
    ]
    graph = helper.make_graph(list(nodes), "net", infos, results, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return ir.from_proto(proto)
