"""The operator lists of the targets for ONNX Runtime, against what it makes of QDQ graphs.

One graph per operator: Q, DQ, operator, Q, DQ. An operator that runs as integers leaves exactly the
outer Q and DQ and an integer operator between them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight.targets import Target, load_target
from knight.types import QuantSpec

PICTURE = (1, 8, 8, 8)
ROWS = (1, 4, 8)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def weight(*shape: int) -> tuple[np.ndarray, int]:
    """int8 weights with the first axis as channels (the last, of a matrix)."""
    return np.arange(np.prod(shape)).reshape(shape).astype(np.int8), 0 if len(shape) > 2 else 1


# operator: (attributes, number of activations, their shape, quantized weight, raw constants)
CASES: dict[str, tuple[dict[str, Any], int, tuple[int, ...], Any, list[np.ndarray | None]]] = {
    "Conv": ({}, 1, PICTURE, weight(8, 8, 3, 3), []),
    "ConvTranspose": ({}, 1, PICTURE, weight(8, 8, 3, 3), []),
    "Gemm": ({}, 1, (4, 8), weight(8, 8), []),
    "MatMul": ({}, 1, ROWS, weight(8, 8), []),
    "Add": ({}, 2, PICTURE, None, []),
    "Mul": ({}, 2, PICTURE, None, []),
    "Sub": ({}, 2, PICTURE, None, []),
    "Where": ({}, 2, PICTURE, None, [np.ones(PICTURE, bool)]),
    "Concat": ({"axis": 1}, 2, PICTURE, None, []),
    "AveragePool": ({"kernel_shape": [2, 2]}, 1, PICTURE, None, []),
    "GlobalAveragePool": ({}, 1, PICTURE, None, []),
    "LeakyRelu": ({}, 1, PICTURE, None, []),
    "Sigmoid": ({}, 1, PICTURE, None, []),
    "Tanh": ({}, 1, PICTURE, None, []),
    "DepthToSpace": ({"blocksize": 2}, 1, PICTURE, None, []),
    "SpaceToDepth": ({"blocksize": 2}, 1, PICTURE, None, []),
    "Expand": ({}, 1, PICTURE, None, [ints(2, 8, 8, 8)]),
    "Flatten": ({}, 1, PICTURE, None, []),
    "Gather": ({"axis": 1}, 1, PICTURE, None, [ints(1, 2)]),
    "GatherElements": ({"axis": 1}, 1, PICTURE, None, [np.zeros((1, 2, 8, 8), np.int64)]),
    "GatherND": ({}, 1, PICTURE, None, [ints(0, 1)]),
    "Identity": ({}, 1, PICTURE, None, []),
    "MaxPool": ({"kernel_shape": [2, 2]}, 1, PICTURE, None, []),
    "GlobalMaxPool": ({}, 1, PICTURE, None, []),
    "Pad": ({}, 1, PICTURE, None, [ints(0, 0, 1, 1, 0, 0, 1, 1)]),
    "ReduceMax": ({"axes": [1]}, 1, PICTURE, None, []),
    "ReduceMin": ({"axes": [1]}, 1, PICTURE, None, []),
    "ReduceMean": ({"axes": [1]}, 1, PICTURE, None, []),
    "Reshape": ({}, 1, PICTURE, None, [ints(1, -1)]),
    "Resize": ({"mode": "nearest"}, 1, PICTURE, None, [None, np.array([1, 1, 2, 2], np.float32)]),
    "Slice": ({}, 1, PICTURE, None, [ints(0), ints(4), ints(2)]),
    "Split": ({"axis": 1}, 1, PICTURE, None, [ints(8)]),
    "Squeeze": ({}, 1, PICTURE, None, [ints(0)]),
    "Unsqueeze": ({}, 1, PICTURE, None, [ints(0)]),
    "Tile": ({}, 1, PICTURE, None, [ints(1, 2, 1, 1)]),
    "Transpose": ({}, 1, PICTURE, None, []),
}
INTEGER_KERNELS = {"Conv": "QLinearConv", "Gemm": "QGemm", "MatMul": "QLinearMatMul"}


class Graph:
    """Collects nodes and constants of a QDQ graph of one operator."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def pair(self, value: str) -> str:
        """Q and DQ after `value`, uint8."""
        numbers = [
            self.constant(f"{value}_scale", np.float32(0.02)),
            self.constant(f"{value}_zero", np.uint8(120)),
        ]
        quantized = self.add("QuantizeLinear", [value, *numbers], f"{value}_q")
        return self.add("DequantizeLinear", [quantized, *numbers], f"{value}_dq")

    def weight(self, integers: np.ndarray, axis: int, *, signed: bool) -> str:
        """int8, or the same numbers as uint8 around 128."""
        channels = integers.shape[axis]
        zero = np.zeros(channels, np.int8)
        if not signed:
            integers, zero = ((each.astype(np.int16) + 128).astype(np.uint8) for each in (integers, zero))
        inputs = [
            self.constant("w", integers),
            self.constant("w_scale", np.full(channels, 0.01, np.float32)),
            self.constant("w_zero", zero),
        ]
        return self.add("DequantizeLinear", inputs, "w_dq", axis=axis)


