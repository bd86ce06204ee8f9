"""From a statistic to a clipping range: one file per method, each a function of arrays alone.

A method's file may state its `rank`, its place in tables and under ``-qm all``; else it comes behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from knight.errors import ConfigError, did_you_mean
from knight.registry import Registry
from knight.types import QuantSpec


@dataclass(frozen=True)
class Option:
    """A number that a method can be told.

    default: used where nothing is said. takes: which numbers it accepts, in words ("a fraction above 0.5 and
    up to 1, such as 0.99999"). accepts: whether it accepts a number.
    """

    default: float
    takes: str
    accepts: Callable[[float], bool]


@dataclass(frozen=True)
class Method:
    """One calibration method.

    clipping_range: ``clipping_range(statistic, spec, **options) -> (low, high)``, the real numbers that stay
        representable.
    needs: kind of the statistic that it reads (see `knight.observer.OBSERVERS`), whose `answer` it is handed.
    options: what it can be told, by name.
    """

    clipping_range: Callable[..., tuple[float, float]]
    needs: str = "histogram"
    options: Mapping[str, Option] = field(default_factory=dict)

    def __call__(self, statistic: Any, spec: QuantSpec, **options: float) -> tuple[float, float]:
        """The range for values with these `Extremes` or this `Histogram`. Raises ConfigError for options that
        it does not have or accept.
        """
        self.check(options)
        return self.clipping_range(statistic, spec, **options)

    def check(self, options: Mapping[str, float]) -> None:
        """Raises ConfigError for options that the method does not have, or numbers that they do not take."""
        for name, number in options.items():
            if name not in self.options:
                known = did_you_mean(name, self.options) if self.options else "it has none"
                raise ConfigError(f"unknown option {name!r} of the calibration method: {known}")
            if not self.options[name].accepts(number):
                raise ConfigError(f"{name} {number}: wants {self.options[name].takes}")


calibrations: Registry[Method] = Registry(
    "calibration method", "knight.calibration", "knight.calibrations", "method"
)


def methods() -> tuple[str, ...]:
    """All methods in the order of the tables."""
    return calibrations.ranked()
