"""Statistics depend on the data alone, and say what numpy says of the same data held in memory."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from knight.errors import DataError
from knight.observer import BINS, Histogram, Observer

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
tensors = arrays(np.float32, array_shapes(max_dims=2, max_side=30), elements=finite)
# Magnitudes from denormal to almost infinite in one list: every update may widen the bins.
lists_of_tensors = st.lists(tensors, min_size=1, max_size=5)


def observe(*parts: np.ndarray) -> Observer:
    observer = Observer()
    for part in parts:
        observer.update(part)
    return observer


def same(one: Histogram, other: Histogram) -> bool:
    return np.array_equal(one.counts, other.counts) and (one.first, one.width, one.minimum, one.maximum) == (
        other.first,
        other.width,
        other.minimum,
        other.maximum,
    )


def bins_of(x: np.ndarray, width: float) -> np.ndarray:
    """The bin of each value, in float64, where dividing a float32 by a power of two is exact."""
    return np.floor(x.reshape(-1).astype(np.float64) / width)


@given(lists_of_tensors, st.randoms())
def test_the_order_of_the_samples_plays_no_part(parts, random):
    shuffled = random.sample(parts, len(parts))
    assert same(observe(*parts).histogram(), observe(*shuffled).histogram())


@given(lists_of_tensors)
def test_how_the_data_is_cut_plays_no_part(parts):
    whole = np.concatenate([part.reshape(-1) for part in parts])
    assert same(observe(*parts).histogram(), observe(whole).histogram())


@given(lists_of_tensors, st.integers(0, 5))
def test_merged_halves_are_the_whole(parts, cut):
    left, right = observe(*parts[:cut]), observe(*parts[cut:])
    left.merge(right)
    assert same(left.histogram(), observe(*parts).histogram())


@given(lists_of_tensors)
def test_every_value_is_counted_in_its_own_bin(parts):
    histogram = observe(*parts).histogram()
    bins = np.concatenate([bins_of(part, histogram.width) for part in parts])
    expected = np.zeros(histogram.counts.size, np.int64)
    np.add.at(expected, (bins - histogram.first).astype(np.intp), 1)
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.total == sum(part.size for part in parts)
    assert histogram.counts[0] > 0 and histogram.counts[-1] > 0


@given(lists_of_tensors)
def test_extremes_are_exact_and_the_width_is_a_power_of_two(parts):
    histogram = observe(*parts).histogram()
    assert histogram.minimum == min(float(part.min()) for part in parts)
    assert histogram.maximum == max(float(part.max()) for part in parts)
    assert math.frexp(histogram.width)[0] == 0.5
    assert histogram.first >= -BINS and histogram.first + histogram.counts.size <= BINS


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_agrees_with_numpy_histogram(scale, shift):
    x = (np.random.default_rng(1).normal(shift, 1, 200_000) * scale).astype(np.float32)
    histogram = observe(x).histogram()
    edges = np.arange(histogram.first, histogram.first + histogram.counts.size + 1) * histogram.width
    expected, _ = np.histogram(x.astype(np.float64), edges)
    np.testing.assert_array_equal(histogram.counts, expected)
    np.testing.assert_allclose(histogram.centers, (edges[1:] + edges[:-1]) / 2)
    largest = np.abs(x).max()
    assert BINS / 2 <= largest / histogram.width <= BINS


@given(lists_of_tensors)
def test_magnitudes_fold_the_negative_bins_over(parts):
    histogram = observe(*parts).histogram()
    bins = np.concatenate([bins_of(part, histogram.width) for part in parts])
    folded = np.where(bins < 0, -1 - bins, bins).astype(np.intp)
    magnitudes = histogram.magnitudes()
    np.testing.assert_array_equal(magnitudes, np.bincount(folded, minlength=magnitudes.size))


def test_widening_by_any_power_of_two_is_exact():
    small = np.array([-3, -1, 0, 1, 3, 4096, 8191], np.float32)
    for power in range(0, 100, 7):
        big = np.float32(2.0**power * 8000)
        assert same(observe(small, big).histogram(), observe(big, small).histogram())


def test_the_smallest_negative_stays_negative_beside_a_large_value():
    histogram = observe(np.array([-1e-45, 1e30], np.float32)).histogram()
    assert histogram.first == -1 and histogram.counts[0] == 1


@pytest.mark.parametrize("zeros", [np.zeros(7, np.float32), np.full(7, -0.0, np.float32)])
def test_zeros_fall_into_the_bin_that_starts_at_zero(zeros):
    histogram = observe(zeros).histogram()
    assert histogram.first == 0 and histogram.counts.tolist() == [7]
    assert histogram.minimum == histogram.maximum == 0


def test_the_smallest_float_has_a_bin_of_its_own():
    histogram = observe(np.array([1e-45, 0, 3e-45], np.float32)).histogram()
    assert histogram.width == 2.0**-149 and histogram.counts.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_types_count_like_their_float32(dtype):
    x = (np.random.default_rng(2).normal(0, 50, (40, 50))).astype(dtype)
    assert same(observe(x).histogram(), observe(x.astype(np.float32)).histogram())


def test_a_view_with_strides_counts_like_its_copy():
    x = np.random.default_rng(3).normal(size=(64, 64)).astype(np.float32)
    assert same(observe(x.T[::2]).histogram(), observe(x.T[::2].copy()).histogram())


def test_infinite_values_are_counted_apart():
    x = np.array([1, np.inf, -np.inf, -2], np.float32)
    observer = observe(x)
    assert observer.infinite == 2
    assert same(observer.histogram(), observe(np.array([1, -2], np.float32)).histogram())
    observer.merge(observe(np.array([np.inf], np.float32)))
    assert observer.infinite == 3


def test_not_a_number_is_an_error_and_leaves_the_statistics_alone():
    observer = observe(np.array([1, -2], np.float32))
    before = observer.histogram()
    with pytest.raises(DataError, match="NaN"):
        observer.update(np.array([5, np.nan, np.inf], np.float32))
    assert same(observer.histogram(), before) and observer.infinite == 0


def test_nothing_seen_answers_like_a_single_zero():
    nothing = observe(np.zeros((0, 3), np.float32))
    assert nothing.empty
    histogram = nothing.histogram()
    assert (histogram.total, histogram.minimum, histogram.maximum) == (1, 0.0, 0.0)
    assert not observe(np.zeros(1, np.float32)).empty
    nothing.merge(observe(np.array([2.0], np.float32)))
    assert same(nothing.histogram(), observe(np.array([2.0], np.float32)).histogram())


@settings(max_examples=20)
@given(lists_of_tensors)
def test_a_copy_is_independent(parts):
    observer = observe(*parts)
    before, twin = observer.histogram(), copy.deepcopy(observer)
    twin.update(np.array([1e30, -1e30], np.float32))
    assert same(observer.histogram(), before)
    assert twin.histogram().total == before.total + 2
