"""Clipping ranges that the methods choose among."""

from __future__ import annotations

from knight.observer import Histogram


def full_range(histogram: Histogram) -> tuple[float, float]:
    """The extremes of the data, widened to hold zero."""
    return min(histogram.minimum, 0.0) + 0.0, max(histogram.maximum, 0.0) + 0.0  # + 0.0: no negative zero


def clipped_at(histogram: Histogram, threshold: float) -> tuple[float, float]:
    """`full_range` cut to magnitudes of at most `threshold`."""
    low, high = full_range(histogram)
    return max(low, -threshold), min(high, threshold)
