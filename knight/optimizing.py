"""Which optimizers' patches are taken: those that samples agree with which the optimizer has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.errors import ModelError
from knight.executor import sample_count
from knight.judge import Closeness, Judge
from knight.kept_samples import Samples
from knight.listener import SILENT, Listener
from knight.optimizers import Bench, Optimizer, optimizers
from knight.preparing import Prepared
from knight.rewriter import rewrite
from knight.runner import Session
from knight.solver import Parameters, solve
from knight.statistics import Statistics
from knight.types import Patch, QParams, QuantPlan

ENOUGH = 16
"""Samples without which nobody can say whether an optimizer helps."""

HELD_BACK = 4
"""One sample in so many is held back."""


_KEPT = (
    "it changes the float model, and the source's scales, which are kept, are for the one that it was; give "
    "--recalibrate as well"
)


@dataclass(frozen=True)
class Draft:
    """Everything that a quantized model is written from."""

    prepared: Prepared
    plan: QuantPlan
    statistics: Statistics
    parameters: Parameters

    def model(self) -> ir.Model:
        """The quantized model with real numbers as outputs."""
        return rewrite(self.prepared.model, self.plan, self.parameters, fixed_point=False)


@dataclass(frozen=True)
class Verdict:
    """What became of one optimizer.

    reason: why its patch was not taken; "" where it was. before_db, after_db: SQNR of the outputs on
    `check_samples` samples held back, None where they were not run.
    """

    optimizer: str
    reason: str = ""
    before_db: float | None = None
    after_db: float | None = None
    check_samples: int = 0

    @property
    def accepted(self) -> bool:
        """Whether the patch was taken."""
        return not self.reason

    def __str__(self) -> str:
        if self.before_db is None or self.after_db is None:
            return f"{self.optimizer} was not used: {self.reason}"
        figures = f"{self.before_db:.2f} dB without, {self.after_db:.2f} dB with it"
        where = f"on {self.check_samples} samples held back"
        if self.accepted:
            return f"{self.optimizer} was taken: {figures} {where}"
        return f"{self.optimizer} was refused: {self.reason}: {figures} {where}"


def optimize(
    draft: Draft,
    names: Sequence[str],
    samples: Samples,
    *,
    fixed: Mapping[str, QParams],
    threads: int = 1,
    listener: Listener = SILENT,
) -> tuple[Draft, tuple[Verdict, ...]]:
    """`draft` with the patches of those optimizers that help, each tried on top of the ones taken before.

    samples: kept ones; a quarter is held back. fixed: parameters that hold whatever is observed.
    """
    check, rest = held_back(samples)
    if check is None or rest is None:
        count = sum(sample_count(feeds.values()) for feeds in samples)
        reason = (
            f"plain rounding, since telling whether it helps takes {ENOUGH} samples in two forward calls or "
            f"more, and {count} in {len(samples)} were kept"
        )
        return draft, tuple(Verdict(name, reason) for name in names)
    kept = bool(draft.parameters.patch)
    judge = Judge(draft.prepared.model, check, threads=threads)
    verdicts = []
    before: Closeness | None = None
    for name in names:
        optimizer = optimizers.get(name)
        if optimizer.changes == "float" and kept:
            verdicts.append(Verdict(name, _KEPT))
            continue
        listener.work(f"optimizing: {name}")
        bench = Bench(draft.prepared, draft.plan, draft.parameters, draft.statistics, rest, threads, listener)
        patch = optimizer.run(bench)
        if not patch:
            verdicts.append(Verdict(name, "it found nothing to change"))
            continue
        _check_fits(name, optimizer, patch, draft)
        before = before or judge.closeness(draft.model())
        tried = _patched(draft, optimizer, patch, samples, fixed, threads)
        after = judge.closeness(tried.model())
        reason = _against(before, after)
        if not reason and optimizer.changes == "float" and not judge.still_computes(tried.prepared.model):
            reason = "it changed what the float model computes"
        verdicts.append(Verdict(name, reason, before.sqnr_db, after.sqnr_db, judge.samples))
        if not reason:
            draft, before = tried, after
    return draft, tuple(verdicts)


def held_back(samples: Samples) -> tuple[Samples | None, Samples | None]:
    """The calls to judge by, about a quarter of the samples, and the others; None where they are too few.

    The smallest hashes are held back: which these are depends on nothing but the content of all.
    """
    counts = [sample_count(feeds.values()) for feeds in samples]
    if sum(counts) < ENOUGH or len(counts) < 2:
        return None, None
    so_far = np.cumsum(counts)
    calls = int(np.searchsorted(so_far, sum(counts) / HELD_BACK)) + 1
    calls = min(calls, len(counts) - 1)
    return samples[:calls], samples[calls:]


def _against(before: Closeness, after: Closeness) -> str:
    """Why a patch is not taken; "" where it helps."""
    if before.sqnr_db is None or after.sqnr_db is None:
        return "the model has no finite float output to judge by"
    if after.improves_on(before):
        return ""
    return "it gains no more than chance" if after.sqnr_db > before.sqnr_db else "it does not help"


def _check_fits(name: str, optimizer: Optimizer, patch: Patch, draft: Draft) -> None:
    """Raises ModelError for a patch that is more than new numbers for what is there."""
    constants = draft.prepared.model.graph.initializers
    for constant, array in patch.constants.items():
        value = constants.get(constant)
        known = models.constant(value)
        if known is None or known.shape != array.shape or known.dtype != array.dtype:
            raise ModelError(f"optimizer {name}: {constant!r} is no constant of this shape and type")
    named = (
        ("bias of a node", patch.biases, draft.parameters.biases),
        ("group", patch.activations, draft.parameters.activations),
        ("weight", patch.weights, draft.parameters.weights),
    )
    for kind, given, there in named:
        for key in given:
            if key not in there:
                raise ModelError(f"optimizer {name}: the plan has no {kind} {key!r}")
    if optimizer.changes == "float" and (patch.biases or patch.activations or patch.weights):
        raise ModelError(f"optimizer {name}: it changes the float model, so its patch holds constants only")


def _patched(
    draft: Draft,
    optimizer: Optimizer,
    patch: Patch,
    samples: Samples,
    fixed: Mapping[str, QParams],
    threads: int,
) -> Draft:
    """`draft` with new numbers; what the calibration methods found stays where nothing moved."""
    moved = patch.moved & draft.statistics.observers.keys()
    found = {
        key: params
        for key, params in draft.parameters.activations.items()
        if not draft.plan.groups[key].spans and not moved.intersection(draft.plan.groups[key].sources)
    }
    prepared, statistics, whole = draft.prepared, draft.statistics, draft.parameters.patch
    if optimizer.changes == "float":
        prepared = replace(prepared, model=models.with_constants(prepared.model, patch.constants))
        statistics = observed_again(statistics, prepared.model, moved, samples, threads)
    else:
        whole = whole.followed_by(patch)
    parameters = solve(
        prepared.model, draft.plan, statistics, threads=threads, fixed={**found, **fixed}, patch=whole
    )
    return Draft(prepared, draft.plan, statistics, parameters)


def observed_again(
    statistics: Statistics, model: ir.Model, names: frozenset[str], samples: Samples, threads: int
) -> Statistics:
    """`statistics` with those of these values from `samples`, run through another float model."""
    fresh = Statistics.empty({name: frozenset(statistics.observers[name]) for name in sorted(names)})
    order = list(fresh.observers)
    session = Session(model, taps=order, threads=threads)
    for feeds in samples:
        for name, array in zip(order, session.run(feeds, order), strict=True):
            fresh.update(name, array)
    return Statistics({**statistics.observers, **fresh.observers})
