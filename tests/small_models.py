"""Tiny ONNX models and user scripts, for tests that need the flow and not the accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray] | None = None,
    domains: Sequence[tuple[str, int]] = (("", OPSET),),
) -> Path:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), path.stem, list(inputs), list(outputs), tensors)
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), path)
    return path


def conv_net(folder: Path, *, batch: int | str = 1, name: str = "net", opset: int = OPSET) -> Path:
    """x float32[batch, 3, 8, 8] -> Conv, Relu, GlobalAveragePool, Flatten, Gemm -> scores[batch, 4]."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(5, 3, 3, 3)).astype(np.float32),
        "b": random.normal(size=5).astype(np.float32),
        "v": random.normal(size=(4, 5)).astype(np.float32),
        "c": random.normal(size=4).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], "relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "v", "c"], ["scores"], "gemm", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", FLOAT, [batch, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("scores", FLOAT, [batch, 4])]
    return _save(folder / f"{name}.onnx", nodes, inputs, outputs, weights, [("", opset)])


def two_inputs(folder: Path) -> Path:
    """left float32[1, 4] and right float32[1, 6], each through a Gemm, added."""
    random = np.random.default_rng(1)
    weights = {
        "u": random.normal(size=(4, 3)).astype(np.float32),
        "v": random.normal(size=(6, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["left", "u"], ["l"], "matmul_left"),
        helper.make_node("MatMul", ["right", "v"], ["r"], "matmul_right"),
        helper.make_node("Add", ["l", "r"], ["sum"], "add"),
    ]
    inputs = [
        helper.make_tensor_value_info("left", FLOAT, [1, 4]),
        helper.make_tensor_value_info("right", FLOAT, [1, 6]),
    ]
    return _save(
        folder / "two.onnx", nodes, inputs, [helper.make_tensor_value_info("sum", FLOAT, [1, 3])], weights
    )


def integer_input(folder: Path) -> Path:
    """ids int64[1, 5] -> Gather from a table of 12 rows, MatMul -> out[1, 5, 3]."""
    random = np.random.default_rng(2)
    weights = {
        "table": random.normal(size=(12, 4)).astype(np.float32),
        "v": random.normal(size=(4, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "embed"),
        helper.make_node("MatMul", ["rows", "v"], ["out"], "matmul"),
    ]
    inputs = [helper.make_tensor_value_info("ids", INT64, [1, 5])]
    return _save(
        folder / "ids.onnx", nodes, inputs, [helper.make_tensor_value_info("out", FLOAT, [1, 5, 3])], weights
    )


def string_input(folder: Path) -> Path:
    """words string[1, 2] and x float32[1, 4]: the strings pass through, x goes through a MatMul."""
    weights = {"v": np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("Identity", ["words"], ["same"], "same"),
        helper.make_node("MatMul", ["x", "v"], ["out"], "matmul"),
    ]
    inputs = [
        helper.make_tensor_value_info("words", STRING, [1, 2]),
        helper.make_tensor_value_info("x", FLOAT, [1, 4]),
    ]
    outputs = [
        helper.make_tensor_value_info("same", STRING, [1, 2]),
        helper.make_tensor_value_info("out", FLOAT, [1, 3]),
    ]
    return _save(folder / "words.onnx", nodes, inputs, outputs, weights)


def sequence_input(folder: Path) -> Path:
    """items, a sequence of float32[1, 4]: the first of them through a MatMul."""
    weights = {
        "v": np.random.default_rng(4).normal(size=(4, 3)).astype(np.float32),
        "zero": np.array(0, np.int64),
    }
    nodes = [
        helper.make_node("SequenceAt", ["items", "zero"], ["x"], "first"),
        helper.make_node("MatMul", ["x", "v"], ["out"], "matmul"),
    ]
    inputs = [helper.make_tensor_sequence_value_info("items", FLOAT, [1, 4])]
    return _save(
        folder / "items.onnx", nodes, inputs, [helper.make_tensor_value_info("out", FLOAT, [1, 3])], weights
    )


def no_input(folder: Path) -> Path:
    """A table of random numbers, nothing to feed."""
    nodes = [
        helper.make_node("RandomNormal", [], ["noise"], "noise", shape=[2, 3], seed=1.0),
        helper.make_node("MatMul", ["noise", "v"], ["out"], "matmul"),
    ]
    weights = {"v": np.eye(3, dtype=np.float32)}
    return _save(
        folder / "none.onnx", nodes, [], [helper.make_tensor_value_info("out", FLOAT, [2, 3])], weights
    )


def zero_sized(folder: Path) -> Path:
    """x float32[1, 4] beside an input of no numbers, float32[1, 0]: joined, then through a MatMul."""
    weights = {"v": np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("Concat", ["x", "empty"], ["both"], "both", axis=1),
        helper.make_node("MatMul", ["both", "v"], ["out"], "matmul"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, [1, 4]),
        helper.make_tensor_value_info("empty", FLOAT, [1, 0]),
    ]
    return _save(
        folder / "zero.onnx", nodes, inputs, [helper.make_tensor_value_info("out", FLOAT, [1, 3])], weights
    )


def foreign_domain(folder: Path) -> Path:
    """A graph with an operator of a domain that nobody knows."""
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], "frob", domain="com.example")]
    values = [helper.make_tensor_value_info(name, FLOAT, [1, 4]) for name in ("x", "y")]
    return _save(
        folder / "foreign.onnx", nodes, values[:1], values[1:], domains=[("", OPSET), ("com.example", 1)]
    )


FEED = """
random = np.random.default_rng(7)
for _ in range(executor.iteration):
    executor.forward(random.normal(size=(executor.batch_size, 3, 8, 8)).astype(np.float32))
return 1.0
"""


SUM_OF_OUTPUTS = """
random = np.random.default_rng(7)
total = 0.0
for _ in range(executor.iteration):
    total += float(executor.forward(random.normal(size=(1, 3, 8, 8)).astype(np.float32))[0].sum())
return total
"""
"""Body of an infer function for `conv_net`: random samples, the same each time; the metric is a sum."""


def script(folder: Path, body: str = FEED, *, name: str = "infer_net", file: str = "infer.py") -> Path:
    """A user script that registers one infer function with this body."""
    path = folder / file
    head = f"""
        import os, signal, sys, time
        import numpy as np
        from onnx_quantize_tool.common.register import onnx_infer_func

        @onnx_infer_func.register("{name}")
        def {name}(executor):
        """
    path.write_text(dedent(head).strip() + "\n" + indent(dedent(body).strip(), "    ") + "\n", "utf-8")
    return path
