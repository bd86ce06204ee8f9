"""Clipping ranges that the methods choose among."""

from __future__ import annotations

from knight.observer import Extremes


def full_range(extremes: Extremes) -> tuple[float, float]:
    """The extremes of the data, widened to hold zero."""
    return min(extremes.minimum, 0.0) + 0.0, max(extremes.maximum, 0.0) + 0.0  # + 0.0: no negative zero


def clipped_at(extremes: Extremes, threshold: float) -> tuple[float, float]:
    """`full_range` cut to magnitudes of at most `threshold`."""
    low, high = full_range(extremes)
    return max(low, -threshold), min(high, threshold)
