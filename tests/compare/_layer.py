"""One Conv of 1x1, in float and quantized by hand, so that each of its numbers can be made wrong alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from knight.compare.comparison import Comparison, Layer
from knight.compare.models import Options, compare_models
from knight.executor import RunSettings
from knight.feeding import counted

FLOAT = TensorProto.FLOAT


@dataclass(frozen=True)
class Lone:
    """y = weight x + bias: x (1, I, H, W), weight (O, I), bias (O,).

    stored, steps: the int8 weight and its scales, (O,) or (1,). bias_stored, bias_steps: int32 (O,) and (O,).
    scale, zero, read: of the uint8 output as it is written, and read; a scale of None leaves it in float.
    """

    weight: np.ndarray
    bias: np.ndarray
    calls: Sequence[np.ndarray]
    stored: np.ndarray
    steps: np.ndarray
    bias_stored: np.ndarray
    bias_steps: np.ndarray
    scale: float | None = None
    zero: int = 0
    read: float | None = None

    def outputs(self) -> list[np.ndarray]:
        """What the float layer gives, in float64."""
        return [
            np.einsum("oi,bihw->bohw", self.weight.astype(np.float64), call) + self.bias.reshape(1, -1, 1, 1)
            for call in self.calls
        ]

    def rounded_to(self, low: float, high: float) -> Lone:
        """The same layer with an output of 255 steps from `low` to `high`."""
        scale = (high - low) / 255
        return replace(self, scale=scale, zero=int(np.clip(np.rint(-low / scale), 0, 255)))

    def rounded_to_all(self, factor: float = 1.0) -> Lone:
        """The same with an output range of all that occurs, times `factor`."""
        numbers = np.concatenate([output.reshape(-1) for output in self.outputs()])
        return self.rounded_to(factor * min(0.0, numbers.min()), factor * max(0.0, numbers.max()))

    def float_model(self) -> ir.Model:
        """x, Conv, y."""
        weights = {"w": self._kernel(self.weight), "b": self.bias}
        return self._model([helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")], weights, "y")

    def quantized_model(self) -> ir.Model:
        """x, Conv of a dequantized weight and bias, QuantizeLinear, DequantizeLinear."""
        many = self.steps.size > 1
        axis = {"axis": 0} if many else {}
        weights = {
            "wq": self._kernel(self.stored),
            "ws": self.steps.astype(np.float32) if many else np.float32(self.steps[0]),
            "bq": self.bias_stored,
            "bs": self.bias_steps.astype(np.float32),
        }
        nodes = [
            helper.make_node("DequantizeLinear", ["wq", "ws"], ["w"], "wdq", **axis),
            helper.make_node("DequantizeLinear", ["bq", "bs"], ["b"], "bdq", axis=0),
            helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv"),
        ]
        if self.scale is None:
            return self._model(nodes, weights, "y")
        read = self.scale if self.read is None else self.read
        weights |= {"s": np.float32(self.scale), "r": np.float32(read), "z": np.uint8(self.zero)}
        nodes += [
            helper.make_node("QuantizeLinear", ["y", "s", "z"], ["yq"], "q"),
            helper.make_node("DequantizeLinear", ["yq", "r", "z"], ["yr"], "dq"),
        ]
        return self._model(nodes, weights, "yr")

    def compare(self) -> Comparison:
        """The two models side by side, over all calls."""
        infer, count = counted(list(self.calls))
        return compare_models(
            self.float_model(),
            self.quantized_model(),
            infer,
            RunSettings(iteration=count or 1),
            options=Options(remedies=False, threads=1),
        )

    def layer(self) -> Layer:
        """The Conv's row."""
        (found,) = (layer for layer in self.compare().layers if layer.op_type == "Conv")
        return found

    @staticmethod
    def _kernel(array: np.ndarray) -> np.ndarray:
        return array.reshape(*array.shape, 1, 1)

    def _model(self, nodes: list[object], weights: dict[str, np.ndarray], output: str) -> ir.Model:
        shape = self.calls[0].shape
        tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
        graph = helper.make_graph(
            nodes,
            "lone",
            [helper.make_tensor_value_info("x", FLOAT, shape)],
            [helper.make_tensor_value_info(output, FLOAT, (1, self.weight.shape[0], *shape[2:]))],
            tensors,
        )
        return ir.from_proto(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        )


def lone(
    weight: np.ndarray, bias: np.ndarray, calls: Sequence[np.ndarray], *, per_channel: bool = True
) -> Lone:
    """A layer whose weight and bias are quantized as well as 8 and 32 bits allow."""
    weight = weight.astype(np.float32)
    reach = np.abs(weight).max(axis=1)
    steps = (reach if per_channel else np.array([reach.max()])) / 127
    stored = np.rint(weight / steps[:, None]).astype(np.int8)
    bias_steps = np.broadcast_to(steps / 255, bias.shape).copy()
    return Lone(
        weight,
        bias.astype(np.float32),
        [call.astype(np.float32) for call in calls],
        stored,
        steps,
        np.rint(bias / bias_steps).astype(np.int32),
        bias_steps,
    )
