"""Every calibration method goes through the same checks, on tensors of every shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from knight.calibration import calibrations, methods
from knight.errors import ConfigError
from knight.observer import OBSERVERS, Observer
from knight.quantizer import fake_quantize, params_from_range
from tests.calibration._samples import SPECS, TENSORS, histogram_of, real_error

names = pytest.mark.parametrize("name", calibrations.names())
specs = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
tensors = pytest.mark.parametrize("tensor", TENSORS)


def check_range(x, low, high):
    """The range holds zero and nothing outside the data widened to zero."""
    assert isinstance(low, float) and isinstance(high, float)
    assert min(float(x.min()), 0.0) <= low <= 0.0 <= high <= max(float(x.max()), 0.0)
    assert low < high or not x.any()
    assert math.copysign(1.0, high) > 0


def test_the_tables_order_of_the_five_methods():
    five = ("min_max", "percentile", "mse", "kl", "kl_v2")
    assert tuple(name for name in methods() if name in five) == five
    assert set(methods()) == set(calibrations.names())


@names
@specs
@tensors
def test_the_range_lies_within_the_data(name, spec, tensor):
    x = TENSORS[tensor]
    low, high = calibrations.get(name)(histogram_of(x), spec)
    check_range(x, low, high)
    params = params_from_range(low, high, spec)
    assert np.isfinite(params.scale) and params.scale > 0


@names
@specs
@given(
    x=arrays(
        np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_the_range_of_any_few_numbers_lies_within_them(name, spec, x):
    check_range(x, *calibrations.get(name)(histogram_of(x), spec))


@names
@pytest.mark.parametrize(
    "tensor", ["constant", "negative_constant", "single", "mask", "tiny", "relu6", "zeros"]
)
def test_few_distinct_values_survive(name, tensor):
    x = TENSORS[tensor]
    for spec in SPECS.values():
        low, high = calibrations.get(name)(histogram_of(x), spec)
        step = float(params_from_range(low, high, spec).scale)
        rounded = fake_quantize(x, params_from_range(low, high, spec))
        assert np.abs(rounded - x).max() <= step + 1e-6


@names
@tensors
def test_scaling_by_a_power_of_two_scales_the_range(name, tensor):
    x = TENSORS[tensor]
    if tensor in ("denormal", "huge"):
        pytest.skip("at the limits of float32 no larger or smaller numbers are left")
    for spec in SPECS.values():
        low, high = calibrations.get(name)(histogram_of(x), spec)
        scaled = calibrations.get(name)(histogram_of(x * np.float32(2**-9)), spec)
        np.testing.assert_allclose(np.multiply(scaled, 2**9), (low, high), rtol=1e-6)


@names
@specs
@pytest.mark.parametrize("tensor", ["normal", "one_sided", "one_sided_negative", "peaked", "silu", "relu6"])
def test_ordinary_tensors_lose_little_to_the_full_range(name, spec, tensor):
    """No method may cost 3 dB of squared error at 8 bit, nor clip at all to speak of at 16 bit."""
    x = TENSORS[tensor]
    low, high = calibrations.get(name)(histogram_of(x), spec)
    error = real_error(x, spec, low, high)
    assert error <= 2 * real_error(x, spec, float(min(x.min(), 0)), float(max(x.max(), 0)))


@names
def test_the_order_of_the_data_plays_no_part(name):
    x = TENSORS["heavy_tailed"]
    halves = Observer()
    halves.update(x[20_000:])
    halves.update(x[:20_000])
    for spec in SPECS.values():
        method = calibrations.get(name)
        assert method(halves.histogram(), spec) == method(histogram_of(x), spec)


@names
def test_it_needs_a_statistic_that_there_is(name):
    assert calibrations.get(name).needs in OBSERVERS


@names
def test_its_options_take_their_defaults_and_no_others_exist(name):
    method = calibrations.get(name)
    method.check({key: option.default for key, option in method.options.items()})
    with pytest.raises(ConfigError, match="unknown option 'nonsense'"):
        method.check({"nonsense": 1.0})
    for key, option in method.options.items():
        with pytest.raises(ConfigError, match=rf"{key} nan: wants "):
            method.check({key: math.nan})
        assert option.takes
