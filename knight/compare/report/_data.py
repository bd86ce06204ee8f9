"""A comparison as the JSON that the page reads: short, without NaN, safe inside a script element."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from knight.compare.comparison import Comparison, Layer, LayerWeights
from knight.compare.metrics import Column, columns
from knight.compare.report._arrays import channel_limit, channels, histogram, plain, short

GUILTY = 10
"""Layers named at the top of the page."""

_SAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""Neither ``</script>`` nor ``<!--`` may stand in a script element; escaped, JSON strings read the same."""


def as_json(comparison: Comparison) -> str:
    """The data of the page, to stand between script tags."""
    text = json.dumps(page(comparison), separators=(",", ":"), allow_nan=False)
    for character, escape in _SAFE.items():
        text = text.replace(character, escape)
    return text


def page(comparison: Comparison) -> dict[str, Any]:
    """What the page shows. `guilty` holds positions in `layers`, worst first."""
    shown = {key: column for key, column in columns().items() if _has(comparison.layers, key)}
    limit = channel_limit(comparison.layers)
    position = {id(layer): place for place, layer in enumerate(comparison.layers)}
    return {
        "reference": comparison.reference,
        "result": comparison.result,
        "samples": comparison.samples,
        "calls": comparison.calls,
        "seconds": short(comparison.seconds),
        "metric_reference": short(comparison.metric_reference, 7),
        "metric_result": short(comparison.metric_result, 7),
        "loss": short(comparison.loss, 7),
        "output_sqnr": short(comparison.output_sqnr, 7),
        "columns": [_column(key, column) for key, column in shown.items()],
        "layers": [_layer(layer, list(shown), limit) for layer in comparison.layers],
        "guilty": [position[id(layer)] for layer in comparison.guilty()[:GUILTY]],
        "unpaired": [asdict(value) for value in comparison.unpaired],
        "remedies": [{**asdict(remedy), "gain_db": short(remedy.gain_db)} for remedy in comparison.remedies],
        "mixed_precision": plain(comparison.mixed_precision),
        "warnings": list(comparison.warnings),
        "arguments": plain(comparison.arguments),
    }


def _has(layers: Sequence[Layer], key: str) -> bool:
    return any(key in layer.figures for layer in layers)


def _column(key: str, column: Column) -> dict[str, Any]:
    return {"key": key, **asdict(column)}


def _layer(layer: Layer, keys: Sequence[str], limit: int) -> dict[str, Any]:
    """What is None is left out: the page reads what is missing as such."""
    found = {
        "index": layer.index,
        "op": layer.op_type,
        "name": layer.name,
        "output": layer.output,
        "quantized": layer.quantized_output,
        "shape": list(layer.shape),
        "figures": [short(layer.figures.get(key), 7) for key in keys],
        "accumulated": short(layer.sqnr),
        "own": short(layer.own_sqnr),
        "missing": layer.own_missing,
        "best": short(layer.best_sqnr),
        "broken": layer.broken or None,
        "rounding": _scalars(asdict(layer.rounding)) if layer.rounding else None,
        "clipped": short(layer.clipped),
        "minimum": short(layer.minimum),
        "maximum": short(layer.maximum),
        "cause": _scalars(asdict(layer.cause)) if layer.cause else None,
        "histogram": histogram(layer.histogram),
        "channels": channels(layer.channels, limit),
        "weights": _weights(layer.weights, limit) if layer.weights else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _weights(weights: LayerWeights, limit: int) -> dict[str, Any]:
    return {
        "name": weights.name,
        "bits": weights.bits,
        "shape": list(weights.shape),
        "per_channel": weights.per_channel,
        "channels": channels(weights.channels, limit),
        "histogram": histogram(weights.histogram),
    }


def _scalars(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: short(value, 7) if isinstance(value, float) else value for key, value in fields.items()}
