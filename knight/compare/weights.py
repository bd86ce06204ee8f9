"""A layer's weight and bias in both models: by how much each channel differs, and in which way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from knight import operators
from knight.compare.comparison import Channels, HistogramPair, LayerWeights
from knight.model import name_of
from knight.qdq.graph import DEQUANTIZE, Graph, Unit, evaluate

Array = NDArray[np.float64]

BINS = 64
_SAMPLED = 1 << 16  # elements of a weight that its histogram is drawn from
_OUTLIER = 6.0
"""A channel stands out when it reaches this many times as far as the middle one of its tensor."""


@dataclass(frozen=True)
class Constants:
    """The weight of one layer, and its bias where it has one.

    name: of the weight in the quantized model. reference, result: its numbers in both models. axis: of
    the output channels. bits: of the stored weight. bias, bias_result: the bias, None without one.
    saturated: elements of the integer bias at the end of their range. bias_step: its largest scale.
    per_channel: one scale each.
    """

    name: str
    reference: np.ndarray
    result: np.ndarray
    axis: int
    bits: int
    per_channel: bool
    bias: Array | None = None
    bias_result: Array | None = None
    saturated: int = 0
    bias_step: float = 0.0

    def rows(self) -> tuple[Array, Array]:
        """Both weights as (channels, elements per channel)."""
        left, right = (
            np.moveaxis(array.astype(np.float64), self.axis, 0).reshape(array.shape[self.axis], -1)
            for array in (self.reference, self.result)
        )
        return left, right

    def factors(self) -> Array:
        """(channels,): by which number the result's channel is the reference's; NaN for channels of zeros."""
        left, right = self.rows()
        energy = (left * left).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = np.where(energy > 0, (left * right).sum(axis=1) / energy, np.nan)
        return found

    def noise_ratio(self) -> Array:
        """(channels,): energy of the difference over that of the reference."""
        left, right = self.rows()
        energy, noise = (left * left).sum(axis=1), ((right - left) ** 2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = np.where(energy > 0, noise / energy, np.where(noise > 0, np.inf, 0.0))
        return found

    def expected_noise(self) -> float:
        """Energy of the difference that rounding to `bits` costs with the best simple scales."""
        left, _ = self.rows()
        reach = np.abs(left).max(axis=1, initial=0.0)
        if not self.per_channel:
            reach = np.full(reach.shape, reach.max(initial=0.0))
        step = reach / (2 ** (self.bits - 1) - 1)
        return float(np.sum(step * step / 12) * left.shape[1])

    def noise(self) -> float:
        """Energy of the difference."""
        left, right = self.rows()
        return float(((right - left) ** 2).sum())


def constants(reference: Graph, result: Graph, pairs: list[tuple[Unit, Unit]]) -> list[Constants | None]:
    """What the main operators of units (of the quantized and the float model) multiply with and add.

    None where either has no constant weight, or one of another shape.
    """
    return [_constants(reference, result, unit, twin) for unit, twin in pairs]


_PRODUCTS = frozenset({"Gemm", "MatMul"})


def _same_kind(node: ir.Node, twin: ir.Node) -> bool:
    """Both multiply in the same way; a Gemm may stand for MatMul and Add."""
    return node.op_type == twin.op_type or {node.op_type, twin.op_type} == _PRODUCTS


def _axis(node: ir.Node, index: int, rank: int) -> int:
    """The output channels' axis of the weight at `index`."""
    if node.op_type == "MatMul":
        return max(0, rank - 1 if index == 1 else rank - 2)
    if node.op_type == "Gemm":
        return int(index == 1) ^ node.attributes.get_int("transB" if index == 1 else "transA", 0)
    return operators.channel_axis(node, index) or 0


def _weight(graph: Graph, node: ir.Node | None) -> ir.Value | None:
    if node is None or node.op_type not in operators.ACCUMULATES:
        return None
    return next((value for value in node.inputs[:2] if value is not None and value in graph.constant), None)


def _constants(reference: Graph, result: Graph, unit: Unit, twin: Unit) -> Constants | None:
    here, there = _weight(result, unit.main), _weight(reference, twin.main)
    if unit.main is None or twin.main is None or here is None or there is None:
        return None
    numbers, wanted = (
        evaluate(graph, [value])[name_of(value)] for graph, value in ((result, here), (reference, there))
    )
    axis = _axis(unit.main, list(unit.main.inputs).index(here), numbers.ndim)
    if wanted.ndim == 2 and axis != _axis(twin.main, list(twin.main.inputs).index(there), 2):
        wanted = wanted.T
    if not _same_kind(unit.main, twin.main) or numbers.shape != wanted.shape:
        return None
    dequantize = _dequantize(here)
    scale = dequantize.inputs[1] if dequantize is not None else None
    stored = dequantize.inputs[0] if dequantize is not None else None
    size = 1 if scale is None else int(np.prod(evaluate(result, [scale])[name_of(scale)].shape))
    bias, bias_result, stored_bias = _biases(reference, result, unit, twin)
    return Constants(
        name_of(here),
        wanted,
        numbers,
        axis,
        8 if stored is None or stored.dtype is None else stored.dtype.bitwidth,
        size > 1,
        bias,
        bias_result,
        0 if stored_bias is None else _saturated(result, stored_bias.inputs[0]),
        0.0 if stored_bias is None else _largest(result, stored_bias.inputs[1]),
    )


