"""Statistics by value: what one pass over the data keeps, for any plan that asks later.

They are kept under the float values' names and merged only when a plan is solved, so that another plan,
another method or another width asks the same ones.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from knight.errors import DataError
from knight.observer import OBSERVERS, Extremes, ExtremesObserver, Statistic

Needs = Mapping[str, frozenset[str]]
"""Value name -> kinds of statistics (see `knight.observer.OBSERVERS`)."""


def joined(*needs: Needs) -> dict[str, frozenset[str]]:
    """All of `needs` together. Extremes come with a histogram, so that nothing is counted twice."""
    found: dict[str, frozenset[str]] = {}
    for one in needs:
        for name, kinds in one.items():
            found[name] = found.get(name, frozenset()) | kinds
    return {name: kinds - {"extremes"} if "histogram" in kinds else kinds for name, kinds in found.items()}


@dataclass(frozen=True)
class Statistics:
    """Value name -> kind -> its observer."""

    observers: Mapping[str, Mapping[str, Any]]

    @classmethod
    def empty(cls, needs: Needs) -> Statistics:
        """Observers that have seen nothing yet."""
        return cls(
            {name: {kind: OBSERVERS[kind]() for kind in sorted(kinds)} for name, kinds in needs.items()}
        )

    def update(self, name: str, array: np.ndarray) -> None:
        """Adds one call's numbers of a value. Raises DataError, naming the value, for NaN."""
        for observer in self.observers[name].values():
            try:
                observer.update(array)
            except DataError as error:
                raise DataError(
                    f"value {name!r} {error} in the float model; check the sample and the model"
                ) from None

    def copy(self) -> Statistics:
        """An independent snapshot."""
        return copy.deepcopy(self)

    def merge(self, other: Statistics) -> None:
        """Adds all that `other`, with the same needs, has seen."""
        for name, kinds in self.observers.items():
            for kind, observer in kinds.items():
                observer.merge(other.observers[name][kind])

    def of(self, name: str, kind: str) -> Statistic:
        """One observer. Raises DataError where it was not asked for before the pass over the data."""
        kinds = self.observers.get(name, {})
        if kind == "extremes" and kind not in kinds:
            kind = "histogram"
        if kind not in kinds:
            raise DataError(
                f"there are no statistics of kind {kind!r} of value {name!r}; observe with this plan as well"
            )
        found: Statistic = kinds[kind]
        return found

    def merged(self, names: Iterable[str], kind: str) -> Any:
        """One observer that has seen all that those of `names` have."""
        whole = OBSERVERS[kind]()
        for name in names:
            whole.merge(self.of(name, kind))
        return whole

    def extremes(self, names: Sequence[str]) -> Extremes:
        """Of all `names` together."""
        whole = ExtremesObserver()
        for name in names:
            observer = self.of(name, "extremes")
            assert isinstance(observer, ExtremesObserver)
            ExtremesObserver.merge(whole, observer)
        return whole.extremes()

    def asked(self, names: Sequence[str], kind: str) -> Any:
        """What a calibration method that needs `kind` is handed: the extremes or the histogram of `names`."""
        return self.extremes(names) if kind == "extremes" else self.merged(names, kind).answer()
