"""The sums per channel of a layer's own error, against the same sums written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight.compare import own as module
from knight.compare.own import Own, Samples

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def triple(shape: tuple[int, ...], seed: int = 0) -> Triple:
    """A layer's numbers: in float, with rounded weights, and rounded itself."""
    random = np.random.default_rng(seed)
    left = random.normal(size=shape).astype(np.float32)
    middle = (left + 0.05 * random.normal(size=shape)).astype(np.float32)
    return left, middle, (np.rint(middle * 10) / 10).astype(np.float32)


def by_channel(array: np.ndarray, axis: int | None) -> np.ndarray:
    """(channels, elements)"""
    array = np.asarray(array, np.float64)
    return (
        array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    )


def assert_sums(own: Own, calls: list[Triple], axis: int | None, *, middle: bool = True) -> None:
    left, between, right = (
        np.concatenate([by_channel(call[place], axis) for call in calls], axis=1) for place in range(3)
    )
    if not middle:
        between = left
    wanted = {
        "count": np.full(left.shape[0], left.shape[1]),
        "signal": (left**2).sum(1),
        "noise": ((right - left) ** 2).sum(1),
        "shift": (right - left).sum(1),
        "weight_noise": ((between - left) ** 2).sum(1),
        "weight_shift": (between - left).sum(1),
    }
    assert set(own.sums) == set(wanted) == set(Own.SUMS)
    for name, numbers in wanted.items():
        slack = 1e-7 * left.shape[1]  # shifts are sums of numbers of both signs
        np.testing.assert_allclose(own.sums[name], numbers, rtol=3e-6, atol=slack, err_msg=name)
        assert own.total(name) == pytest.approx(numbers.sum(), rel=3e-6, abs=slack * left.shape[0])
    np.testing.assert_array_equal(own.low, left.min(1))
    np.testing.assert_array_equal(own.high, left.max(1))
    assert own.rounding == pytest.approx(((right - between) ** 2).sum())
    assert own.calls == len(calls)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2, 5, 4, 3), 1),
        ((3, 7), 0),
        ((2, 6, 8), 2),
        ((2, 6, 8), None),
        ((1, 3, 200, 100), 1),  # a channel of more than one block
        ((3, 9000), 1),  # many channels of few elements
        ((40, 300, 1), 1),
        ((700, 4, 9), 1),  # many rows
    ],
)
@pytest.mark.parametrize("middle", [True, False])
def test_the_sums_are_those_of_the_formulas(shape: tuple[int, ...], axis: int | None, middle: bool) -> None:
    calls = [triple(shape, seed) for seed in range(3)]
    own = Own(axis)
    for left, between, right in calls:
        own.update(left, between if middle else None, right)
    assert_sums(own, calls, axis, middle=middle)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    axis=st.integers(0, 3),
    batches=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    block=st.integers(1, 40),
)
def test_no_shape_and_no_block_loses_an_element(
    shape: list[int], axis: int, batches: list[int], block: int
) -> None:
    axis = axis % (len(shape) - 1) + 1 if len(shape) > 1 else 0
    calls = [triple((batch, *shape[1:]), seed) for seed, batch in enumerate(batches)]
    own = Own(axis)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", block)
        for call in calls:
            own.update(*call)
    assert_sums(own, calls, axis)


def test_a_batch_that_varies_keeps_the_channels() -> None:
    calls = [triple((batch, 3, 5), batch) for batch in (1, 4, 2)]
    own = Own(1)
    for call in calls:
        own.update(*call)
    assert_sums(own, calls, 1)


@pytest.mark.parametrize("shape", [(), (4,)])
def test_what_has_no_such_axis_is_one_channel(shape: tuple[int, ...]) -> None:
    call = triple(shape)
    own = Own(1)
    own.update(*call)
    assert_sums(own, [call], None)


def test_another_number_of_channels_is_an_error() -> None:
    own = Own(1)
    own.update(*triple((1, 3, 5)))
    with pytest.raises(ValueError, match="4 channels, earlier 3"):
        own.update(*triple((1, 4, 5)))


