"""mse: its range is compared with the best of many, each tried on the data itself."""

from __future__ import annotations

import numpy as np
import pytest

from knight.calibration._error import Moments, squared_error
from knight.calibration.mse import clipping_range
from knight.types import QuantSpec
from tests.calibration._samples import SPECS, TENSORS, histogram_of, real_error

SPREAD = [
    "normal",
    "one_sided",
    "one_sided_negative",
    "peaked",
    "heavy_tailed",
    "silu",
    "relu6",
    "one_outlier",
]
AT_8_BIT = {name: spec for name, spec in SPECS.items() if spec.bits == 8}


def best_of_many(x, spec):
    """The least real error over a grid of both ends (one threshold where the zero point is fixed)."""
    low, high = float(min(x.min(), 0)), float(max(x.max(), 0))
    ratios = np.geomspace(1, 1 / 300, 40)
    if spec.symmetric:
        bound = max(high, -low)
        ends = [(max(low, -bound * r), min(high, bound * r)) for r in ratios]
    else:
        ends = [(low * a, high * b) for a in (ratios if low else [1]) for b in (ratios if high else [1])]
    return min(real_error(x, spec, *end) for end in ends)


@pytest.mark.parametrize("tensor", SPREAD)
@pytest.mark.parametrize("spec", AT_8_BIT.values(), ids=AT_8_BIT.keys())
def test_no_other_range_is_clearly_better(tensor, spec):
    x = TENSORS[tensor][::10]
    if tensor == "one_outlier":
        x = TENSORS[tensor][-5000:]
    error = real_error(x, spec, *clipping_range(histogram_of(x), spec))
    assert error <= 1.05 * best_of_many(x, spec)


@pytest.mark.parametrize("tensor", SPREAD[:-1])  # beside an outlier of 10,000, one bin holds all the rest
@pytest.mark.parametrize("spec", AT_8_BIT.values(), ids=AT_8_BIT.keys())
@pytest.mark.parametrize("ratio", [1.0, 0.7, 0.3])
def test_the_predicted_error_is_the_real_one(tensor, spec, ratio):
    x = TENSORS[tensor]
    low, high = ratio * float(min(x.min(), 0)), ratio * float(max(x.max(), 0))
    predicted = squared_error(Moments.of(histogram_of(x)), spec, np.array([low]), np.array([high]))[0]
    assert predicted / x.size == pytest.approx(real_error(x, spec, low, high), rel=0.1)


def test_a_lone_outlier_is_clipped_only_as_far_as_it_pays():
    x = np.append(np.random.default_rng(0).normal(size=1_000_000), 20).astype(np.float32)
    _, high = clipping_range(histogram_of(x), QuantSpec())
    assert high < 6
    assert real_error(x, QuantSpec(), -high, high) <= 1.02 * best_of_many(x, QuantSpec())


def test_both_ends_are_searched_where_the_zero_point_is_free():
    rng = np.random.default_rng(0)
    x = np.concatenate([np.abs(rng.normal(size=50_000)) * 10, -np.abs(rng.standard_t(3, 50_000))])
    x = x.astype(np.float32)
    low, high = clipping_range(histogram_of(x), SPECS["uint8"])
    assert x.min() < low < -1 and 20 < high <= x.max()
    assert -low / x.min() < 0  # its own end, not minus the other
    assert low != -high


def test_exact_zeros_do_not_move_the_range():
    x = np.abs(np.random.default_rng(0).normal(size=20_000)).astype(np.float32)
    sparse = np.concatenate([x, np.zeros(400_000, np.float32)])
    for spec in AT_8_BIT.values():
        dense_range = clipping_range(histogram_of(x), spec)
        np.testing.assert_allclose(clipping_range(histogram_of(sparse), spec), dense_range, rtol=1e-3)


@pytest.mark.parametrize("tensor", ["normal", "one_sided", "silu"])
def test_16_bit_hardly_clips(tensor):
    x = TENSORS[tensor]
    low, high = clipping_range(histogram_of(x), SPECS["int16"])
    assert high >= 0.999 * x.max() and low <= 0.999 * min(x.min(), 0)
