"""One small net as the tools write it that are not installed: TensorFlow, NNCF, NVIDIA's toolkit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from tests.compare._tools import net

SHAPE = (1, 3, 8, 8)
_RANDOM = np.random.default_rng(5)
WEIGHTS = {
    "w1": _RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "w2": _RANDOM.normal(size=(4, 4, 1, 1)).astype(np.float32),
    "b1": _RANDOM.normal(size=4).astype(np.float32),
}


def node(op_type: str, inputs: str, outputs: str, name: str = "", **attributes: object) -> onnx.NodeProto:
    made = outputs.split()
    return helper.make_node(op_type, inputs.split(), made, name or f"{op_type}_{made[0]}", **attributes)


def pair(
    value: str, numbers: str, made: tuple[str, str], name: str = "", **attributes: object
) -> list[onnx.NodeProto]:
    """value -> made, by the initializers {numbers}_s and {numbers}_z."""
    stated = f"{numbers}_s {numbers}_z"
    return [
        node("QuantizeLinear", f"{value} {stated}", made[0], f"{name}QuantizeLinear_{value}", **attributes),
        node(
            "DequantizeLinear",
            f"{made[0]} {stated}",
            made[1],
            f"{name}DequantizeLinear_{value}",
            **attributes,
        ),
    ]


def numbers(name: str, scale: float | np.ndarray, zero: int, dtype: type = np.uint8) -> dict[str, np.ndarray]:
    scale = np.asarray(scale, np.float32)
    return {f"{name}_s": scale, f"{name}_z": np.full(scale.shape, zero, dtype)}


def _channels(weight: np.ndarray, axis: int = 0, top: int = 127) -> np.ndarray:
    others = tuple(each for each in range(weight.ndim) if each != axis)
    return np.abs(weight).max(axis=others) / top


def tensorflow() -> ir.Model:
    """tf2onnx: FakeQuant as a pair of uint8; weights as HWIO floats, rounded, then transposed."""
    hwio = WEIGHTS["w1"].transpose(2, 3, 1, 0)
    weights = {
        **numbers("x", 0.04, 128),
        **numbers("r", 6 / 255, 0),
        **numbers("w", float(np.abs(hwio).max()) / 127, 127),
        **numbers("y", 0.05, 120),
        "net/conv/kernel": hwio,
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    nodes = [
        *pair("x", "x", ("x_q", "net/x/FakeQuantWithMinMaxVars:0")),
        *pair("net/conv/kernel", "w", ("w_q", "net/conv/FakeQuantWithMinMaxVars:0")),
        node("Transpose", "net/conv/FakeQuantWithMinMaxVars:0", "w_t", perm=[3, 2, 0, 1]),
        node("Conv", "net/x/FakeQuantWithMinMaxVars:0 w_t", "net/conv:0", pads=[1] * 4),
        node("Clip", "net/conv:0 zero six", "net/relu6:0"),
        *pair("net/relu6:0", "r", ("r_q", "r_r")),
        node("GlobalAveragePool", "r_r", "net/pool:0"),
        *pair("net/pool:0", "y", ("y_q", "y")),
    ]
    return _named(net(nodes, weights, inputs={"x": SHAPE}, outputs=["y"]), "tf2onnx")


def nncf() -> ir.Model:
    """NNCF: float weights, cut and rounded per channel to half the range; a Concat's inputs rounded twice."""
    weights = {
        **WEIGHTS,
        **numbers("x", 0.04, 128),
        **numbers("c1", 0.11, 100),
        **numbers("c2", 0.2, 130),
        **numbers("both", 0.25, 128),
        **numbers("w1", _channels(WEIGHTS["w1"], top=63), 0, np.int8),
        **numbers("w2", _channels(WEIGHTS["w2"], top=63), 0, np.int8),
        "low": np.float32(-1),
        "high": np.float32(1),
    }
    nodes = [
        *pair("x", "x", ("q_output_x", "dq_output_x")),
        node("Clip", "w1 low high", "w1_cut"),
        *pair("w1_cut", "w1", ("q_output_w1", "dq_output_w1"), axis=0),
        *pair("w2", "w2", ("q_output_w2", "dq_output_w2"), axis=0),
        node("Conv", "dq_output_x dq_output_w1 b1", "c1", pads=[1] * 4),
        *pair("c1", "c1", ("q_output_c1", "dq_output_c1")),
        node("Conv", "dq_output_c1 dq_output_w2", "c2"),
        *pair("c2", "c2", ("q_output_c2", "dq_output_c2")),
        *pair("dq_output_c1", "both", ("q_output_c1_1", "dq_output_c1_1"), "again_"),
        *pair("dq_output_c2", "both", ("q_output_c2_1", "dq_output_c2_1"), "again_"),
        node("Concat", "dq_output_c1_1 dq_output_c2_1", "y", "join", axis=1),
    ]
    return _named(net(nodes, weights, inputs={"x": SHAPE}, outputs=["y"]), "")


def nvidia() -> ir.Model:
    """NVIDIA's toolkit: symmetric int8, a pair of its own before each reader, sums of what is not rounded."""
    weights = {
        **WEIGHTS,
        **numbers("x", 0.03, 0, np.int8),
        **numbers("c", 0.1, 0, np.int8),
        **numbers("d", 0.12, 0, np.int8),
        **numbers("w1", _channels(WEIGHTS["w1"]), 0, np.int8),
        **numbers("w2", _channels(WEIGHTS["w2"]), 0, np.int8),
    }
    first, second, third = "/conv1", "/conv2", "/conv3"
    w1, w2 = "/conv1/weight_quantizer", "/conv2/weight_quantizer"
    nodes = [
        *pair("x", "x", (f"{first}/q", f"{first}/dq"), "/conv1/input_quantizer/"),
        *pair("w1", "w1", (f"{w1}/q", f"{w1}/dq"), f"{w1}/", axis=0),
        *pair("w2", "w2", (f"{w2}/q", f"{w2}/dq"), f"{w2}/", axis=0),
        node("Conv", f"{first}/dq {w1}/dq b1", "/conv1/out", pads=[1] * 4),
        *pair("/conv1/out", "c", (f"{second}/q", f"{second}/dq"), "/conv2/input_quantizer/"),
        node("Conv", f"{second}/dq {w2}/dq", "/conv2/out"),
        *pair("/conv1/out", "d", (f"{third}/q", f"{third}/dq"), "/conv3/input_quantizer/"),
        node("Conv", f"{third}/dq {w2}/dq", "/conv3/out"),
        node("Add", "/conv1/out /conv2/out", "sum"),
        node("Add", "sum /conv3/out", "y"),
    ]
    return _named(net(nodes, weights, inputs={"x": SHAPE}, outputs=["y"]), "pytorch")


def _named(model: ir.Model, producer: str) -> ir.Model:
    model.producer_name = producer
    return model


WRITINGS: Sequence[Callable[[], ir.Model]] = (tensorflow, nncf, nvidia)
