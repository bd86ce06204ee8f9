"""The report as text: one file, valid data, nothing that a name could break out of, small enough."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from knight.compare.comparison import Channels, Comparison, HistogramPair, Layer
from knight.compare.metrics import columns
from knight.compare.report import _arrays, write_report
from tests.compare._samples import sample_comparison

WEIGHTED = 2  # a layer of the sample that has a weight


def embedded(html: str) -> dict[str, Any]:
    """The data of a page, read the way a browser does: up to the first closing tag, no NaN allowed."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', html, re.DOTALL)
    assert found

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    loaded: dict[str, Any] = json.loads(found[1], parse_constant=refuse)
    return loaded


def one_layer(**changes: Any) -> Comparison:
    layer = Layer(0, "Relu", "relu", "y", "y_q", (1, 3), {"mre": 0.1})
    return Comparison("a.onnx", "b.onnx", [replace(layer, **changes)])


def test_page_holds_the_numbers_of_the_comparison() -> None:
    comparison = sample_comparison()
    page = embedded(write_report(comparison))
    assert len(page["layers"]) == 60
    for shown, layer in zip(page["layers"], comparison.layers, strict=True):
        assert (shown["index"], shown["op"], shown["output"]) == (layer.index, layer.op_type, layer.output)
        assert shown.get("own") == (
            None if layer.own_sqnr is None else pytest.approx(layer.own_sqnr, rel=1e-3)
        )
        for column, value in zip(page["columns"], shown["figures"], strict=True):
            assert value == pytest.approx(layer.figures[column["key"]], rel=1e-6)
    assert page["loss"] == 1.9352
    assert page["remedies"][0]["layers"] == [comparison.layers[12].output, comparison.layers[22].output]
    assert page["unpaired"][0]["reason"] == "folded into the Conv before it"


def test_columns_and_their_titles_are_those_of_the_metrics() -> None:
    page = embedded(write_report(sample_comparison(5)))
    assert {column["key"]: column["title"] for column in page["columns"]} == {
        key: column.title for key, column in columns().items()
    }


def test_metrics_that_no_layer_has_are_no_columns() -> None:
    page = embedded(write_report(one_layer()))
    assert [column["key"] for column in page["columns"]] == ["mre"]


def test_guilty_are_the_ten_worst_by_own_error() -> None:
    comparison = sample_comparison()
    page = embedded(write_report(comparison))
    known = [place for place, layer in enumerate(comparison.layers) if layer.own_sqnr is not None]
    own = {place: comparison.layers[place].own_sqnr for place in known}
    assert page["guilty"] == sorted(known, key=lambda place: own[place])[:10]
    assert set(page["guilty"][:4]) == {12, 22, 32, 42}


@pytest.mark.parametrize(
    "name", ["</script><b>", "<!--<script>", "a\"b'c", "层\u2028\u2029", "{{data}}", "\\1", "&lt;", "\ud800"]
)
def test_names_cannot_leave_the_data(name: str) -> None:
    comparison = replace(one_layer(name=name, output=name), reference=name, arguments={name: name})
    html = write_report(comparison)
    page = embedded(html)
    assert page["layers"][0]["output"] == page["layers"][0]["name"] == page["reference"] == name
    assert page["arguments"] == {name: name}
    assert html.count("</script") == 2
    assert "<b>" not in html.partition("<main>")[0]


def test_title_is_escaped_and_names_both_files() -> None:
    html = write_report(replace(one_layer(), reference="dir/<a>.onnx", result="C:\\x\\b&c.onnx"))
    assert "<title>&lt;a&gt;.onnx and b&amp;c.onnx compared</title>" in html


def test_page_is_ascii_data_and_asks_for_nothing() -> None:
    html = write_report(sample_comparison(5))
    assert not re.search(r"https?:|//[a-z]+\.|@import|\burl\(|\bfetch\(|XMLHttp|\bsrc=", html)
    assert "default-src 'none'" in html
    assert "{{" not in html