def optimised(
    operator: str, folder: Path, *, float_result: bool = False, signed_weights: bool = True
) -> Counter[str]:
    """Operators that ONNX Runtime runs for the QDQ graph of `operator`."""
    attributes, activations, shape, weights, constants = CASES[operator]
    graph = Graph()
    inputs = [graph.pair(f"x{index}") for index in range(activations)]
    if weights is not None:
        inputs.append(graph.weight(*weights, signed=signed_weights))
    raw = ["" if value is None else graph.constant(f"c{i}", value) for i, value in enumerate(constants)]
    inputs = raw + inputs if operator == "Where" else inputs + raw
    result = graph.add(operator, inputs, "y", **attributes)
    result = graph.add("Erf", [result], "z") if float_result else graph.pair(result)
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "one_operator",
            [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i in range(activations)],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, {f"x{i}": np.full(shape, 0.5, np.float32) for i in range(activations)})
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def runs_as_integers(operator: str, operators: Counter[str]) -> bool:
    pairs_outside = {"QuantizeLinear": CASES[operator][1], "DequantizeLinear": 1}
    return all(operators[name] == count for name, count in pairs_outside.items())


TARGETS = ("onnxruntime", "onnxruntime-avx2")


@pytest.mark.parametrize("name", TARGETS)
def test_no_operator_of_the_lists_goes_untested(name: str) -> None:
    assert load_target(name).integer_operators <= CASES.keys()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("operator", sorted(CASES))
def test_lists_say_what_onnx_runtime_does(operator: str, name: str, tmp_path: Path) -> None:
    target = load_target(name)
    dropped = target.integer_operators - target.forms.keys()
    operators = optimised(operator, tmp_path, signed_weights=target.weight_signed)
    assert runs_as_integers(operator, operators) == (operator in dropped), operators
    if operator in target.keep_scale - {"Identity"}:
        assert operators[operator] == 1
    elif operator in target.integer_operators - {"Identity"}:
        assert operators[INTEGER_KERNELS.get(operator, f"QLinear{operator}")] == 1


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MatMul"])
def test_float_result(operator: str, name: str, tmp_path: Path) -> None:
    target = load_target(name)
    operators = optimised(operator, tmp_path, float_result=True, signed_weights=target.weight_signed)
    integer = operators["DequantizeLinear"] == 0
    assert integer == (operator in target.float_result), operators


def test_targets_differ_in_their_weights_alone() -> None:
    old, new = (load_target(name) for name in reversed(TARGETS))
    own = {"name", "chip", "description", "source", "schemes"}
    differ = {field.name for field in fields(Target) if getattr(old, field.name) != getattr(new, field.name)}
    assert differ == own
    assert [replace(scheme, weight_signed=False) for scheme in new.schemes] == [*old.schemes]
    assert old.weight_spec(8, 0) == QuantSpec(signed=False, axis=0, centred=True)