@pytest.mark.parametrize("shape", [(0,), (0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_an_empty_tensor_adds_nothing(shape: tuple[int, ...]) -> None:
    call = triple((2, 3, 4))
    own = Own(1, -1.0, 1.0)
    own.update(*triple(shape))
    assert (own.sums, own.low.size, own.total("noise")) == ({}, 0, 0.0)
    own.update(*call)
    np.testing.assert_allclose(own.sums["count"], [8, 8, 8])
    assert own.calls == 2


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_share_in_the_sums(place: int, value: float) -> None:
    call = triple((2, 3, 4))
    call[place][1, 2, 3] = value
    own = Own(1, -0.5, 0.5)
    own.update(*call)
    for array in call:
        array[1, 2, 3] = 0
    left, between, right = (by_channel(array, 1) for array in call)
    np.testing.assert_allclose(own.sums["signal"], (left**2).sum(1))
    np.testing.assert_allclose(own.sums["noise"], ((right - left) ** 2).sum(1))
    np.testing.assert_allclose(own.sums["weight_noise"], ((between - left) ** 2).sum(1))
    assert np.isfinite([own.rounding, own.clipped_noise]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_does_not_hide_the_range_of_its_channel(value: float) -> None:
    left, middle, right = triple((1, 2, 50))
    left[0, 0, 7] = value
    own = Own(1)
    own.update(left, middle, right)
    left[0, 0, 7] = np.nan
    np.testing.assert_array_equal(own.low, np.nanmin(left, axis=(0, 2)))
    np.testing.assert_array_equal(own.high, np.nanmax(left, axis=(0, 2)))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int64, np.uint8, np.float16, np.float64])
def test_numbers_of_any_type(dtype: type) -> None:
    random = np.random.default_rng(5)
    left, right = ((random.random((2, 3, 9)) * 3).astype(dtype) for _ in range(2))
    own = Own(1)
    own.update(left, None, right)
    numbers = by_channel(left, 1), by_channel(right, 1)
    np.testing.assert_allclose(own.sums["signal"], (numbers[0] ** 2).sum(1))
    np.testing.assert_allclose(own.sums["noise"], ((numbers[1] - numbers[0]) ** 2).sum(1))


def test_what_the_range_cuts_off() -> None:
    calls = [triple((2, 3, 40), seed) for seed in range(2)]
    own = Own(1, -0.75, 1.25)
    for call in calls:
        own.update(*call)
    left = np.concatenate([call[0].reshape(-1) for call in calls]).astype(np.float64)
    over = np.maximum(left - 1.25, 0) + np.maximum(-0.75 - left, 0)
    assert own.clipped == np.count_nonzero((left > 1.25) | (left < -0.75)) > 0
    assert own.clipped_noise == pytest.approx((over**2).sum())


def test_a_value_that_is_not_rounded_is_not_cut() -> None:
    own = Own(1)
    own.update(*triple((2, 3, 40)))
    assert (own.clipped, own.clipped_noise) == (0, 0.0)


def test_the_two_calls_that_reach_farthest_are_known_by_number() -> None:
    own = Own(1)
    for reach in (1.0, -7.0, 3.0, 5.0, -2.0):
        array = np.zeros((1, 3, 4), np.float32)
        array[0, 1, 2] = reach
        own.update(array, None, array)
    assert own.reaches == [(7.0, 2), (5.0, 4)]


# Samples for histograms ------------------------------------------------------------------------------------


def test_few_numbers_are_all_kept() -> None:
    samples = Samples()
    left, _, right = triple((2, 3, 40))
    samples.update(left, right)
    kept = samples.arrays()
    np.testing.assert_array_equal(kept[0], left.reshape(-1))
    np.testing.assert_array_equal(kept[1], right.reshape(-1))
    assert [array.size for array in Samples().arrays()] == [0, 0]


def test_the_samples_are_bounded_and_stay_pairs_of_all_calls() -> None:
    samples, calls = Samples(), 400
    for call in range(calls):
        left = (call + np.linspace(0, 1, 9973, endpoint=False)).astype(np.float32)
        samples.update(left, -left)
    left, right = samples.arrays()
    assert 1000 < left.size <= module._SAMPLED + 4096
    np.testing.assert_array_equal(left, -right)
    # The numbers lie evenly from 0 to 400, and so do the samples: no call is forgotten or much preferred.
    shares, _ = np.histogram(left, bins=8, range=(0, calls))
    assert shares.min() > 0.4 * shares.mean()
    assert shares.max() < 2.5 * shares.mean()
    assert np.mean(left % 1) == pytest.approx(0.5, abs=0.1)


def test_the_samples_are_of_all_columns_of_a_picture() -> None:
    samples, width = Samples(), 64
    for _ in range(8):
        columns = np.tile(np.arange(width, dtype=np.float32), (32, width, 1))  # 32 channels, 64 x 64
        samples.update(columns, columns)
    counts, _ = np.histogram(samples.arrays()[0], bins=width, range=(0, width))
    assert counts.min() > 0.7 * counts.mean()
    again = Samples()
    again.update(columns, columns)
    assert np.unique(again.arrays()[0]).size == width  # in a single call, too
