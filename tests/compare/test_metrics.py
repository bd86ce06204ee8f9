"""Metrics against the documented formulas, each stated here once more over whole arrays."""

from __future__ import annotations

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from knight.compare.metrics import columns, figures
from knight.compare.tally import Tally

DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64"),
]
ALL_NONE = dict.fromkeys(columns())


def measured(*pairs):
    tally = Tally()
    for reference, result in pairs:
        tally.update(reference, result)
    return figures(tally)


def stated(reference, result):
    """The documented formulas, in float64 over all elements that both sides have a finite number for."""
    left, right = (np.asarray(array).astype(np.float64).ravel() for array in (reference, result))
    both = np.isfinite(left) & np.isfinite(right)
    left, right = left[both], right[both]
    if left.size == 0:
        return ALL_NONE
    error = np.abs(right - left)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = np.where(error == 0.0, 0.0, error / np.abs(left))
    edges = [-np.inf, 0.01, 0.1, 0.5, 1.0, np.inf]
    bands = [np.mean((low <= relative) & (relative < high)) for low, high in itertools.pairwise(edges)]
    bands[-1] = np.mean(relative >= 1.0)
    counted = left > 1e-6
    return {
        "mre": _over(error.sum(), np.abs(left).sum()),
        "cos": _cos(left, right),
        "rmse": _over(np.linalg.norm(right - left), np.linalg.norm(left)),
        "max_relative": max(relative[counted], default=0.0),
        "max_absolute": max(error[counted], default=0.0),
        "above": np.mean(right > left),
        "below": np.mean(right < left),
        **dict(zip([key for key in columns() if key.startswith("band_")], bands, strict=True)),
        "accumulated_sqnr": _decibels(np.square(left).sum(), np.square(right - left).sum()),
    }


def _over(noise, signal):
    if noise == 0.0:
        return 0.0
    return noise / signal if signal else None


def _cos(left, right):
    if not left.any() and not right.any():
        return 1.0
    if not left.any() or not right.any():
        return 0.5
    return 0.5 + 0.5 * np.dot(left / np.linalg.norm(left), right / np.linalg.norm(right))


def _decibels(signal, noise):
    if noise == 0.0:
        return 200.0
    return float(np.clip(10.0 * np.log10(signal / noise), -200.0, 200.0)) if signal else -200.0


def agree(found, wanted):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if value is None:
            assert found[key] is None, key
        else:
            assert found[key] == pytest.approx(float(value), rel=1e-6, abs=1e-9), key


def numbers_of(dtype):
    """Any number of the type; float64 without those whose squares leave float64."""
    if dtype != "float64":
        return None
    bounded = st.floats(1e-100, 1e100)
    special = st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf])
    return st.one_of(bounded, bounded.map(float.__neg__), special)


@st.composite
def pairs(draw):
    """Two arrays of one shape, each of any type; often the second is near the first."""
    shape = draw(st.sampled_from([(), (0,), (3, 0, 2), (1,), (7,), (2, 3), (1, 2, 2, 3)]))
    first, second = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))
    reference = draw(arrays(first, shape, elements=numbers_of(first)))
    if first.startswith("float") and draw(st.booleans()):
        noise = draw(arrays("float64", shape, elements=st.floats(-0.02, 0.02)))
        with np.errstate(all="ignore"):
            return reference, (reference * (1.0 + noise)).astype(first)
    return reference, draw(arrays(second, shape, elements=numbers_of(second)))


@settings(max_examples=600, deadline=None)
@given(pairs())
def test_the_documented_formulas_hold_for_any_arrays(pair):
    agree(measured(pair), stated(*pair))


@settings(max_examples=200, deadline=None)
@given(st.lists(pairs(), min_size=1, max_size=4))
def test_several_updates_equal_one(several):
    joined = [
        np.concatenate([np.ravel(pair[side]).astype(np.float64) for pair in several]) for side in (0, 1)
    ]
    agree(measured(*several), stated(*joined))


@pytest.mark.parametrize("size", [1 << 15, (1 << 15) + 1, 200_003])
def test_large_arrays_are_not_cut(size):
    random = np.random.default_rng(size)
    reference = random.normal(0, 3, size).astype(np.float32)
    result = (reference + random.normal(0, 0.1, size)).astype(np.float32)
    reference[-3:], result[-2:] = (np.nan, 1.0, np.inf), (np.nan, np.inf)
    agree(measured((reference, result)), stated(reference, result))


def test_figures_worked_out_by_hand():
    """l = (1, 2, 0, -4), r = (1, 2.2, 0, -2)."""
    found = measured((np.array([1.0, 2.0, 0.0, -4.0]), np.array([1.0, 2.2, 0.0, -2.0])))
    agree(
        found,
        {
            "mre": 2.2 / 7,
            "cos": 0.5 + 0.5 * 13.4 / math.sqrt(21 * 9.84),
            "rmse": math.sqrt(4.04 / 21),
            "max_relative": 0.1,
            "max_absolute": 0.2,
            "above": 0.5,
            "below": 0.0,
            "band_0_1": 0.5,
            "band_1_10": 0.0,
            "band_10_50": 0.25,
            "band_50_100": 0.25,
            "band_100": 0.0,
            "accumulated_sqnr": 10 * math.log10(21 / 4.04),
        },
    )


