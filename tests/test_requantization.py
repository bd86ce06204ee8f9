"""Multiplier and shift against the real ratio that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from knight.requantization import requantize

BITS, SHIFTS = 15, (0, 31)


@given(st.lists(st.floats(2.0**-16, 2.0**14), min_size=1, max_size=8))
def test_a_ratio_in_reach_is_met_to_the_last_bit(ratios: list[float]) -> None:
    found = requantize(np.array(ratios), BITS, SHIFTS)
    assert ((found.shift >= 0) & (found.shift <= 31)).all()
    assert ((found.multiplier > 0) & (found.multiplier < 2**BITS)).all()
    np.testing.assert_allclose(found.multiplier / 2.0**found.shift, ratios, rtol=2.0**-BITS)
    assert found.error <= 2.0**-BITS


@given(st.floats(2.0**-60, 2.0**60))
def test_any_ratio_gets_the_nearest_pair_and_an_honest_error(ratio: float) -> None:
    found = requantize(np.array(ratio), BITS, SHIFTS)
    assert 0 <= found.shift[0] <= 31 and 0 <= found.multiplier[0] < 2**BITS
    reached = float(found.multiplier[0]) / 2.0 ** float(found.shift[0])
    assert found.error == pytest.approx(abs(reached - ratio) / ratio)


def test_integers_give_what_the_ratio_gives() -> None:
    found = requantize(np.array([0.0123]), BITS, SHIFTS)
    accumulators = np.arange(-10_000, 10_000)
    got = (accumulators * found.multiplier[0] + (1 << (int(found.shift[0]) - 1))) >> found.shift[0]
    assert np.abs(got - accumulators * 0.0123).max() <= 0.51