def _dequantize(value: ir.Value) -> ir.Node | None:
    """The DequantizeLinear behind which a constant stands, through operators that only move it."""
    node = value.producer()
    while node is not None and node.op_type != DEQUANTIZE:
        first = node.inputs[0] if node.inputs else None
        node = first.producer() if first is not None else None
    return node


def _biases(
    reference: Graph, result: Graph, unit: Unit, twin: Unit
) -> tuple[Array | None, Array | None, ir.Node | None]:
    """The biases in both models, and the DequantizeLinear of the quantized one."""
    stored = _bias(result, unit)
    wanted, got = (
        _flat(graph, value) for graph, value in ((reference, _bias(reference, twin)), (result, stored))
    )
    if wanted is not None and got is None:
        got = np.zeros_like(wanted)
    if wanted is None or got is None or wanted.shape != got.shape:
        return None, None, None
    return wanted, got, None if stored is None else _dequantize(stored)


def _bias(graph: Graph, unit: Unit) -> ir.Value | None:
    """The constant that the unit's main operator adds, or an Add right behind it."""
    main = unit.main
    assert main is not None
    value = operators.bias(main)
    if value is not None:
        return value if value in graph.constant else None
    for node in unit.nodes:
        if node.op_type == "Add" and main.outputs[0] in node.inputs:
            return next((other for other in node.inputs if other in graph.constant), None)
    return None


def _flat(graph: Graph, value: ir.Value | None) -> Array | None:
    if value is None:
        return None
    return evaluate(graph, [value])[name_of(value)].astype(np.float64).reshape(-1)


def _saturated(graph: Graph, stored: ir.Value | None) -> int:
    if stored is None:
        return 0
    integers = evaluate(graph, [stored])[name_of(stored)]
    if integers.dtype.kind not in "iu":
        return 0
    limits = np.iinfo(integers.dtype)
    return int(np.count_nonzero((integers <= limits.min + 1) | (integers == limits.max)))


def _largest(graph: Graph, scale: ir.Value | None) -> float:
    return 0.0 if scale is None else float(evaluate(graph, [scale])[name_of(scale)].max())


def described(found: Constants) -> LayerWeights:
    """The figures of a weight, for tables and plots."""
    left, _ = found.rows()
    ratio = found.noise_ratio()
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr = np.where((left != 0).any(axis=1), np.clip(-10 * np.log10(ratio), -200, 200), np.nan)
    low, high = left.min(axis=1, initial=0.0), left.max(axis=1, initial=0.0)
    channels = Channels(low, high, sqnr, outliers(np.maximum(high, -low)))
    return LayerWeights(
        found.name,
        found.bits,
        tuple(found.reference.shape),
        found.per_channel,
        channels,
        histogram(found.reference, found.result),
    )


def outliers(reach: Array) -> tuple[int, ...]:
    """Channels that reach far beyond the middle one, farthest first."""
    used = reach[reach > 0]
    if used.size < 4:
        return ()
    limit = _OUTLIER * float(np.median(used))
    return tuple(int(index) for index in np.argsort(-reach, kind="stable") if reach[index] > limit)


def histogram(reference: np.ndarray, result: np.ndarray) -> HistogramPair | None:
    """Common bins over two arrays, sampled; None where there is nothing finite."""
    left, right = (array.reshape(-1) for array in (reference, result))
    step = max(1, left.size // _SAMPLED)
    left, right = (array[::step].astype(np.float64) for array in (left, right))
    left, right = left[np.isfinite(left)], right[np.isfinite(right)]
    if not left.size or not right.size:
        return None
    low, high = min(left.min(), right.min()), max(left.max(), right.max())
    with np.errstate(over="ignore"):  # what overflows is looked at below
        if not low < high or not np.isfinite(high - low):
            low, high = low - max(abs(low), 1e-12) / 2, high + max(abs(high), 1e-12) / 2
        if not np.isfinite(high - low) or not high - low > 0:
            return None
    edges = np.linspace(low, high, BINS + 1)
    return HistogramPair(edges, np.histogram(left, edges)[0], np.histogram(right, edges)[0])
