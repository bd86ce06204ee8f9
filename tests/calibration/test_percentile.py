"""percentile: what is kept is counted on the data itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from knight.calibration.percentile import clipping_range
from knight.types import QuantSpec
from tests.calibration._samples import TENSORS, histogram_of

SPEC = QuantSpec()


def test_of_ten_thousand_values_one_is_dropped():
    x = np.random.default_rng(0).permutation(np.arange(1, 10_001)).astype(np.float32)
    low, high = clipping_range(histogram_of(x), SPEC, 0.9999)
    assert low == 0 and 9999 <= high < 10_000
    low, high = clipping_range(histogram_of(-x), SPEC, 0.9999)
    assert high == 0 and -10_000 < low <= -9998  # the bins of negative values end one value later


@pytest.mark.parametrize("percent", [0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize(
    "tensor", ["normal", "one_sided", "one_sided_negative", "heavy_tailed", "silu", "peaked"]
)
def test_follows_the_quantile_of_the_magnitudes(percent, tensor):
    x = TENSORS[tensor]
    histogram = histogram_of(x)
    low, high = clipping_range(histogram, SPEC, percent)
    threshold = float(np.quantile(np.abs(x), percent, method="inverted_cdf"))
    expected = max(float(min(x.min(), 0)), -threshold), min(float(max(x.max(), 0)), threshold)
    np.testing.assert_allclose((low, high), expected, atol=histogram.width)


@given(
    arrays(np.float32, st.integers(1, 200), elements=st.floats(-1000, 1000, width=32)),
    st.floats(0.01, 1.0),
)
def test_drops_no_more_than_asked_beyond_one_bin(x, percent):
    histogram = histogram_of(x)
    low, high = clipping_range(histogram, SPEC, percent)
    width = histogram.width
    assert np.count_nonzero((x >= low - width) & (x <= high + width)) >= percent * x.size - 1e-6 * x.size


@pytest.mark.parametrize("tensor", TENSORS)
def test_all_of_them_or_too_few_to_drop_one_is_the_full_range(tensor):
    x = TENSORS[tensor]
    full = (float(min(x.min(), 0)), float(max(x.max(), 0)))
    assert clipping_range(histogram_of(x), SPEC, 1.0) == full
    assert clipping_range(histogram_of(x[:1000]), SPEC, 0.9999) == (
        float(min(x[:1000].min(), 0)),
        float(max(x[:1000].max(), 0)),
    )


def test_the_small_side_of_an_uneven_tensor_is_kept():
    x = np.concatenate([np.linspace(0, 10, 9000), np.linspace(-0.2, 0, 1000)]).astype(np.float32)
    low, high = clipping_range(histogram_of(x), SPEC, 0.99)
    assert low == float(x.min())
    assert high == pytest.approx(10 - 10 / 90, abs=0.01)
