"""Scales of weights and biases against plain statements of the rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from knight.errors import ModelError
from knight.quantizer import dequantize, params_from_range, quantize
from knight.solver import solve, spanning, weight_params
from knight.statistics import Statistics
from knight.targets import load_target
from knight.types import Group, QuantPlan, QuantSpec, Tensor
from tests.passes.equivalence import build, random
from tests.stages import plan_of, statistics_of

PER_CHANNEL = QuantSpec(bits=8, signed=True, symmetric=True, axis=0)


def test_each_channel_has_the_scale_of_its_extreme() -> None:
    weight = random(6, 3, 3, 3)
    params = weight_params("w", weight, PER_CHANNEL)
    np.testing.assert_allclose(params.scale, np.abs(weight).reshape(6, -1).max(axis=1) / 127, rtol=1e-6)


def test_a_channel_of_zeros_borrows_the_smallest_scale() -> None:
    weight = random(4, 3)
    weight[2] = 0
    scale = weight_params("w", weight, PER_CHANNEL).scale
    assert scale[2] == np.delete(scale, 2).min()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(ModelError, match="weight 'w' holds NaN or Inf"):
        weight_params("w", np.array([[1.0, bad]], np.float32), PER_CHANNEL)


@given(st.floats(1e-12, 1e6), st.floats(1e-6, 1e3))
def test_the_bias_always_fits_and_keeps_its_precision(magnitude: float, spread: float) -> None:
    weight = np.array([[spread, -spread], [1e-9, 0.0]], np.float32).reshape(2, 2, 1, 1)
    bias = np.array([magnitude, -magnitude], np.float32)
    model = build("y = Conv(x, w, b)", {"w": weight, "b": bias}, inputs={"x": (1, 2, 4, 4)})
    plan = plan_of(model, load_target("onnxruntime"))
    params = solve(model, plan, statistics_of(model, plan, [{"x": random(1, 2, 4, 4)}]))
    unit = params.unit(plan, plan.accumulators["node0"])
    stored = quantize(bias, params.biases["node0"])
    np.testing.assert_array_equal(params.biases["node0"].scale, unit)  # the accumulator's own unit
    assert np.abs(stored.astype(np.int64)).max() <= 2**30 + 1
    np.testing.assert_allclose(dequantize(stored, params.biases["node0"]), bias, rtol=1e-6, atol=unit.max())


def test_a_group_is_solved_from_the_merged_statistics() -> None:
    statistics = Statistics.empty({"a": frozenset({"extremes"}), "b": frozenset({"extremes"})})
    statistics.update("a", np.array([-1.0, 0.5], np.float32))
    statistics.update("b", np.array([3.0], np.float32))
    spec = QuantSpec(signed=False, symmetric=False)
    plan = QuantPlan({"a": Tensor("a", "a")}, {"a": Group(spec, "min_max", sources=("a", "b"))})
    found = solve(build("y = Relu(x)"), plan, statistics).activations["a"]
    assert found.low == pytest.approx(-1.0, abs=float(found.scale))
    assert found.high == pytest.approx(3.0, abs=float(found.scale))


def test_what_holds_all_parts_is_the_widest_part_itself_if_it_can_be() -> None:
    spec = QuantSpec(bits=8, signed=False, symmetric=False)
    narrow, wide = params_from_range(-1.0, 2.0, spec), params_from_range(-1.5, 6.0, spec)
    assert spanning([narrow, wide], spec) is wide
    low, high = params_from_range(-4.0, 1.0, spec), params_from_range(-1.0, 3.0, spec)
    both = spanning([low, high], spec)
    assert both.low <= low.low + both.scale and both.high >= high.high - both.scale
    symmetric = [params_from_range(-bound, bound, QuantSpec()) for bound in (1.0, 3.0, 2.0)]
    assert spanning(symmetric, QuantSpec()) is symmetric[1]


def test_a_part_of_zeros_does_not_stretch_the_range_of_the_whole() -> None:
    spec = QuantSpec(signed=False, symmetric=False)
    names = ("a", "dead", "y", "nothing")
    statistics = Statistics.empty({name: frozenset({"extremes"}) for name in names})
    statistics.update("a", np.array([-0.01, 0.02], np.float32))
    for name in ("dead", "nothing"):
        statistics.update(name, np.zeros(3, np.float32))
    statistics.update("y", np.array([-0.01, 0.02, 0.0], np.float32))
    groups = {name: Group(spec, "min_max", sources=(name,)) for name in names}
    groups["y"] = Group(spec, "min_max", sources=("a", "dead"), spans=("a", "dead"))
    groups["nothing"] = Group(spec, "min_max", sources=("dead",), spans=("dead", "dead"))
    plan = QuantPlan({name: Tensor(name, name) for name in names}, groups)
    found = solve(build("y = Relu(x)"), plan, statistics).activations
    assert found["y"] == found["a"] and float(found["y"].high) < 0.03
    assert found["nothing"] == found["dead"]
