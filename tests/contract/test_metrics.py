"""Every metric goes through the same checks."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from knight.compare import metrics as package
from knight.compare.metrics import Column, columns, figures, metrics
from knight.compare.tally import Tally

names = pytest.mark.parametrize("name", metrics.names())


def tally_of(*pairs):
    tally = Tally()
    for reference, result in pairs:
        tally.update(np.asarray(reference), np.asarray(result))
    return tally


def values(name, *pairs):
    """The metric's columns, with what it says of these pairs of tensors."""
    metric = metrics.get(name)
    return list(zip(metric.columns.items(), metric.compute(tally_of(*pairs)), strict=True))


def signal(seed=0, size=5000):
    return np.random.default_rng(seed).normal(0.3, 2.0, size).astype(np.float32)


def noisy(x, size, seed=1):
    return x + size * np.random.default_rng(seed).normal(size=x.shape).astype(np.float32)


def test_the_documented_metrics_are_known():
    assert {"mre", "cos", "rmse", "maxdiff", "bias", "bands"} <= set(metrics.names())


def test_keys_and_titles_belong_to_one_metric_only():
    keys = [key for name in metrics.names() for key in metrics.get(name).columns]
    assert len(keys) == len(set(keys)) == len(columns())
    titles = [column.title for column in columns().values()]
    assert len(titles) == len(set(titles))
    taken = {"index", "op_type", "name", "output", "shape", "own_sqnr", "cause", "rounding"}
    assert not taken & set(keys)


def test_all_figures_come_together():
    tally = tally_of((signal(), noisy(signal(), 0.1)))
    together = figures(tally)
    for name in metrics.names():
        metric = metrics.get(name)
        assert tuple(together[key] for key in metric.columns) == metric.compute(tally)


@names
def test_its_file_states_the_formula_and_its_columns_can_be_shown(name):
    metric = metrics.get(name)
    assert __import__(f"{package.__name__}.{name}", fromlist=["metric"]).__doc__
    assert metric.columns
    for key, column in metric.columns.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", key)
        assert isinstance(column, Column) and column.title.isprintable() and 0 <= column.digits <= 8


@names
def test_nothing_compared_is_not_known(name):
    assert all(value is None for _, value in values(name))
    assert all(value is None for _, value in values(name, (np.zeros((2, 0)), np.zeros((2, 0)))))
    assert all(value is None for _, value in values(name, ([math.nan, math.inf], [math.nan, math.inf])))


@names
@settings(max_examples=100, deadline=None)
@given(
    pair=st.tuples(
        *[arrays(np.float32, 5, elements=st.floats(width=32))] * 2,
    )
)
def test_any_float32_numbers_give_plain_json_numbers(name, pair):
    for _, value in values(name, pair):
        assert value is None or type(value) is float
        json.dumps(value, allow_nan=False)


@names
def test_no_noise_is_never_worse_than_noise(name):
    """`falling` tells a small bad number from a large one."""
    x = signal()
    for ((key, column), clean), (_, dirty) in zip(
        values(name, (x, x)), values(name, (x, noisy(x, 0.5))), strict=True
    ):
        better = clean >= dirty if column.falling else clean <= dirty
        assert better, key


@names
def test_the_order_and_the_cut_of_the_data_play_no_part(name):
    x = signal()
    y = noisy(x, 0.1)
    whole = [value for _, value in values(name, (x, y))]
    parts = [value for _, value in values(name, (x[3000:], y[3000:]), (x[:3000], y[:3000]))]
    np.testing.assert_allclose(parts, whole, rtol=1e-9)


@names
def test_scaling_both_sides_scales_at_most_what_has_a_unit(name):
    """A power of two, so that the numbers stay exact; only `max_absolute` is in the unit of the data."""
    x = signal()
    y = noisy(x, 0.1)
    for ((key, _), plain), (_, scaled) in zip(
        values(name, (x, y)), values(name, (x * np.float32(8), y * np.float32(8))), strict=True
    ):
        assert scaled == pytest.approx(plain * (8 if key == "max_absolute" else 1), rel=1e-9), key
