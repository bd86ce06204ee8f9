"""Thresholds for scripts: what passes, what does not, and what is said."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from knight.compare.comparison import Comparison, Layer
from knight.compare.gates import Gates, check
from knight.compare.metrics import columns
from knight.errors import ConfigError


def layer(index, op_type, output, own=None, broken=0, **figures):
    known = {key: figures.get(key) for key in columns()}
    return Layer(index, op_type, "n", output, output, (1, 4), known, own_sqnr=own, broken=broken)


BASE = Comparison(
    "a.onnx",
    "b.onnx",
    [
        layer(0, "Input", "x", cos=1.0, accumulated_sqnr=60.0),
        layer(1, "Conv", "bad", own=8.25, cos=0.98, accumulated_sqnr=8.0),
        layer(2, "Gemm", "y", own=30.0, cos=0.995, accumulated_sqnr=21.5),
    ],
    metric_reference=0.8,
    metric_result=0.78,
    loss=2.5,
    output_sqnr=20.0,
)


def only(comparison, **limits):
    (gate,) = check(comparison, Gates(**limits))
    return gate


def test_without_a_limit_there_is_no_gate():
    assert check(BASE, Gates()) == []


@pytest.mark.parametrize(
    ("limit", "passed"), [(0.98, True), (0.9801, False), (98.0, True), (98.1, False), (1.0, False), (0, True)]
)
def test_cos_is_held_against_the_lowest_layer(limit, passed):
    gate = only(BASE, cos=limit)
    assert (gate.name, gate.passed, gate.value) == ("fail-under-cos", passed, 0.98)
    assert gate.limit == pytest.approx(limit / 100 if limit > 1 else limit)
    assert "98 % at Conv 'bad'" in gate.text


@pytest.mark.parametrize(("limit", "passed"), [(20.0, True), (20.01, False), (-5, True)])
def test_sqnr_is_held_against_the_outputs(limit, passed):
    gate = only(BASE, sqnr=limit)
    assert (gate.passed, gate.value, gate.limit) == (passed, 20.0, limit)
    assert "20.00 dB" in gate.text and "Conv 'bad' with an own SQNR of 8.25 dB" in gate.text


def test_sqnr_falls_back_on_the_last_layer():
    gate = only(replace(BASE, output_sqnr=None), sqnr=21.0)
    assert (gate.passed, gate.value) == (True, 21.5)
    assert "the last layer, Gemm 'y'" in gate.text


@pytest.mark.parametrize(("limit", "passed"), [(2.5, True), (2.4, False), (0, False)])
def test_loss_is_in_percent(limit, passed):
    gate = only(BASE, loss=limit)
    assert (gate.name, gate.passed, gate.value) == ("fail-over-loss", passed, 2.5)
    assert "2.5 %" in gate.text and "Conv 'bad'" in gate.text


def test_the_text_says_on_which_side_of_the_limit():
    assert "under 99 %" in only(BASE, cos=99).text and "not under 97 %" in only(BASE, cos=97).text
    assert ", over 1 %" in only(BASE, loss=1).text and ", within 3 %" in only(BASE, loss=3).text


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_is_not_known_does_not_pass(missing):
    bare = replace(BASE, layers=[], output_sqnr=missing, loss=missing, metric_result=missing)
    for gate in check(bare, Gates(cos=0, sqnr=-100, loss=100)):
        assert not gate.passed and gate.value is None and "not known" in gate.text


def test_a_missing_loss_says_why():
    assert "for the quantized model" in only(replace(BASE, loss=None, metric_result=None), loss=1).text
    silent = replace(BASE, loss=None, metric_reference=math.nan, metric_result=None)
    assert "for the float and the quantized model" in only(silent, loss=1).text
    assert "metric is 0" in only(replace(BASE, loss=None, metric_reference=0.0), loss=1).text


def test_a_layer_of_no_numbers_does_not_pass_for_good():
    """All its elements became NaN: nothing is left that cos could be computed from."""
    broken = [*BASE.layers, layer(3, "Log", "nan", broken=4)]
    gate = only(replace(BASE, layers=broken), cos=0.5)
    assert not gate.passed and gate.value is None
    assert "Log 'nan'" in gate.text and "4 elements are finite in one of the two models only" in gate.text
    overflow = [*BASE.layers, layer(3, "Exp", "huge", mre=0.1)]
    assert "Exp 'huge': cos is not known" in only(replace(BASE, layers=overflow), cos=0.5).text


def test_an_empty_layer_stops_nothing():
    assert only(replace(BASE, layers=[*BASE.layers, layer(3, "Slice", "empty")]), cos=0.5).passed


def test_the_gates_come_in_a_fixed_order():
    gates = check(BASE, Gates(loss=1, sqnr=1, cos=1))
    assert [gate.name for gate in gates] == ["fail-under-cos", "fail-under-sqnr", "fail-over-loss"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        *(({"cos": 101}, "--fail-under-cos is 101"), ({"cos": -0.1}, "--fail-under-cos is -0.1")),
        *(({"loss": -1}, "--fail-over-loss is -1"), ({"sqnr": math.nan}, "--fail-under-sqnr is nan")),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(limits, said):
    with pytest.raises(ConfigError, match=said):
        Gates(**limits)
