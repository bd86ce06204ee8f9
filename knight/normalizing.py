"""Which form the normalization of an integer input gets: integers, where the outputs lose next to nothing.

Both forms are quantized, by the same statistics, and compared with the float model on samples that were kept.
Nothing is fitted to these, so that none have to be held back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from knight.executor import sample_count
from knight.integer_inputs import exact_parameters
from knight.judge import Judge
from knight.kept_samples import Samples
from knight.planning import Variant
from knight.rewriter import rewrite
from knight.solver import Parameters, solve
from knight.statistics import Statistics
from knight.types import QParams

SAMPLES = 32
"""What the comparison would like to have."""

LOSS_DB = 0.1
"""What integers may cost: SQNR of the outputs, in dB."""

COARSER = tuple(1 + part / 64 for part in (0, 1, 2, 3, 4, 6, 8))
"""Multiples of the scale of what the weights multiply that are tried, until one costs less. The rounding of a
whole network answers a small change of its input by chance, in either direction.
"""


@dataclass(frozen=True)
class Form:
    """How the normalization runs.

    form: "integers" or "float". reason: why not as integers; "" where it is. float_db, integers_db: SQNR of
    the outputs on `check_samples` samples in either form, None where they were not run.
    """

    form: str
    reason: str = ""
    float_db: float | None = None
    integers_db: float | None = None
    check_samples: int = 0

    def __str__(self) -> str:
        if self.float_db is None or self.integers_db is None:
            return f"in {self.form}: {self.reason}"
        figures = f"{self.integers_db:.2f} dB as integers, {self.float_db:.2f} dB in float"
        where = f"on {self.check_samples} samples"
        return f"{'as' if self.form == 'integers' else 'in'} {self.form}: {figures} {where}"


def form_of(
    floating: Variant, whole: Variant, statistics: Statistics, samples: Samples, *, threads: int = 1
) -> tuple[Form, Mapping[str, QParams]]:
    """Whether the variant with the normalization in its weights is taken, rather than the other one; and
    numbers of groups that are then not what was calibrated.

    samples: forward calls' data to compare on; statistics: of the values of both.
    """
    if not len(samples):
        return Form("float", "no samples could be kept to compare the two forms on"), {}
    judge = Judge(floating.prepared.model, _enough(samples), threads=threads)

    def sqnr_db(variant: Variant, parameters: Parameters) -> float | None:
        quantized = rewrite(variant.prepared.model, variant.plan, parameters, fixed_point=False)
        return judge.closeness(quantized).sqnr_db

    found = _solved(floating, statistics, {}, threads)
    before = sqnr_db(floating, found)
    groups = whole.plan.groups
    own = [key for key, group in groups.items() if {*group.sources} & whole.prepared.border.whole.keys()]
    known = {key: found.activations[key] for key in groups if groups[key] == floating.plan.groups.get(key)}
    first = _solved(whole, statistics, known, threads)
    reached: list[float] = []
    for factor in COARSER:
        given = {key: _coarser(first.activations[key], factor) for key in own} if factor > 1 else {}
        tried = _solved(whole, statistics, {**known, **given}, threads) if given else first
        after = sqnr_db(whole, tried)
        if before is None or after is None:
            return Form("float", "the model has no finite float output to judge by"), {}
        if before - after < LOSS_DB:
            return Form("integers", "", before, after, judge.samples), given
        reached.append(after)
    reason = f"as integers the outputs lose {LOSS_DB} dB or more"
    return Form("float", reason, before, max(reached), judge.samples), {}


def _enough(samples: Samples) -> Samples:
    """The first calls that bring `SAMPLES` samples."""
    counts = np.cumsum([sample_count(feeds.values()) for feeds in samples])
    return samples[: int(np.searchsorted(counts, SAMPLES)) + 1]


def _coarser(params: QParams, factor: float) -> QParams:
    return QParams(params.spec, np.asarray(params.scale * factor, np.float32), params.zero_point)


def _solved(
    variant: Variant, statistics: Statistics, known: Mapping[str, QParams], threads: int
) -> Parameters:
    """known: numbers of some groups that need not be found."""
    model, plan = variant.prepared.model, variant.plan
    fixed = {**exact_parameters(variant.prepared.border, plan, statistics), **known}
    return solve(model, plan, statistics, threads=threads, fixed=fixed, patch=variant.kept.patch)