def test_values_without_a_number_are_null() -> None:
    channels = Channels(np.array([0.0, -1.0]), np.array([np.inf, 2.0]), np.array([np.nan, 31.26]), (1,))
    page = embedded(
        write_report(one_layer(own_sqnr=float("nan"), channels=channels, figures={"mre": np.inf}))
    )
    layer = page["layers"][0]
    assert "own" not in layer
    assert layer["figures"] == [None]
    assert layer["channels"] == {
        "count": 2,
        "step": 1,
        "low": [0, -1],
        "high": [None, 2],
        "sqnr": [None, 31.3],
        "outliers": [1],
        "named": [{"channel": 1, "low": -1, "high": 2, "sqnr": 31.26}],
    }


def test_arguments_of_any_kind_are_written() -> None:
    given = {
        "path": PurePosixPath("a/b"),
        "n": np.int64(3),
        "x": float("inf"),
        "t": (1, None),
        "f": np.float32(0.5),
    }
    page = embedded(write_report(replace(one_layer(), arguments=given)))
    assert page["arguments"] == {"path": "a/b", "n": 3, "x": "inf", "t": [1, None], "f": 0.5}


def test_nothing_compared_is_a_page_too() -> None:
    page = embedded(write_report(Comparison("a", "b", [])))
    assert page["layers"] == page["columns"] == page["guilty"] == []


@pytest.mark.parametrize("value, text", [(1 / 3, 0.3333), (123456.0, 123500), (0.0, 0), (-2.0, -2)])
def test_short_keeps_four_significant_digits(value: float, text: float) -> None:
    assert _arrays.short(value) == text


@pytest.mark.parametrize("bins", [1, 64, 65, 128, 1000])
def test_histograms_keep_every_element_in_at_most_64_bins(bins: int) -> None:
    random = np.random.default_rng(bins)
    counts = random.integers(0, 50, (2, bins))
    found = _arrays.histogram(HistogramPair(np.linspace(-1.0, 3.0, bins + 1), counts[0], counts[1]))
    assert found is not None
    assert len(found["reference"]) == len(found["result"]) == len(found["edges"]) - 1 <= 64
    assert (sum(found["reference"]), sum(found["result"])) == (counts[0].sum(), counts[1].sum())
    assert (found["edges"][0], found["edges"][-1]) == (-1, 3)


def test_merged_channels_keep_extremes_and_the_worst_sqnr() -> None:
    random = np.random.default_rng(0)
    low, high, sqnr = -random.random(2500), random.random(2500), random.uniform(0, 40, 2500)
    sqnr[::2] = np.nan
    found = _arrays.channels(Channels(low, high, sqnr, (7, 2499)), 1024)
    assert found is not None
    assert (found["step"], found["count"], len(found["low"])) == (3, 2500, 834)
    assert found["outliers"] == [7, 2499]
    assert [(one["channel"], one["low"]) for one in found["named"]] == [
        (channel, pytest.approx(low[channel], rel=1e-3)) for channel in (7, 2499)
    ]
    for bar in (0, 400, 833):
        part = slice(3 * bar, 3 * bar + 3)
        assert found["low"][bar] == pytest.approx(low[part].min(), rel=1e-3)
        assert found["high"][bar] == pytest.approx(high[part].max(), rel=1e-3)
        finite = sqnr[part][np.isfinite(sqnr[part])]
        worst = pytest.approx(finite.min(), rel=1e-2) if finite.size else None
        assert found["sqnr"][bar] == worst


def test_200_layers_of_512_channels_all_weighted_stay_under_5_megabytes() -> None:
    comparison = sample_comparison(200, 512)
    weights = comparison.layers[WEIGHTED].weights
    assert weights is not None
    full = [replace(layer, weights=weights) for layer in comparison.layers]
    html = write_report(replace(comparison, layers=full))
    page = embedded(html)
    assert len(page["layers"][-1]["weights"]["channels"]["low"]) == 512
    assert len(html) < 5e6


def test_1000_layers_share_the_room_for_channels() -> None:
    html = write_report(sample_comparison(1000, 512))
    page = embedded(html)
    assert len(page["layers"]) == 1000
    assert {len(layer["channels"]["low"]) for layer in page["layers"]} == {128}
    assert len(html) < 8e6
