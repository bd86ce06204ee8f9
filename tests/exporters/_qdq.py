"""QDQ models written operator by operator, as a quantizer would write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from knight.outputs import RUNTIME


class Net:
    """Collects the operators of a graph; each method gives the name of the value that it makes.

    kind: of the activations' integers.
    """

    def __init__(self, kind: type[np.integer] = np.uint8, *, opset: int = 17, runtime: str = "onnxruntime"):
        self.kind = kind
        self.opset = opset
        self.runtime = runtime
        self.inputs: dict[str, Sequence[int]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def input(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = shape
        return name

    def constant(self, array: Any) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        number = len(self._nodes)
        names = [f"v{number}" if outputs == 1 else f"v{number}_{place}" for place in range(outputs)]
        self._nodes.append(helper.make_node(op_type, inputs, names, f"node{number}", **attributes))
        return names[0] if outputs == 1 else names

    def pair(self, value: str, scale: float = 0.02, zero: int | None = None, kind: Any = None) -> str:
        """QuantizeLinear and DequantizeLinear. zero: by default a little off the middle."""
        kind = kind or self.kind
        numbers = self.numbers(scale, (np.iinfo(kind).min + 120) if zero is None else zero, kind)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", value, *numbers), *numbers)

    def numbers(self, scale: Any, zero: Any, kind: Any) -> tuple[str, str]:
        return self.constant(np.asarray(scale, np.float32)), self.constant(np.asarray(zero, kind))

    def fed(self, *shape: int, **pair: Any) -> str:
        """A quantized input."""
        return self.pair(self.input(*shape), **pair)

    def weight(
        self,
        *shape: int,
        axis: int | None = None,
        kind: Any = np.int8,
        zero: int = 0,
        scale: float = 0.01,
        seed: int = 1,
    ) -> str:
        """Integers behind a DequantizeLinear; with `axis` each channel has a scale of its own."""
        held = np.iinfo(kind)
        integers = np.random.default_rng(seed).integers(held.min, held.max, shape, endpoint=True).astype(kind)
        if axis is None:
            return self.op("DequantizeLinear", self.constant(integers), *self.numbers(scale, zero, kind))
        scales = scale * np.linspace(0.5, 1.5, shape[axis])
        numbers = self.numbers(scales, np.full(shape[axis], zero), kind)
        return self.op("DequantizeLinear", self.constant(integers), *numbers, axis=axis)

    def bias(self, channels: int, *, unit: Any) -> str:
        """int32 numbers in units of `unit`."""
        unit = np.asarray(unit, np.float32)
        integers = np.random.default_rng(2).integers(-3000, 3000, channels).astype(np.int32)
        numbers = self.constant(unit), self.constant(np.zeros(unit.shape, np.int32))
        attributes = {"axis": 0} if unit.ndim else {}
        return self.op("DequantizeLinear", self.constant(integers), *numbers, **attributes)

    def model(self, *outputs: str, kind: int = TensorProto.FLOAT) -> ir.Model:
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info(*item) for item in self._typed()],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs],
            self._constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))
        model.metadata_props[RUNTIME] = self.runtime
        return model

    def _typed(self) -> list[tuple[str, int, Sequence[int]]]:
        return [(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()]

    def feeds(self, seed: int = 5) -> dict[str, np.ndarray]:
        """Numbers that fill most of the integers of `pair`, and some beyond them."""
        random = np.random.default_rng(seed)
        return {
            name: random.uniform(-3, 3.2, shape).astype(np.float32) for name, shape in self.inputs.items()
        }
