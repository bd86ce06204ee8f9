"""A net that was trained with quantization in it: its scales stand in the result.

    python examples/qdq/blinks.py out/blinks.onnx
    knight --chip onnxruntime quant -m out/blinks.onnx --dry-run
    knight --chip onnxruntime quant -m out/blinks.onnx -uds examples/qdq/blinks.py -if infer_blinks -i 50 \\
        --save-dir out

The first line writes the net as a framework exports it after such a training: QuantizeLinear and
DequantizeLinear around every value, and weights as floats that lie on their own grid. `knight quant` says
that it is quantized already, and keeps the scales that the training found; with --recalibrate it finds new
ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from knight import onnx_infer_func

SCALES = {"signal": 1 / 32, "edges": 1 / 16, "energy": 1 / 32, "scores": 1 / 8}
"""Value -> the step that its training settled on."""
STEP = 1 / 64  # of the weights


def write(path: Path) -> None:
    """signal [N, 1, 32] -> Conv, Relu, mean over time, Gemm -> scores [N, 2]: without a blink, with one."""
    edge = np.array([[[-1, -1, 1, 1]], [[1, 1, -1, -1]]], np.float32) / 2
    weights = {"kernel": edge, "head": np.array([[-1, 1], [-1, 1]], np.float32)}
    constants = {"bias": np.array([0.75, -0.75], np.float32), "axes": np.array([2])}
    nodes = []

    def rounded(name: str, step: float, *, signed: bool = True) -> str:
        constants[f"{name}_step"] = np.array(step, np.float32)
        constants[f"{name}_zero"] = np.array(0, np.int8 if signed else np.uint8)
        numbers = [f"{name}_step", f"{name}_zero"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *numbers], [f"{name}_integers"]))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}_integers", *numbers], [f"{name}_rounded"])
        )
        return f"{name}_rounded"

    for name, array in weights.items():
        constants[name] = (np.rint(array / STEP) * STEP).astype(np.float32)
    inputs = [rounded("signal", SCALES["signal"]), rounded("kernel", STEP)]
    nodes.append(helper.make_node("Conv", inputs, ["conv"], "conv"))
    nodes.append(helper.make_node("Relu", ["conv"], ["edges"], "relu"))
    nodes.append(
        helper.make_node(
            "ReduceMax", [rounded("edges", SCALES["edges"]), "axes"], ["energy"], "peak", keepdims=0
        )
    )
    inputs = [rounded("energy", SCALES["energy"]), rounded("head", STEP), "bias"]
    nodes.append(helper.make_node("Gemm", inputs, ["scores"], "head"))
    graph = helper.make_graph(
        nodes,
        "blinks",
        [helper.make_tensor_value_info("signal", TensorProto.FLOAT, ["N", 1, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def recording(seed: int) -> tuple[np.ndarray, int]:
    """float32 [1, 1, 32], and whether somebody blinks in it."""
    generator = np.random.default_rng(seed)
    signal = generator.normal(0, 0.05, 32)
    blinks = seed % 2
    if blinks:
        start = generator.integers(4, 20)
        signal[start : start + 6] += 1.0
    return signal[None, None].astype(np.float32), blinks


@onnx_infer_func.register("infer_blinks")
def infer_blinks(executor):
    """Accuracy in percent over `iteration` recordings."""
    right = 0
    for seed in range(executor.iteration):
        signal, blinks = recording(seed)
        right += int(executor.forward(signal)[0].argmax() == blinks)
    return 100.0 * right / executor.iteration


if __name__ == "__main__":
    write(Path(sys.argv[1]))
