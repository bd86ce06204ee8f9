"""What is said of the difference of two tensors: one file per metric, each a function of the sums alone.

A metric that is not defined (an empty tensor, a reference of zeros) is None, in the tables "-".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from knight.compare.tally import Tally
from knight.errors import ConfigError
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
    """One metric; its module may state the `rank` that places its columns in the table.

    columns: by key of the JSON report.
    compute: their values, in the same order.
    shown: whether the table has its columns when the user says nothing; files have all.
    title: what ``knight compare`` calls it in the help of the switch that says otherwise, ``--NAME`` or
        ``--no-NAME``; without a title there is no switch.
    """

    columns: Mapping[str, Column]
    compute: Callable[[Tally], tuple[float | None, ...]]
    shown: bool = True
    title: str = ""

    def __post_init__(self) -> None:
        if not (self.shown or self.title):
            raise ConfigError(
                "a metric that is not shown needs a title: the switch that shows it has to say what it is"
            )


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
