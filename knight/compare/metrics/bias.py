"""Does the result lean to one side: the fractions of the elements with r > l, and with r < l."""

from __future__ import annotations

from knight.compare.metrics import Column, Metric
from knight.compare.tally import Tally

rank = 5


def _compute(tally: Tally) -> tuple[float | None, float | None]:
    return (tally.above / tally.count, tally.below / tally.count) if tally.count else (None, None)


metric = Metric(
    {"above": Column("r>l(%)", percent=True), "below": Column("r<l(%)", percent=True)},
    _compute,
    shown=False,
    title="fractions of elements above and below",
)
