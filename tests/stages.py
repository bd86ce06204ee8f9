"""The stages on models that are as the test wrote them: no pass changes them first."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from knight.bench import Bench
from knight.kept_samples import KeptSamples
from knight.observing import observe
from knight.planner import make_plan
from knight.preparing import Prepared
from knight.recipe import Choice, Recipe
from knight.solver import solve
from knight.statistics import Statistics
from knight.targets import Target
from knight.types import QuantPlan


def plan_of(
    model: ir.Model, target: Target, recipe: Recipe | None = None, *, method: str = "min_max", **options: bool
) -> QuantPlan:
    """The plan of `recipe`, or of one method for all."""
    return make_plan(Prepared(model), target, recipe or Recipe(Choice(method=method)), **options)


def statistics_of(model: ir.Model, plan: QuantPlan, samples: Iterable[dict[str, np.ndarray]]) -> Statistics:
    """What one pass over `samples` keeps for `plan`."""

    def feed(executor: object) -> None:
        for sample in samples:
            executor.forward(*(sample[name] for name in executor.input_nodes))  # type: ignore[attr-defined]

    with observe(Prepared(model), plan, feed) as seen:
        return seen.statistics


def kept(samples: Iterable[dict[str, np.ndarray]]) -> KeptSamples:
    """All of `samples`, in the order of their hashes; its folder goes when nobody holds it any more."""
    store = KeptSamples(10_000)
    for sample in samples:
        store.offer(sample)
    return store


def bench_of(
    model: ir.Model, target: Target, samples: list[dict[str, np.ndarray]], *, method: str = "min_max"
) -> Bench:
    """What an optimizer is handed after plain rounding, all of `samples` to learn from."""
    plan = plan_of(model, target, method=method)
    statistics = statistics_of(model, plan, samples)
    return Bench(Prepared(model), plan, solve(model, plan, statistics), statistics, kept(samples))
