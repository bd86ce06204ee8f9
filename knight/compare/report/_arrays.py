"""Numbers made short for a page: few digits, few bins, no more channels than can be seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knight.compare.comparison import Channels, HistogramPair, Layer

BINS = 64
"""The most that a histogram keeps."""

CHANNELS = 1024
"""The most bars that a chart of channels has; beyond that, neighbours share one."""

ALL_CHANNELS = 210_000
"""The most bars of all charts together: 200 layers of 512 channels, with their weights (20 bytes a bar)."""

NAMED = 8
"""Outlier channels of a tensor that are named with their own figures; all are marked."""

_FEWEST = 64  # bars that a chart keeps, however many layers there are

DIGITS = 4


def short(value: float | None, digits: int = DIGITS) -> float | int | None:
    """`value` with so many significant digits, as an integer where it is one; None for NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{float(value):.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def shorts(values: NDArray[Any], digits: int = DIGITS) -> list[float | int | None]:
    """`short` of every element."""
    return [short(value, digits) for value in values.tolist()]


def histogram(found: HistogramPair | None) -> dict[str, Any] | None:
    """At most `BINS` bins: neighbours are added up, the last may be narrower. None: nothing to draw."""
    if found is None or not found.reference.size or not np.isfinite(found.edges).all():
        return None
    starts = np.arange(0, found.reference.size, math.ceil(found.reference.size / BINS))
    return {
        "edges": shorts(np.append(found.edges[starts], found.edges[-1]), 5),
        "reference": np.add.reduceat(found.reference, starts).tolist(),
        "result": np.add.reduceat(found.result, starts).tolist(),
    }


def channel_limit(layers: Sequence[Layer]) -> int:
    """How many bars one chart may have, so that all charts together stay within `ALL_CHANNELS`."""
    tensors = [layer.channels for layer in layers] + [x.weights.channels for x in layers if x.weights]
    sizes = np.array([found.low.size for found in tensors if found is not None], np.int64)
    limit = CHANNELS
    while limit > _FEWEST and np.minimum(sizes, limit).sum() > ALL_CHANNELS:
        limit //= 2
    return limit


def channels(found: Channels | None, limit: int) -> dict[str, Any] | None:
    """Per-channel figures; `step` neighbours become one: their extremes and the worst SQNR among them."""
    if found is None or not found.low.size:
        return None
    step = math.ceil(found.low.size / limit)
    starts = np.arange(0, found.low.size, step)
    return {
        "count": found.low.size,
        "step": step,
        "low": shorts(np.fmin.reduceat(found.low, starts)),
        "high": shorts(np.fmax.reduceat(found.high, starts)),
        "sqnr": shorts(np.fmin.reduceat(found.sqnr, starts), 3),
        "outliers": [int(channel) for channel in found.outliers],
        "named": [_one_channel(found, int(channel)) for channel in found.outliers[:NAMED]],
    }


def _one_channel(found: Channels, channel: int) -> dict[str, Any]:
    low, high, sqnr = (short(float(values[channel])) for values in (found.low, found.high, found.sqnr))
    return {"channel": channel, "low": low, "high": high, "sqnr": sqnr}


def plain(value: Any) -> Any:
    """Any value of a run's arguments as JSON: what JSON does not have becomes its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return plain(value.item()) if isinstance(value, np.generic) else str(value)
