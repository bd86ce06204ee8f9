"""A comparison as plain JSON data, described by compare_schema.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from knight.compare.comparison import Channels, Comparison, Layer, Rounding
from knight.compare.gates import Gate
from knight.compare.metrics import columns

VERSION = 1
"""Of the format; it grows when a key changes its meaning or goes."""


def to_json(comparison: Comparison, gates: Sequence[Gate] = ()) -> dict[str, Any]:
    """The whole comparison but its histograms; what is not known, NaN or infinite is None.

    gates: what came of the thresholds (see `gates.check`).
    """
    document = {
        "version": VERSION,
        "reference": comparison.reference,
        "result": comparison.result,
        "samples": comparison.samples,
        "calls": comparison.calls,
        "seconds": comparison.seconds,
        "summary": _summary(comparison, gates),
        "layers": [_layer(layer) for layer in comparison.layers],
        "unpaired": [asdict(unpaired) for unpaired in comparison.unpaired],
        "remedies": [asdict(remedy) for remedy in comparison.remedies],
        "mixed_precision": list(comparison.mixed_precision),
        "host": None if comparison.host is None else asdict(comparison.host),
        "warnings": list(comparison.warnings),
        "arguments": dict(comparison.arguments),
        "gates": [asdict(gate) for gate in gates],
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _summary(comparison: Comparison, gates: Sequence[Gate]) -> dict[str, Any]:
    by_cos = [(cos, layer.output) for layer in comparison.layers if (cos := _cos(layer)) is not None]
    lowest, lowest_layer = min(by_cos, key=lambda pair: pair[0], default=(None, None))
    worst = next(iter(comparison.guilty()), None)
    return {
        "layers": len(comparison.layers),
        "unpaired": len(comparison.unpaired),
        "output_sqnr": comparison.output_sqnr,
        "metric_float": comparison.metric_reference,
        "metric_quantized": comparison.metric_result,
        "loss": comparison.loss,
        "lowest_cos": lowest,
        "lowest_cos_layer": lowest_layer,
        "worst_own": worst.output if worst else None,
        "worst_own_sqnr": worst.own_sqnr if worst else None,
        "passed": all(gate.passed for gate in gates) if gates else None,
    }


def _cos(layer: Layer) -> float | None:
    value = layer.figures.get("cos")
    return value if value is not None and math.isfinite(value) else None


def _layer(layer: Layer) -> dict[str, Any]:
    cause = layer.cause
    return {
        "index": layer.index,
        "op_type": layer.op_type,
        "name": layer.name,
        "output": layer.output,
        "quantized_output": layer.quantized_output,
        "shape": layer.shape,
        **{key: layer.figures.get(key) for key in columns()},
        "own_sqnr": layer.own_sqnr,
        "own_missing": layer.own_missing,
        "best_sqnr": layer.best_sqnr,
        "broken": layer.broken,
        "clipped": layer.clipped,
        "minimum": layer.minimum,
        "maximum": layer.maximum,
        "rounding": _rounding(layer.rounding),
        "cause": cause.text if cause else None,
        "cause_kind": cause.kind if cause else None,
        "fault": layer.at_fault,
        "remedy": cause.remedy if cause else None,
        "gain_db": cause.gain_db if cause else None,
        "outlier_channels": {
            "activations": _outliers(layer.channels),
            "weights": _outliers(layer.weights.channels if layer.weights else None),
        },
    }


def _rounding(rounding: Rounding | None) -> dict[str, Any] | None:
    return asdict(rounding) if rounding else None


def _outliers(channels: Channels | None) -> tuple[int, ...]:
    return channels.outliers if channels else ()


def _plain(value: Any) -> Any:
    """As JSON has it: numbers of numpy as Python's, sets and tuples as lists, anything else as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(entry) for entry in value]
    return str(value)
