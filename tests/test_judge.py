"""Noise by sample adds up to the report's SQNR, and chance is told from gain."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from knight.evaluation import Agreement
from knight.judge import Closeness, Judge
from knight.runner import Session
from tests.passes.equivalence import build, random
from tests.stages import kept

FLOAT = build("y = MatMul(x, v) z = Relu(x)", {"v": random(4, 3)}, inputs={"x": ("N", 4)}, outputs=("y", "z"))
OTHER = build(
    "s = Add(x, e) y = MatMul(s, v) z = Relu(s)",
    {"v": random(4, 3), "e": np.full(4, 0.1, np.float32)},
    inputs={"x": ("N", 4)},
    outputs=("y", "z"),
)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_sum_over_samples_is_the_sqnr_of_the_report(batch: int) -> None:
    samples = kept({"x": random(batch, 4, seed=seed)} for seed in range(6))
    judge = Judge(FLOAT, samples)
    found = judge.closeness(OTHER)
    agreement = Agreement(["y", "z"])
    for feeds in samples:
        agreement.update(Session(FLOAT).run(feeds), Session(OTHER).run(feeds))
    assert judge.samples == found.noise.size == 6 * batch
    assert found.sqnr_db == pytest.approx(agreement.sqnr_db(), abs=1e-9)
    assert judge.closeness(FLOAT).sqnr_db == 200.0


def test_how_samples_are_cut_into_calls_plays_no_part() -> None:
    data = random(12, 4)
    by_one, by_four = (
        Judge(FLOAT, kept({"x": data[at : at + size]} for at in range(0, 12, size))).closeness(OTHER).noise
        for size in (1, 4)
    )
    np.testing.assert_allclose(np.sort(by_one), np.sort(by_four), rtol=1e-6)


def test_a_gain_has_to_exceed_its_standard_error() -> None:
    before = Closeness(np.array([4.0, 4.0, 4.0, 4.0]))
    assert Closeness(np.array([3.9, 3.9, 3.9, 3.9])).improves_on(before)
    lucky = Closeness(np.array([1.0, 4.1, 4.1, 4.1]))  # a mean gain of 0.675 with a standard error of 0.775
    assert lucky.sqnr_db > before.sqnr_db and not lucky.improves_on(before)
    assert not Closeness(np.array([4.1, 4.0, 4.0, 4.0])).improves_on(before)
    assert not before.improves_on(before)
    assert Closeness(np.array([1.0])).improves_on(Closeness(np.array([2.0])))


def test_outputs_that_cannot_be_compared() -> None:
    samples = kept({"x": random(1, 4, seed=seed)} for seed in range(3))
    shape = build("y = Shape(x)", inputs={"x": (1, 4)}, infer=False)
    shape.graph.outputs[0].dtype = ir.DataType.INT64
    assert Judge(shape, samples).closeness(shape).sqnr_db is None
    infinite = build("z = Relu(x) y = Log(z)")
    (one,) = kept([{"x": -np.ones((2, 4, 9, 9), np.float32)}])
    assert Judge(infinite, [one]).closeness(infinite).sqnr_db is None
    cut = build("y = Slice(x, a, e)", {"a": np.array([0, 0]), "e": np.array([1, 2])}, inputs={"x": (1, 4)})
    whole = build("y = Identity(x)", inputs={"x": (1, 4)})
    assert Judge(whole, samples).closeness(cut).sqnr_db == pytest.approx(0.0)  # all noise


def test_the_float_model_may_change_by_rounding_alone() -> None:
    judge = Judge(FLOAT, kept([{"x": random(1, 4)}]))
    assert judge.still_computes(FLOAT) and not judge.still_computes(OTHER)
