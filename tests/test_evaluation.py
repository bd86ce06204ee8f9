"""The figures of a report against NumPy's own statements of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from knight.evaluation import (
    SETTLED_CALLS,
    Agreement,
    OutputSpool,
    as_number,
    fingerprint,
    quantization_loss,
)
from tests.passes.equivalence import random

FLOATS = arrays(np.float32, (3, 5), elements=st.floats(-100, 100, width=32))


@given(FLOATS, FLOATS)
def test_sqnr_and_cosine_are_those_of_all_samples_together(wanted: np.ndarray, got: np.ndarray) -> None:
    agreement = Agreement(["y"])
    for reference, output in zip(wanted, got, strict=True):
        agreement.update([reference], [output])
    f, q = wanted.astype(np.float64), got.astype(np.float64)
    noise, signal = np.square(f - q).sum(), np.square(f).sum()
    if noise and signal and noise / signal > 1e-15:
        assert agreement.sqnr_db() == pytest.approx(10 * np.log10(signal / noise), abs=1e-6)
    norm = np.sqrt(signal * np.square(q).sum())
    if norm:
        assert agreement.cosine() == pytest.approx((f * q).sum() / norm, abs=1e-9)


def test_edges() -> None:
    same, silent, none = Agreement(["y"]), Agreement(["y"]), Agreement(["y"])
    same.update([np.ones(3, np.float32)], [np.ones(3, np.float32)])
    silent.update([np.zeros(3, np.float32)], [np.ones(3, np.float32)])
    none.update([np.ones(3, np.int64)], [np.zeros(3, np.int64)])
    assert (same.sqnr_db(), same.cosine()) == (200.0, 1.0)
    assert (silent.sqnr_db(), silent.cosine()) == (-200.0, 0.0)
    assert (none.sqnr_db(), none.cosine()) == (None, None)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_nothing_is_like_what_is_not_finite(odd: float, side: int) -> None:
    agreement, arrays = Agreement(["y"]), [np.ones(4), np.ones(4)]
    arrays[side] = np.array([odd, 1, 1, 1])
    agreement.update([arrays[0]], [arrays[1]])
    assert (agreement.sqnr_db(), agreement.cosine()) == (-200.0, 0.0)
    (doubt,) = agreement.doubts()
    assert doubt.startswith(f"output 'y' of the {('float', 'quantized')[side]} model is not finite")


def test_large_finite_numbers_raise_no_doubts() -> None:
    agreement = Agreement(["y"])
    agreement.update([np.full(4, 3e38, np.float32)], [np.full(4, -3e38, np.float32)])
    assert agreement.doubts() == []


def test_several_outputs_weigh_alike() -> None:
    agreement = Agreement(["small", "large"])
    agreement.update([np.full(2, 1e-3), np.full(2, 1e3)], [np.full(2, 1.1e-3), np.full(2, 1e3)])
    assert agreement.output_sqnr_db("small") == pytest.approx(20.0)
    assert agreement.sqnr_db() == pytest.approx(20 + 10 * np.log10(2))


def test_the_figures_settle_when_they_no_longer_move() -> None:
    steady, wild = Agreement(["y"]), Agreement(["y"])
    for number in range(SETTLED_CALLS):
        assert not steady.settled
        reference = random(50, seed=number)
        steady.update([reference], [reference * np.float32(1.01)])
        wild.update([reference], [reference * np.float32(1 + 0.1 * 2.0**number)])
    assert steady.settled and not wild.settled


def test_outputs_are_found_by_sample_in_any_order() -> None:
    spool = OutputSpool(io.BytesIO())
    samples = [random(1, 3, 40, 40, seed=seed) for seed in range(5)]
    for number, sample in enumerate(samples):
        spool.put(fingerprint({"x": sample}), [np.full((2, 2), number, np.float32), np.array(["text"])])
    for number in (3, 0, 4):
        found = spool.get(fingerprint({"x": samples[number]}), 9)
        assert found is not None and found[0].tolist() == [[number, number], [number, number]]
        assert found[1].dtype.kind != "f"
    assert spool.get(fingerprint({"x": random(1, 3, 40, 40, seed=9)}), 0) is None


def test_of_equal_samples_the_turn_decides() -> None:
    spool = OutputSpool(io.BytesIO())
    for number in range(3):
        spool.put(7, [np.array([number], np.float32)])
    assert [spool.get(7, turn)[0][0] for turn in (0, 1, 2, 8)] == [0, 1, 2, 0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("metric", "number"),
    [
        (0.5, 0.5),
        (np.float32(2), 2.0),
        (np.array([3]), 3.0),
        (None, None),
        ("x", None),
        (True, None),
        ([1, 2], None),
    ],
)
def test_what_counts_as_a_number(metric: object, number: float | None) -> None:
    assert as_number(metric) == number


def test_loss_is_relative_and_in_percent() -> None:
    assert quantization_loss(-0.8, -0.6) == pytest.approx(25.0)
    assert quantization_loss(0.0, 1.0) is None and quantization_loss(1.0, float("inf")) is None
