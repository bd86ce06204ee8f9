"""What is said of the difference of two tensors: one file per metric, each a function of the sums alone.

A metric that is not defined (an empty tensor, a reference of zeros) is None, in the tables "-".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from knight.compare.tally import Tally
from knight.registry import Registry


@dataclass(frozen=True)
class Column:
    """A column of the tables. percent: shown times 100. digits: after the point. falling: small is bad."""

    title: str
    percent: bool = False
    digits: int = 2
    falling: bool = False


@dataclass(frozen=True)
class Metric:
    """columns: by key of the JSON report. compute: their values, in the same order."""

    columns: Mapping[str, Column]
    compute: Callable[[Tally], tuple[float | None, ...]]


metrics: Registry[Metric] = Registry("metric", "knight.compare.metrics", "knight.metrics", "metric")


def figures(tally: Tally) -> dict[str, float | None]:
    """The values of all metrics, by key."""
    found: dict[str, float | None] = {}
    for name in metrics.names():
        metric = metrics.get(name)
        found.update(zip(metric.columns, metric.compute(tally), strict=True))
    return found


def columns() -> dict[str, Column]:
    """The columns of all metrics, by key."""
    return {key: column for name in metrics.names() for key, column in metrics.get(name).columns.items()}
