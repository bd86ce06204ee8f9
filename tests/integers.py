"""What a QDQ model computes, stated in NumPy alone: sums of products of integers in int64.

Independent of ONNX Runtime and of its kernels. Conv, Gemm and MatMul whose operands are both integers are
``(sum (x - zx) (w - zw) + b) * sx * sw``; every other operator works on dequantized float32 numbers and is
run by ONNX's reference evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from knight import model as models


@dataclass(frozen=True)
class Integers:
    """A quantized tensor: ``scale * (q - zero_point)``, along `axis` where there is more than one scale."""

    q: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    @property
    def steps(self) -> np.ndarray:
        """q - zero_point, int64."""
        return self.q.astype(np.int64) - self._along(self.zero_point).astype(np.int64)

    @property
    def real(self) -> np.ndarray:
        """float32."""
        return (self.steps.astype(np.float32) * self._along(self.scale)).astype(np.float32)

    def _along(self, numbers: np.ndarray) -> np.ndarray:
        if numbers.size == 1:
            return numbers.reshape(())
        shape = [1] * self.q.ndim
        shape[self.axis] = -1
        return numbers.reshape(shape)


Value = np.ndarray | Integers


def outputs(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of one forward pass of a QDQ model."""
    proto = models.to_proto(model)
    values = _values(proto, feeds)
    for node, results in _computed(proto, values):
        values.update(zip(node.output, results, strict=False))
    return [_real(values[output.name]) for output in proto.graph.output]


def steps_apart(
    model: ir.Model, feeds: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Each QuantizeLinear by itself: how far its integers are from those `given`, which the next read."""
    proto = models.to_proto(model)
    values = _values(proto, feeds)
    for node, results in _computed(proto, values):
        if node.op_type == "QuantizeLinear":
            (stated,), (name,) = results, node.output
            yield name, np.abs(stated.astype(np.int32) - given[name].astype(np.int32))
            results = [given[name]]
        values.update(zip(node.output, results, strict=False))


def _values(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, Value]:
    """What is there before the first operator."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return {**constants, **feeds}


def _computed(
    proto: onnx.ModelProto, values: Mapping[str, Value]
) -> Iterator[tuple[onnx.NodeProto, list[Value]]]:
    """Each operator with its results from `values`, to which the caller adds what the next ones read."""
    for node in proto.graph.node:
        yield node, _run(node, [values[name] if name else None for name in node.input], proto)


def _run(node: onnx.NodeProto, inputs: list[Value | None], proto: onnx.ModelProto) -> list[Value]:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "DequantizeLinear":
        q, scale, zero = (*inputs, None)[:3]
        zero = np.zeros_like(scale, dtype=q.dtype) if zero is None else zero
        return [Integers(q, scale, zero, attributes.get("axis", 1))]
    if node.op_type == "QuantizeLinear":
        x, scale, zero = inputs
        limits = np.iinfo(zero.dtype)
        assert scale.size == 1
        steps = np.rint(_real(x) / scale.reshape(())) + zero.reshape(()).astype(np.float32)
        return [np.clip(steps, limits.min, limits.max).astype(zero.dtype)]
    if node.op_type in _PRODUCTS and isinstance(inputs[0], Integers) and isinstance(inputs[1], Integers):
        return [_PRODUCTS[node.op_type](inputs, attributes)]
    return _by_reference(node, [None if value is None else _real(value) for value in inputs], proto)


def _real(value: Value) -> np.ndarray:
    return value.real if isinstance(value, Integers) else value


def _by_reference(
    node: onnx.NodeProto, inputs: list[np.ndarray | None], proto: onnx.ModelProto
) -> list[Value]:
    given = {name: array for name, array in zip(node.input, inputs, strict=True) if array is not None}
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        ],
        [helper.make_tensor_value_info(name, 0, None) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=proto.opset_import)
    return list(ReferenceEvaluator(model).run(None, given))


def _rescaled(sums: np.ndarray, x: Integers, w: Integers, bias: Value | None, axis: int) -> np.ndarray:
    """Sums of products in real numbers; `axis` has the channels."""
    shape = [1] * sums.ndim
    shape[axis] = -1
    unit = x.scale.reshape(()).astype(np.float64) * w.scale.reshape(-1)
    if isinstance(bias, Integers):
        np.testing.assert_allclose(bias.scale.reshape(-1) * np.ones(unit.shape), unit, rtol=1e-6)
        sums = sums + bias.q.astype(np.int64).reshape(shape)
    real = sums * unit.reshape(shape)
    if isinstance(bias, np.ndarray):
        real = real + bias.reshape(shape)
    return real.astype(np.float32)


def _conv(inputs: list[Value | None], attributes: dict[str, object]) -> np.ndarray:
    x, w, bias = (*inputs, None)[:3]
    rank = w.q.ndim - 2
    group = attributes.get("group", 1)
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    assert attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    padded = np.pad(x.steps, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    kernel = w.q.shape[2:]
    window = [(side - 1) * dilation + 1 for side, dilation in zip(kernel, dilations, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, window, axis=tuple(range(2, 2 + rank)))
    step = [slice(None, None, stride) for stride in strides]
    dilate = [slice(None, None, dilation) for dilation in dilations]
    views = views[(slice(None), slice(None), *step, *dilate)]  # batch, channels, places, kernel
    batch, channels, *places = views.shape[: 2 + rank]
    views = views.reshape(batch, group, channels // group, *places, *kernel)
    order = (1, 0, *range(3, 3 + rank), 2, *range(3 + rank, 3 + 2 * rank))
    columns = views.transpose(order).reshape(group, batch * int(np.prod(places)), -1)
    weights = w.steps.reshape(group, w.q.shape[0] // group, -1).transpose(0, 2, 1)
    sums = (columns @ weights).reshape(group, batch, *places, -1)
    sums = sums.transpose(1, 0, sums.ndim - 1, *range(2, 2 + rank)).reshape(batch, w.q.shape[0], *places)
    return _rescaled(sums, x, w, bias, 1)


def _gemm(inputs: list[Value | None], attributes: dict[str, object]) -> np.ndarray:
    a, b, bias = (*inputs, None)[:3]
    assert attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
    left = a.steps.T if attributes.get("transA", 0) else a.steps
    right = b.steps.T if attributes.get("transB", 0) else b.steps
    return _rescaled(left @ right, a, b, bias, 1)


def _matmul(inputs: list[Value | None], attributes: dict[str, object]) -> np.ndarray:
    a, b = inputs
    return _rescaled(a.steps @ b.steps, a, b, None, -1)


_PRODUCTS = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}