def test_the_edge_of_a_band_belongs_to_the_next_one():
    exact = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 0.0])
    found = measured((exact, np.array([1.0, 1.25, 1.5, 2.0, 2.0, 1e-30])))
    shares = [found[key] for key in columns() if key.startswith("band_")]
    assert shares == pytest.approx([2 / 6, 0, 1 / 6, 1 / 6, 2 / 6])


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16", "float8_e4m3fn", "int4"])
@pytest.mark.parametrize("shape", [(0,), (2, 0, 3)])
def test_empty_tensors_have_no_figures(dtype, shape):
    empty = np.zeros(shape, getattr(ml_dtypes, dtype, dtype))
    assert measured((empty, empty)) == ALL_NONE


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16", "float8_e4m3fn", "int4"])
def test_a_constant_beside_itself_is_exact(dtype):
    for value in (0, 1):
        constant = np.full((2, 3), value).astype(getattr(ml_dtypes, dtype, dtype))
        found = measured((constant, constant))
        assert (found["mre"], found["rmse"], found["cos"]) == (0.0, 0.0, pytest.approx(1.0, abs=1e-12))
        assert (found["accumulated_sqnr"], found["band_0_1"], found["above"]) == (200.0, 1.0, 0.0)


def test_zeros_that_are_missed_have_no_relative_error():
    found = measured((np.zeros(4), np.full(4, 0.5)))
    assert found["mre"] is None and found["rmse"] is None
    assert (found["cos"], found["accumulated_sqnr"], found["band_100"], found["above"]) == (
        0.5,
        -200.0,
        1.0,
        1.0,
    )


def test_booleans_are_zeros_and_ones():
    reference, result = np.array([True, True, False, False]), np.array([True, False, False, True])
    agree(measured((reference, result)), stated(reference.astype(float), result.astype(float)))
    assert measured((reference, result))["mre"] == 1.0


def test_unsigned_integers_do_not_wrap():
    found = measured((np.array([200, 3], np.uint8), np.array([1, 5], np.uint8)))
    assert found["mre"] == pytest.approx(201 / 203) and found["above"] == found["below"] == 0.5


def test_equal_infinities_and_nans_enter_no_figure_and_others_are_counted():
    tally = Tally()
    reference = np.array([1.0, np.nan, np.inf, -np.inf, np.inf, 2.0, np.nan])
    result = np.array([1.1, np.nan, np.inf, -np.inf, -np.inf, np.nan, 0.0])
    tally.update(reference, result)
    assert (tally.count, tally.equal_nonfinite, tally.broken) == (1, 3, 3)
    assert figures(tally)["mre"] == pytest.approx(0.1)


def test_only_infinities_leave_no_figures():
    assert measured((np.full(3, np.inf), np.full(3, np.inf))) == ALL_NONE


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_reason_to_warn(odd):
    found = measured((np.array([odd, 2.0, odd, 1.0]), np.array([odd, 3.0, 1.0, odd])))
    assert found["mre"] == 0.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e150, 1e154, 1e200, 1e308])
@pytest.mark.parametrize("factor", [-1.0, 0.99])
def test_squares_beyond_float64_are_not_known_rather_than_wrong(size, factor):
    """0.99 is 40 dB, or nothing is said; never 200 dB, which is exact."""
    found = measured((np.array([size, -size]), np.array([size, -size]) * factor))
    assert all(value is None or math.isfinite(value) for value in found.values())
    wanted = {
        "accumulated_sqnr": -20 * math.log10(1 - factor),
        "mre": 1 - factor,
        "cos": 0.5 + 0.5 * np.sign(factor),
    }
    for key, value in wanted.items():
        assert found[key] is None or found[key] == pytest.approx(value), key


def test_tensors_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and \(4,\) cannot be compared"):
        measured((np.zeros(3), np.zeros(4)))


def test_one_size_is_enough():
    """Layouts are the caller's matter: (1, 6) against (2, 3) has the same elements."""
    random = np.random.default_rng(0)
    reference, result = random.normal(size=(1, 6)), random.normal(size=(2, 3))
    agree(measured((reference, result)), stated(reference, result))


LARGE = {
    "relu": lambda r: np.maximum(r.normal(size=300_001), 0),
    "heavy_tail": lambda r: r.standard_t(2, size=250_000),
    "far_from_zero": lambda r: r.normal(1000, 1, size=200_000),
    "tiny": lambda r: r.normal(size=200_000) * 1e-9,
    "tinier": lambda r: r.normal(size=200_000) * 1e-22,
    "huge": lambda r: r.normal(size=200_000) * 1e25,
    "mostly_zero": lambda r: np.where(r.random(200_000) < 0.001, 1.0, 0.0),
}


@pytest.mark.parametrize("steps", [8, 255, 65_535])
@pytest.mark.parametrize("kind", LARGE)
def test_large_float32_tensors_are_summed_up_as_exactly(kind, steps):
    """Where the sums are taken in float32, part by part, they are right to 1e-6 all the same."""
    left = LARGE[kind](np.random.default_rng(3)).astype(np.float32)
    scale = np.float32(np.abs(left).max() / steps)
    right = (np.rint(left / scale) * scale).astype(np.float32)
    found, wanted = measured((left, right), (left[::-1], right[::-1])), stated(left, right)
    for key in columns():
        assert found[key] == pytest.approx(wanted[key], rel=1e-6, abs=1e-6), key


def test_what_is_not_finite_in_a_large_tensor_enters_no_sum():
    left = np.random.default_rng(4).normal(size=100_000).astype(np.float32)
    right = left + np.float32(0.01)
    right[[5, 70_000]] = np.nan, np.inf
    tally = Tally()
    tally.update(left, right)
    assert tally.broken == 2 and tally.count == left.size - 2
    wanted = stated(left, right)
    for key, value in figures(tally).items():
        assert value == pytest.approx(wanted[key], rel=1e-6, abs=1e-6), key
