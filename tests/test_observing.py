"""One pass over the data serves several plans, and keeps what was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from knight.errors import DataError
from knight.executor import Executor, RunSettings
from knight.observing import observe
from knight.planner import make_plan
from knight.preparing import Prepared
from knight.realizing import realize
from knight.recipe import Choice, Recipe
from knight.targets import load_target
from tests.passes.equivalence import build, random

ORT = load_target("onnxruntime")
SAMPLES = [random(2, 4, seed=seed) for seed in range(6)]
NET = Prepared(build("t = Tanh(x) y = MatMul(t, v)", {"v": random(4, 4)}, inputs={"x": (2, 4)}))


def plan(method: str) -> object:
    return make_plan(NET, ORT, Recipe(Choice(method=method)))


def feed(executor: Executor) -> float:
    for sample in SAMPLES[: executor.iteration]:
        executor.forward(sample)
    return 0.5


def feed_all(executor: Executor) -> None:
    for sample in SAMPLES:
        executor.forward(sample)


def test_several_plans_share_one_pass() -> None:
    calls: list[int] = []

    def counting(executor: Executor) -> float:
        calls.append(1)
        return feed(executor)

    plans = [plan(method) for method in ("min_max", "kl")]
    with observe(NET, plans, counting, RunSettings(iteration=6)) as seen:
        assert len(calls) == 1 and (seen.calls, seen.samples, seen.metric) == (6, 12, 0.5)
        for one in plans:
            realize(NET, one, seen.statistics)
    with (
        observe(NET, plans[0], feed, RunSettings(iteration=6)) as seen,
        pytest.raises(DataError, match="observe with this plan as well"),
    ):
        realize(NET, plans[1], seen.statistics)


def test_snapshots_are_what_a_shorter_pass_keeps() -> None:
    with observe(NET, plan("min_max"), feed, RunSettings(iteration=6), snapshots=(2, 6)) as seen:
        early, late = seen.after(2).extremes(("t",)), seen.after(6).extremes(("t",))
    numbers = np.tanh(np.concatenate(SAMPLES[:2]))
    assert (early.minimum, early.maximum) == pytest.approx((numbers.min(), numbers.max()), rel=1e-6)
    assert (late.minimum, late.maximum) != (early.minimum, early.maximum)
    with observe(NET, plan("min_max"), feed, RunSettings(iteration=2), snapshots=(2, 9)) as seen:
        assert seen.after(9) is seen.statistics  # fewer calls were made
    with observe(NET, plan("min_max"), feed_all, RunSettings(iteration=4), snapshots=(2, 4)) as seen:
        assert seen.calls == len(SAMPLES) > 4  # a function that makes more: all of them calibrate
        assert seen.after(4) is seen.statistics and seen.after(2) is not seen.statistics


def test_samples_are_kept_where_somebody_asks() -> None:
    with observe(NET, plan("min_max"), feed, RunSettings(iteration=6), keep=4) as seen:
        assert len(seen.kept) == 4
        assert all(any(np.array_equal(sample["x"], one) for one in SAMPLES) for sample in seen.kept)
    with observe(NET, plan("min_max"), feed, RunSettings(iteration=6)) as seen:
        assert len(seen.kept) == 0


def test_samples_of_a_shorter_pass_are_kept_beside_those_of_all() -> None:
    settings = RunSettings(iteration=6)
    with observe(NET, plan("min_max"), feed, settings, snapshots=(2, 6), keep=10) as seen:
        early, late = seen.kept_after(2), seen.kept_after(6)
        assert late is seen.kept and len(late) == 6 and len(early) == 2
        assert {sample["x"].tobytes() for sample in early} == {sample.tobytes() for sample in SAMPLES[:2]}


def test_needs_beside_the_plans_are_kept_as_well() -> None:
    needs = {"t": frozenset({"channel_extremes"})}
    with observe(NET, plan("min_max"), feed, RunSettings(iteration=6), needs=needs) as seen:
        found = seen.statistics.of("t", "channel_extremes")
    np.testing.assert_allclose(found.maximum, np.tanh(np.concatenate(SAMPLES)).max(axis=0), rtol=1e-6)


def test_nothing_is_left_behind_when_the_function_fails(tmp_path: object, monkeypatch: object) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # type: ignore[attr-defined]

    def failing(executor: Executor) -> None:
        feed(executor)
        raise ValueError("no more pictures")

    with pytest.raises(Exception, match="no more pictures"):
        observe(NET, plan("min_max"), failing, RunSettings(iteration=6), keep=4)
    assert not list(tmp_path.iterdir())  # type: ignore[attr-defined]
