"""Statistics by value: asked again by any plan, merged and restored without loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from knight.errors import DataError
from knight.observer import (
    OBSERVERS,
    ChannelExtremesObserver,
    ChannelMeanObserver,
    ExtremesObserver,
    Histogram,
    Observer,
)
from knight.statistics import Statistics, joined

finite = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**40), max_value=2.0**40)
tensors = st.lists(arrays(np.float32, (2, 3, 2), elements=finite), min_size=1, max_size=5)
kinds = pytest.mark.parametrize("kind", OBSERVERS)


def same(one: object, other: object) -> bool:
    left, right = one.state(), other.state()  # type: ignore[attr-defined]
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


@kinds
@settings(max_examples=25)
@given(parts=tensors, random=st.randoms(use_true_random=False))
def test_the_order_of_the_calls_plays_no_part(kind: str, parts: list[np.ndarray], random: object) -> None:
    straight, shuffled = OBSERVERS[kind](), OBSERVERS[kind]()
    for part in parts:
        straight.update(part)
    for part in random.sample(parts, len(parts)):  # type: ignore[attr-defined]
        shuffled.update(part)
    assert same(straight, shuffled)


@kinds
@settings(max_examples=25)
@given(parts=tensors, cut=st.integers(0, 5))
def test_merged_parts_are_the_whole(kind: str, parts: list[np.ndarray], cut: int) -> None:
    whole, left, right = (OBSERVERS[kind]() for _ in range(3))
    for place, part in enumerate(parts):
        whole.update(part)
        (left if place < cut else right).update(part)
    left.merge(right)
    assert same(whole, left)


@kinds
def test_a_restored_observer_goes_on_like_the_first(kind: str) -> None:
    first, second = OBSERVERS[kind](), OBSERVERS[kind]()
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    first.update(x)
    second.restore({key: array.copy() for key, array in first.state().items()})
    assert same(first, second)
    for observer in (first, second):
        observer.update(100 * x)
    assert same(first, second)


@given(tensors)
def test_channels_are_those_of_numpy(parts: list[np.ndarray]) -> None:
    extremes, mean = ChannelExtremesObserver(), ChannelMeanObserver()
    for part in parts:
        extremes.update(part)
        mean.update(part)
    every = np.concatenate(parts).astype(np.float64)
    np.testing.assert_array_equal(extremes.minimum, every.min(axis=(0, 2)))
    np.testing.assert_array_equal(extremes.maximum, every.max(axis=(0, 2)))
    size = np.abs(every).max(initial=1.0)
    np.testing.assert_allclose(mean.mean(), every.mean(axis=(0, 2)), atol=1e-12 * size)


@pytest.mark.parametrize("kind", ["channel_extremes", "channel_mean"])
def test_another_number_of_channels_is_told(kind: str) -> None:
    observer = OBSERVERS[kind]()
    observer.update(np.ones((1, 3), np.float32))
    with pytest.raises(DataError, match="has 4 channels, and had 3"):
        observer.update(np.ones((1, 4), np.float32))


def test_a_mean_of_infinite_numbers_is_refused() -> None:
    with pytest.raises(DataError, match="has no mean"):
        ChannelMeanObserver().update(np.array([[1.0, np.inf]], np.float32))


def test_extremes_come_with_a_histogram() -> None:
    needs = joined(
        {"a": frozenset({"extremes"})}, {"a": frozenset({"histogram"}), "b": frozenset({"extremes"})}
    )
    assert needs == {"a": {"histogram"}, "b": {"extremes"}}
    statistics = Statistics.empty(needs)
    assert isinstance(statistics.of("a", "extremes"), Observer)
    assert type(statistics.of("b", "extremes")) is ExtremesObserver  # no bins are paid for


def test_several_values_are_asked_as_one() -> None:
    statistics = Statistics.empty(dict.fromkeys(("a", "b"), frozenset({"histogram"})))
    statistics.update("a", np.array([-3.0, 0.5], np.float32))
    statistics.update("b", np.array([7.0], np.float32))
    found = statistics.asked(("a", "b"), "histogram")
    assert isinstance(found, Histogram)
    assert (found.minimum, found.maximum, found.total) == (-3.0, 7.0, 3)
    before = statistics.copy()
    statistics.update("b", np.array([9.0], np.float32))
    assert before.extremes(("b",)).maximum == 7.0


def test_what_was_not_kept_is_told() -> None:
    statistics = Statistics.empty({"a": frozenset({"extremes"})})
    with pytest.raises(DataError, match="no statistics of kind 'histogram' of value 'a'; observe"):
        statistics.asked(("a",), "histogram")
    with pytest.raises(DataError, match="of value 'z'"):
        statistics.extremes(("z",))


def test_a_nan_names_the_value() -> None:
    statistics = Statistics.empty({"a": frozenset({"extremes"})})
    with pytest.raises(DataError, match=r"value 'a' is not a number \(NaN\) in the float model"):
        statistics.update("a", np.array([np.nan], np.float32))


def test_any_kind_may_be_asked_for_by_a_method() -> None:
    statistics = Statistics.empty({"a": frozenset(OBSERVERS)})
    x = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
    statistics.update("a", x)
    low, high = statistics.asked(("a",), "channel_extremes")
    np.testing.assert_array_equal((low, high), (x.min(axis=0), x.max(axis=0)))
    np.testing.assert_array_equal(statistics.asked(("a",), "channel_mean"), x.mean(axis=0))
    assert statistics.asked(("a",), "extremes").maximum == 4.0
    assert statistics.asked(("a",), "histogram").total == 4
