"""From a histogram to a clipping range: one file per method, each a function of arrays alone.

A method's file may state its `rank`, its place in tables and under ``-qm all``; else it comes behind.
"""

from __future__ import annotations

from collections.abc import Callable

from knight.observer import Histogram
from knight.registry import Registry
from knight.types import QuantSpec

ClippingRange = Callable[[Histogram, QuantSpec, float], tuple[float, float]]
"""``clipping_range(histogram, spec, percent) -> (low, high)``, the real numbers that stay representable."""

calibrations: Registry[ClippingRange] = Registry(
    "calibration method", "knight.calibration", "knight.calibrations", "clipping_range"
)


def methods() -> tuple[str, ...]:
    """All methods in the order of the tables."""
    return calibrations.ranked()
