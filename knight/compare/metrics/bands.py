"""How the elements spread over bands of relative error ``|r - l| / |l|``, as fractions of all.

An element that is exact is in the first band, also at l = 0; one that misses l = 0 is in the last.
"""

from __future__ import annotations

from knight.compare.metrics import Column, Metric
from knight.compare.tally import BAND_EDGES, Tally

rank = 6

TITLES = ("0-1", "1-10", "10-50", "50-100", "100+")


def _compute(tally: Tally) -> tuple[float | None, ...]:
    return tuple(tally.shares or (None,) * (len(BAND_EDGES) + 1))


metric = Metric(
    {
        f"band_{title.rstrip('+').replace('-', '_')}": Column(title, percent=True, falling=title == "0-1")
        for title in TITLES
    },
    _compute,
)
