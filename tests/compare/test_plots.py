"""Plots without a display: they are written, whatever the layers look like."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from knight.compare import plots
from knight.compare.comparison import HistogramPair, Rounding
from knight.errors import ConfigError, OutputError
from tests.compare._samples import sample_comparison

SAMPLE = sample_comparison(20)
ODD_NAME = "$x_{\n" + "long" * 60


def picture(path):
    """Pixels of a PNG file, (height, width, 4)."""
    from matplotlib.image import imread

    assert path.read_bytes().startswith(b"\x89PNG")
    return imread(path)


def with_layer(index, **changes):
    layers = list(SAMPLE.layers)
    layers[index] = replace(layers[index], **changes)
    return replace(SAMPLE, layers=layers)


@pytest.mark.parametrize("count", [1, 20, 300])
def test_the_plot_is_drawn_for_any_number_of_layers(tmp_path, count):
    plots.plot_result(sample_comparison(count), tmp_path / "plot_result.png")
    height, width, _ = picture(tmp_path / "plot_result.png").shape
    assert 1000 <= width <= 2700 and 900 <= height <= 1100


def test_a_bad_layer_can_be_seen(tmp_path):
    calm = {**SAMPLE.layers[12].figures, "mre": 0.01}
    plots.plot_result(SAMPLE, tmp_path / "a.png")
    plots.plot_result(with_layer(12, figures=calm), tmp_path / "b.png")
    assert np.any(picture(tmp_path / "a.png") != picture(tmp_path / "b.png"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "comparison",
    [
        replace(SAMPLE, layers=[]),
        replace(SAMPLE, layers=[replace(layer, figures={}, own_sqnr=None) for layer in SAMPLE.layers]),
        with_layer(3, figures={"mre": float("inf"), "cos": float("nan"), "accumulated_sqnr": None}),
        with_layer(3, figures={"mre": 1e9, "cos": 0.5, "accumulated_sqnr": -200.0}, own_sqnr=-200.0),
        with_layer(0, figures={"mre": 0.0, "cos": 1.0, "accumulated_sqnr": 200.0}, own_sqnr=200.0),
        with_layer(12, output=ODD_NAME, op_type="$Conv"),
        replace(SAMPLE, reference="models/$a_{.onnx", result="", output_sqnr=None, loss=None),
    ],
    ids=["no_layers", "nothing_known", "not_finite", "huge", "exact", "odd_names", "bare"],
)
def test_odd_comparisons_are_drawn(tmp_path, comparison):
    plots.plot_result(comparison, tmp_path / "plot.png")
    assert picture(tmp_path / "plot.png").std() > 0


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been written."""
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    return figures


def test_every_curve_has_the_figures_of_its_layers_and_gaps_where_there_are_none(drawn):
    unknown = with_layer(7, own_sqnr=None, figures={**SAMPLE.layers[7].figures, "mre": None})
    plots.plot_result(unknown, None)
    mre, cos, sqnr = drawn[0].axes
    for axis, key, factor in ((mre, "mre", 100), (cos, "cos", 100), (sqnr, "accumulated_sqnr", 1)):
        wanted = [layer.figures[key] for layer in unknown.layers]
        wanted = [np.nan if value is None else factor * value for value in wanted]
        np.testing.assert_allclose(axis.lines[0].get_ydata(), wanted)
        assert list(axis.lines[0].get_xdata()) == list(range(20))
    own = [np.nan if layer.own_sqnr is None else layer.own_sqnr for layer in unknown.layers]
    np.testing.assert_array_equal(sqnr.lines[1].get_ydata(), own)


def test_the_worst_layers_by_themselves_are_named(drawn):
    plots.plot_result(SAMPLE, None)
    axis = drawn[0].axes[2]
    worst = [str(layer.index) for layer in SAMPLE.guilty()[:3]]
    assert [text.get_text() for text in axis.texts] == worst and worst[0] == "12"
    assert axis.get_legend().get_texts()[2].get_text() == (
        f"worst 12: Conv {SAMPLE.layers[12].output}, own {SAMPLE.layers[12].own_sqnr:.1f} dB"
    )


def test_an_exact_layer_does_not_flatten_the_others(drawn):
    figures = {**SAMPLE.layers[0].figures, "accumulated_sqnr": 200.0}
    plots.plot_result(with_layer(0, figures=figures, own_sqnr=200.0), None)
    low, high = drawn[0].axes[2].get_ylim()
    assert 0 < low < high < 60


