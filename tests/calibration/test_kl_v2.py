"""kl_v2: kl where kl is right, and no large squared error anywhere."""

from __future__ import annotations

import pytest

from knight.calibration import kl, mse
from knight.calibration.kl_v2 import TOLERANCE, clipping_range
from knight.types import QuantSpec
from tests.calibration._samples import SPECS, TENSORS, histogram_of, real_error


@pytest.mark.parametrize("tensor", ["normal", "one_sided", "relu6", "mask", "zeros"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_is_kl_on_ordinary_tensors(tensor, spec):
    histogram = histogram_of(TENSORS[tensor])
    assert clipping_range(histogram, spec) == kl.clipping_range(histogram, spec)


def test_heavy_tails_are_given_back():
    x = TENSORS["heavy_tailed"]
    histogram, spec = histogram_of(x), QuantSpec()
    by_kl = real_error(x, spec, *kl.clipping_range(histogram, spec))
    corrected = clipping_range(histogram, spec)
    assert corrected == mse.clipping_range(histogram, spec)
    assert real_error(x, spec, *corrected) < by_kl / TOLERANCE


@pytest.mark.parametrize("tensor", ["normal", "one_sided", "peaked", "heavy_tailed", "silu", "one_outlier"])
@pytest.mark.parametrize("name", ["int8", "uint8", "int8_asymmetric"])
def test_the_error_stays_within_the_tolerance_of_the_least(tensor, name):
    x, spec = TENSORS[tensor], SPECS[name]
    histogram = histogram_of(x)
    least = real_error(x, spec, *mse.clipping_range(histogram, spec))
    assert real_error(x, spec, *clipping_range(histogram, spec)) <= 1.1 * TOLERANCE * least
