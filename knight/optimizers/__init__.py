"""What finds better numbers for a plan than plain rounding: one file per optimizer.

An optimizer looks at kept samples through a `Bench` and answers with a `Patch`: new numbers, never a changed
graph. The patch is taken only where samples that the optimizer has not seen agree that it helps (see
`knight.optimizing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from knight.bench import Bench
from knight.errors import ConfigError
from knight.registry import Registry
from knight.statistics import Needs
from knight.types import Patch, QuantPlan

__all__ = ["Bench", "Optimizer", "Patch", "check_optimizers", "optimizers"]


def no_needs(plan: QuantPlan) -> Needs:
    """For an optimizer that asks for no statistics of its own."""
    return {}


@dataclass(frozen=True)
class Optimizer:
    """One optimizer.

    run: ``run(bench) -> patch``; an empty patch where there is nothing to change.
    changes: "float": constants of the float model, whose outputs stay what they are; the plan is solved again
        with it. "rounding": what the float model is rounded to; the float model stays.
    samples: forward calls that it would like to have kept, those that are held back among them.
    needs: statistics that it asks for, by value, beside those of the calibration methods.
    """

    run: Callable[[Bench], Patch]
    changes: Literal["float", "rounding"]
    samples: int = 128
    needs: Callable[[QuantPlan], Needs] = no_needs


optimizers: Registry[Optimizer] = Registry("optimizer", "knight.optimizers", "knight.optimizers", "optimizer")


def check_optimizers(names: Sequence[str]) -> None:
    """Raises ConfigError for names that there are not, and for an order that cannot be kept: another float
    model would not fit the numbers that were found for the one before.
    """
    rounding = ""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ConfigError(f"--optimize: {name} is named twice; name it once")
        if optimizers.get(name).changes == "rounding":
            rounding = name
        elif rounding:
            raise ConfigError(
                f"--optimize: {name} changes the float model, whose rounding {rounding} mends; "
                f"name {name} before {rounding}"
            )
