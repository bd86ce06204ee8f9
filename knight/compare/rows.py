"""The rows of a comparison: each paired value, where to look for it, and what is summed up of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from knight.compare.comparison import Rounding
from knight.compare.own import Own, Samples
from knight.compare.pairing import Pairing
from knight.compare.tally import Tally
from knight.model import name_of, values as all_values
from knight.outputs import output_scales
from knight.qdq.graph import DEQUANTIZE, Graph, Quantizer, Unit, evaluate
from knight.qdq.numbers import Tap

_CHANNELS_FIRST = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"})


@dataclass
class Row:
    """One paired value: its place in both models and what has been summed up of it.

    bounds: of the float model's Relu and Clip that the quantized one leaves to the saturation of integers.
    """

    root: ir.Value
    twin: ir.Value
    unit: Unit
    tap: str | Tap
    quantizer: Quantizer | None
    rounding: Rounding | None
    own: Own
    bounds: tuple[float, float] = (-np.inf, np.inf)
    tally: Tally = field(default_factory=Tally)
    samples: Samples = field(default_factory=Samples)
    shape: tuple[int, ...] | None = None
    own_missing: str | None = None
    mismatch: str | None = None

    @property
    def tapped(self) -> str:
        """Name of the value of the quantized model that is looked at."""
        return self.tap if isinstance(self.tap, str) else self.tap.name

    def real(self, array: np.ndarray) -> np.ndarray:
        """The numbers that what is looked at stands for."""
        return array if isinstance(self.tap, str) else self.tap.real(array)

    @property
    def exact(self) -> bool:
        """Nothing is done to the value: it is an input that stays as it is."""
        return not self.unit.nodes and self.quantizer is None

    @property
    def op_type(self) -> str:
        """The operator that names the row."""
        return "Input" if self.unit.main is None else self.unit.main.op_type


def rows_of(pairing: Pairing, source: ir.Model) -> list[Row]:
    """A row for each value that both models have; `source` is the quantized model as it runs."""
    graph = pairing.result
    present = {value.name for value in all_values(source.graph)}
    scales = output_scales(source)
    paired = [value for value in graph.rows() if value in pairing.pairs]
    known = set(paired)
    numbers = _rounding_numbers(graph)
    rows = []
    for value in paired:
        unit = graph.unit(value, known)
        quantizer = graph.quantizers.get(value)
        rounding = None if quantizer is None else _rounding(quantizer, numbers)
        axis = _channel_axis(unit, pairing.pairs[value])
        own = Own(axis, *((rounding.low, rounding.high) if rounding is not None else ()))
        tap = _tap(graph, value, quantizer, present, scales, numbers)
        bounds = _bounds(pairing, value)
        row = Row(value, pairing.pairs[value], unit, tap, quantizer, rounding, own, bounds)
        if unit.has_body:
            row.own_missing = "an operator with a body of its own (If, Loop, Scan)"
        elif any(root not in known for root in unit.frontier):
            row.own_missing = "an input that has no twin in the float model"
        rows.append(row)
    return rows


def _bounds(pairing: Pairing, value: ir.Value) -> tuple[float, float]:
    """Least and greatest number that the Relu and Clip let through which `value` stands behind."""
    low, high = -np.inf, np.inf
    for node in pairing.saturated(value):
        if node.op_type == "Relu":
            low = max(low, 0.0)
            continue
        for place, name in ((1, "min"), (2, "max")):
            bound = node.inputs[place] if len(node.inputs) > place else None
            if bound is None or bound not in pairing.reference.constant:
                number = node.attributes.get_float(name, -np.inf if place == 1 else np.inf)
            else:
                number = float(evaluate(pairing.reference, [bound])[name_of(bound)])
            low, high = (max(low, number), high) if place == 1 else (low, min(high, number))
    return low, high


def _rounding_numbers(graph: Graph) -> dict[str, np.ndarray]:
    """Scales and zero points of all quantizers, by name."""
    wanted: dict[ir.Value, None] = {}
    for quantizer in graph.quantizers.values():
        for node in (quantizer.quantize, quantizer.dequantize):
            for value in () if node is None else node.inputs[1:]:
                if value is not None and value in graph.constant:
                    wanted[value] = None
    return evaluate(graph, list(wanted))


def _number(node: ir.Node | None, index: int, numbers: Mapping[str, np.ndarray]) -> np.ndarray | None:
    value = node.inputs[index] if node is not None and len(node.inputs) > index else None
    return None if value is None else numbers.get(name_of(value))


def _rounding(quantizer: Quantizer, numbers: Mapping[str, np.ndarray]) -> Rounding | None:
    """None where the scale is computed from the data, or is one per channel."""
    scale = _number(quantizer.quantize, 1, numbers)
    if scale is None or scale.size != 1:
        return None
    stored = quantizer.quantize.outputs[0].dtype
    zero = _number(quantizer.quantize, 2, numbers)
    dtype = zero.dtype if zero is not None else stored.numpy() if stored is not None else np.dtype(np.uint8)
    if dtype.kind not in "iu":  # float8 and other formats without a grid of integers
        return None
    limits, point = np.iinfo(dtype), 0 if zero is None else int(zero.reshape(-1)[0])
    step = float(scale.reshape(-1)[0])
    back = _number(quantizer.dequantize, 1, numbers)
    other = float(back.reshape(-1)[0]) if back is not None and back.size == 1 else step
    return Rounding(
        scale=step,
        zero_point=point,
        bits=limits.bits,
        low=step * (int(limits.min) - point),
        high=step * (int(limits.max) - point),
        read_scale=None if other == step else other,
    )


def _channel_axis(unit: Unit, twin: ir.Value) -> int | None:
    main = unit.main
    rank = None if twin.shape is None else len(twin.shape)
    if main is not None and main.op_type in _CHANNELS_FIRST:
        return 1
    if rank is None:
        return None
    return 1 if rank >= 4 else rank - 1 if rank >= 2 else None


def _tap(
    graph: Graph,
    value: ir.Value,
    quantizer: Quantizer | None,
    present: set[str | None],
    scales: Mapping[str, Mapping[str, float]],
    numbers: Mapping[str, np.ndarray],
) -> str | Tap:
    """What of the source model to look at for `value`: what its readers read."""
    name = name_of(value)
    if quantizer is not None:
        integers = quantizer.quantize.outputs[0]
        for node, _ in integers.uses():
            if node.op_type == DEQUANTIZE and node.outputs[0].name in present:
                return name_of(node.outputs[0])
        scale, zero = (_number(quantizer.quantize, index, numbers) for index in (1, 2))
        if integers.name in present and scale is not None:
            point = np.zeros(scale.shape, np.int32) if zero is None else zero.astype(np.int32)
            axis = quantizer.quantize.attributes.get_int("axis", 1) if scale.size > 1 else None
            return Tap(name_of(integers), scale, point, axis)
    if name in scales:
        given = scales[name]
        return Tap(
            name, np.asarray(given["scale"], np.float32), np.asarray(int(given["zero_point"]), np.int32)
        )
    return name