def test_a_huge_error_is_shown_on_a_logarithmic_scale(drawn):
    for mre in (0.9, 90.0):
        plots.plot_result(with_layer(5, figures={"mre": mre}), None)
    assert [figure.axes[0].get_yscale() for figure in drawn] == ["linear", "symlog"]


@pytest.mark.parametrize(
    ("rounding", "left", "right"),
    [
        (Rounding(0.01, 0, 8, -0.5, 0.5), (-1.2, -1.0), (2.0, 10.0)),  # inside the data: all of it is seen
        (Rounding(0.01, 0, 8, -3.0, 3.0), (-3.5, -3.0), (3.0, 10.0)),  # around it: both ends are seen
        (Rounding(10.0, 0, 8, -900.0, 900.0), (-12.0, -2.0), (4.0, 13.0)),  # far off: the data stays readable
    ],
)
def test_the_range_is_marked_in_both_outputs(drawn, rounding, left, right):
    plots.plot_layer_histograms(replace(SAMPLE.layers[12], rounding=rounding), None)
    for axis in drawn[0].axes[:2]:
        assert [line.get_xdata()[0] for line in axis.lines] == [rounding.low, rounding.high]
        low, high = axis.get_xlim()
        assert left[0] <= low <= left[1] and right[0] <= high <= right[1]
    assert [len(axis.lines) for axis in drawn[0].axes[2:]] == [0, 0]


def panel(pixels, row, column):
    """One of the four panels, and how much of it has the colour of the float or the quantized side."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    part = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width, :3]
    blue, orange = np.array([0x2A, 0x6F, 0xBB]) / 255, np.array([0xD9, 0x73, 0x0D]) / 255
    return tuple(float(np.mean(np.abs(part - color).max(axis=-1) < 0.02)) for color in (blue, orange))


def test_four_histograms_of_a_layer_with_weights(tmp_path):
    plots.plot_layer_histograms(SAMPLE.layers[12], tmp_path / "h.png")
    pixels = picture(tmp_path / "h.png")
    for row in (0, 1):
        blue, orange = panel(pixels, row, 0)
        assert blue > 0.05 and orange == 0
        blue, orange = panel(pixels, row, 1)
        assert orange > 0.05 and blue == 0


def test_a_layer_without_weights_has_empty_panels(tmp_path):
    assert SAMPLE.layers[13].weights is None
    plots.plot_layer_histograms(SAMPLE.layers[13], tmp_path / "h.png")
    pixels = picture(tmp_path / "h.png")
    assert panel(pixels, 0, 0)[0] > 0.05 and panel(pixels, 1, 0) == panel(pixels, 1, 1) == (0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "changes",
    [
        {"histogram": None},
        {"rounding": None},
        {"rounding": Rounding(0.1, 0, 8, -12.8, 1e30)},
        {"rounding": Rounding(float("inf"), 0, 8, -float("inf"), float("inf"))},
        {"rounding": Rounding(1e-30, 0, 8, 0.0, 0.0)},
        {"histogram": HistogramPair(np.full(5, 2.0), np.array([9, 0, 0, 0]), np.zeros(4, np.int64))},
        {"histogram": HistogramPair(np.linspace(0, 1, 5), np.zeros(4, np.int64), np.zeros(4, np.int64))},
        {"output": ODD_NAME},
    ],
)
def test_odd_layers_are_drawn(tmp_path, changes):
    plots.plot_layer_histograms(replace(SAMPLE.layers[12], **changes), tmp_path / "h.png")
    assert picture(tmp_path / "h.png").std() > 0


def test_the_names_belong_to_the_indices_of_the_plot():
    lines = plots.names_file(with_layer(3, output="a\tb\nc")).splitlines()
    assert [line.split("\t") for line in lines[:2]] == [
        ["0", "Input", "input"],
        ["1", "Relu", SAMPLE.layers[1].output],
    ]
    assert len(lines) == 20 and lines[3] == "3\tAdd\ta b c"


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install knight-quant\[report\]"):
        plots.plot_result(SAMPLE, tmp_path / "plot.png")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"missing.*cannot be written: No such file"):
        plots.plot_result(SAMPLE, tmp_path / "missing" / "plot.png")


def test_pyplot_is_never_loaded_and_matplotlib_not_by_the_import(tmp_path):
    script = (
        "import sys; from knight.compare import plots; assert 'matplotlib' not in sys.modules\n"
        "from knight.compare.comparison import Comparison; from pathlib import Path\n"
        f"plots.plot_result(Comparison('a', 'b', []), Path({str(tmp_path / 'p.png')!r}))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    subprocess.run([sys.executable, "-c", script], check=True, env={**environment, "MPLBACKEND": "TkAgg"})
