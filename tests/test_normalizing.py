"""Which form of the normalization is taken: by the figures, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from knight import normalizing
from knight.config import QuantConfig
from knight.judge import Closeness, Judge
from knight.kept_samples import Samples
from knight.normalizing import COARSER, LOSS_DB, SAMPLES, Form, form_of
from knight.observing import observe
from knight.planning import Planned, Variant, plan_all
from knight.statistics import Statistics
from knight.targets import load_target
from tests.passes.equivalence import build, random

MODEL = build(
    "y = Conv<pads = [1, 1, 1, 1]>(x, w, b)",
    {"w": random(4, 4, 3, 3), "b": random(4)},
    inputs={"x": (1, 4, 6, 6)},
)
CONFIG = QuantConfig(methods=("min_max",), mean=(120.0,), std=(60.0,), input_dtypes=("uint8",))


def planned_and_seen(count: int) -> tuple[Planned, Statistics, Samples]:
    numbers = np.random.default_rng(0)
    feeds = [{"x": numbers.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)} for _ in range(count)]

    def feed(executor: object) -> None:
        for one in feeds:
            executor.forward(one["x"])  # type: ignore[attr-defined]

    planned = plan_all(MODEL, load_target("TX5368AV200"), CONFIG)
    with observe(planned.observed, planned.all_plans, feed) as seen:
        return planned, seen.statistics, feeds


def both(planned: Planned) -> tuple[Variant, Variant]:
    ((_, floating, whole),) = planned
    assert isinstance(whole, Variant)
    return floating, whole


def judged(monkeypatch: pytest.MonkeyPatch, figures: Sequence[float]) -> tuple[Form, float]:
    """What is decided where the SQNR of one model after the other is this; and the multiple of the scale."""
    planned, statistics, feeds = planned_and_seen(4)
    left = [10 ** (-figure / 10) for figure in figures]

    def closeness(self: Judge, model: object) -> Closeness:
        return Closeness(np.array([left.pop(0)]))

    monkeypatch.setattr(Judge, "closeness", closeness)
    floating, whole = both(planned)
    form, given = form_of(floating, whole, statistics, feeds)
    assert not left
    first = normalizing._solved(whole, statistics, {}, 1).activations["x_shifted"].scale
    return form, float(given["x_shifted"].scale / first) if given else 1.0


def test_the_first_that_loses_less_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    form, factor = judged(monkeypatch, [30, 30 - LOSS_DB / 2])
    assert (form.form, factor) == ("integers", 1)
    form, factor = judged(monkeypatch, [30, 29, 29.5, 31])
    assert form.form == "integers" and factor == pytest.approx(COARSER[2])
    assert (form.float_db, form.integers_db) == (pytest.approx(30), pytest.approx(31))


def test_float_where_none_does(monkeypatch: pytest.MonkeyPatch) -> None:
    form, factor = judged(monkeypatch, [30, *np.linspace(28, 29.89, len(COARSER))])
    assert (form.form, factor) == ("float", 1)
    assert form.integers_db == pytest.approx(29.89)
    assert str(form) == "in float: 29.89 dB as integers, 30.00 dB in float on 4 samples"


def test_as_many_samples_as_are_worth_it() -> None:
    planned, statistics, feeds = planned_and_seen(SAMPLES + 8)
    floating, whole = both(planned)
    form, _ = form_of(floating, whole, statistics, feeds)
    assert form.check_samples == SAMPLES
    form, _ = form_of(floating, whole, statistics, feeds[:1])
    assert form.check_samples == 1
    form, given = form_of(floating, whole, statistics, [])
    assert not given and str(form) == "in float: no samples could be kept to compare the two forms on"
