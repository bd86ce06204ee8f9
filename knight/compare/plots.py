"""PNG plots of a comparison, drawn straight into a canvas: no display and no state of pyplot is needed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from knight.compare.comparison import Array, Comparison, HistogramPair, Layer, Rounding
from knight.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLOAT, _QUANTIZED, _WORST = "#2a6fbb", "#d9730d", "#b3261e"
_GRID, _GREY = "#dddddd", "#777777"
_NAMED = 3  # layers with the lowest own SQNR that are marked in the plot
_EXACT = 199.0  # dB; an error of nothing is 200
_FEW = 60  # layers up to which every point has a mark


def plot_result(comparison: Comparison, path: Path) -> None:
    """plot_result.png: MRE, cos and both SQNRs over the layers' index; `names_file` has their names.

    Raises ConfigError without matplotlib, OutputError where the file cannot be written.
    """
    layers = comparison.layers
    width = min(max(10.0, 0.06 * len(layers)), 24.0)
    figure = _figure(width, 9.0)
    first = figure.add_subplot(3, 1, 1)
    axes = [first, *(figure.add_subplot(3, 1, row, sharex=first) for row in (2, 3))]
    figure.suptitle(_title(comparison), fontsize=12, parse_math=False)
    _line(axes[0], layers, lambda layer: _percent(layer, "mre"), _FLOAT, "MRE")
    axes[0].set_ylabel("MRE (%)")
    _fit_errors(axes[0])
    _line(axes[1], layers, lambda layer: _percent(layer, "cos"), _FLOAT, "cos")
    axes[1].set_ylabel("cos (%)")
    _line(axes[2], layers, lambda layer: layer.sqnr, _FLOAT, "accumulated")
    _line(axes[2], layers, lambda layer: layer.own_sqnr, _QUANTIZED, "own", points=True)
    axes[2].set_ylabel("SQNR (dB)")
    axes[2].set_xlabel("layer index")
    _fit_decibels(axes[2])
    _name_the_worst(axes[2], comparison)
    for axis in axes:
        _dress(axis, layers)
    legend = axes[2].legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, path)


def plot_layer_histograms(layer: Layer, path: Path) -> None:
    """2x2: the layer's output and its weight, each in the float and in the quantized model.

    The representable range of the output is marked in both of its panels; counts are on a logarithmic
    scale, as most values of a rectified layer are 0. Raises as `plot_result` does.
    """
    figure = _figure(11.0, 7.5)
    axes = [figure.add_subplot(2, 2, place) for place in (1, 2, 3, 4)]
    figure.suptitle(
        f"{layer.index}: {_shorten(layer.op_type, 30)} {_shorten(layer.output, 80)}",
        fontsize=12,
        parse_math=False,
    )
    weights = layer.weights
    titles = ("float output", _bits("quantized output", layer.rounding.bits if layer.rounding else None))
    _histograms(axes[:2], layer.histogram, titles, "no histogram of the output")
    if layer.histogram is not None and layer.rounding is not None:
        for axis in axes[:2]:
            _range(axis, layer.rounding)
    titles = ("float weight", _bits("quantized weight", weights.bits if weights else None))
    missing = "no histogram of the weight" if weights else "no weights"
    _histograms(axes[2:], weights.histogram if weights else None, titles, missing)
    _save(figure, path)


def names_file(comparison: Comparison) -> str:
    """plot_out_name_idx.txt: a line ``index<TAB>OP-TYPE<TAB>OUT-NAME`` for every layer of the plot."""
    lines = (
        "\t".join((str(layer.index), _on_one_line(layer.op_type), _on_one_line(layer.output)))
        for layer in comparison.layers
    )
    return "".join(f"{line}\n" for line in lines)


def _figure(width: float, height: float) -> Figure:
    """A figure with a canvas of its own, in inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"plots need matplotlib, which cannot be imported ({error}): pip install knight-quant[report]"
        ) from error
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _title(comparison: Comparison) -> str:
    facts = [f"{Path(comparison.reference).name} against {Path(comparison.result).name}"]
    facts.append(f"{len(comparison.layers)} layers, {comparison.samples} samples")
    if comparison.output_sqnr is not None:
        facts.append(f"SQNR of the outputs {comparison.output_sqnr:.1f} dB")
    if comparison.loss is not None:
        facts.append(f"loss {comparison.loss:.2f} %")
    return _on_one_line("  ·  ".join(facts))


def _line(
    axis: Axes,
    layers: Sequence[Layer],
    read: Callable[[Layer], float | None],
    color: str,
    label: str,
    points: bool = False,
) -> None:
    """A curve with gaps where a figure is not known; `points`: marks instead, as neighbours share nothing."""
    values = np.array([_finite(read(layer)) for layer in layers], np.float64)
    indices = [layer.index for layer in layers]
    few = len(layers) <= _FEW
    if points:
        axis.plot(
            indices,
            values,
            linestyle="none",
            marker="o",
            markersize=5 if few else 3,
            color=color,
            label=label,
        )
        return
    marker = "." if few else ""
    axis.plot(indices, values, color=color, linewidth=1.4, marker=marker, label=label)


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def _percent(layer: Layer, key: str) -> float | None:
    value = layer.figures.get(key)
    return None if value is None else 100.0 * value


def _drawn(axis: Axes) -> Array:
    """The finite numbers on the y axis."""
    values = np.concatenate([np.asarray(line.get_ydata(orig=False), np.float64) for line in axis.get_lines()])
    finite: Array = values[np.isfinite(values)]
    return finite


def _fit_errors(axis: Axes) -> None:
    """From 0; logarithmic above 1 % where one layer would make all others flat."""
    if _drawn(axis).max(initial=0.0) > 100.0:
        axis.set_yscale("symlog", linthresh=1.0)
    axis.set_ylim(bottom=0.0)


def _fit_decibels(axis: Axes) -> None:
    """Without the exact layers, whose 200 dB would make all others flat: their line leaves at the top."""
    drawn = _drawn(axis)
    ordinary = drawn[drawn < _EXACT]
    if ordinary.size and ordinary.size < drawn.size:
        low, high = float(ordinary.min()), float(ordinary.max())
        margin = 0.05 * max(high - low, 1.0)
        axis.set_ylim(low - margin, high + margin)
        axis.set_title("exact layers are above the plot", loc="right", fontsize=9, color=_GREY)


def _name_the_worst(axis: Axes, comparison: Comparison) -> None:
    """Marks the layers with the lowest own SQNR; the number is in the plot, the name in the legend."""
    for layer in comparison.guilty()[:_NAMED]:
        own = layer.own_sqnr
        if own is None or not own < _EXACT:
            continue
        name = f"{layer.index}: {_shorten(layer.op_type, 30)} {_shorten(layer.output, 70)}, own {own:.1f} dB"
        (mark,) = axis.plot([layer.index], [own], "o", markersize=7, color=_WORST, label=f"worst {name}")
        mark.set_zorder(3)
        axis.annotate(
            str(layer.index),
            (layer.index, own),
            xytext=(6, 4),
            textcoords="offset points",
            color=_WORST,
            fontsize=9,
        )


def _dress(axis: Axes, layers: Sequence[Layer]) -> None:
    """Grid, whole indices on the x axis, plain numbers on the y axis."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axis.grid(color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=24, integer=True, min_n_ticks=1))
    axis.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    first, last = (layers[0].index, layers[-1].index) if layers else (0, 0)
    margin = max(0.5, 0.01 * (last - first))
    axis.set_xlim(first - margin, last + margin)
    if not _drawn(axis).size:
        axis.set_yticks([])
        _say(axis, "not known for any layer")


def _histograms(
    axes: Sequence[Axes], histogram: HistogramPair | None, titles: Sequence[str], missing: str
) -> None:
    """Two panels, float and quantized, on the same axes; `missing` is said where there is nothing."""
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
    if histogram is None:
        for axis in axes:
            axis.set_axis_off()
            _say(axis, missing)
        return
    top = max(int(histogram.reference.max(initial=0)), int(histogram.result.max(initial=0)), 1)
    pairs = ((histogram.reference, _FLOAT), (histogram.result, _QUANTIZED))
    for axis, (counts, color) in zip(axes, pairs, strict=True):
        axis.stairs(counts, histogram.edges, fill=True, color=color, baseline=0.5)
        axis.set_yscale("log")
        axis.set_ylim(0.5, 2.0 * top)
        axis.set_xlim(*_limits(histogram.edges))
        axis.set_ylabel("values")
        axis.grid(color=_GRID, linewidth=0.8)
        axis.set_axisbelow(True)


def _limits(edges: Array) -> tuple[float, float]:
    margin = 0.03 * float(edges[-1] - edges[0]) or 0.5
    return float(edges[0]) - margin, float(edges[-1]) + margin


def _range(axis: Axes, rounding: Rounding) -> None:
    """Marks what can be represented, and shades what cannot. A range far wider than the data is cut off."""
    if not math.isfinite(rounding.high - rounding.low):
        return
    left, right = axis.get_xlim()
    room = right - left
    left = max(min(left, rounding.low - 0.03 * room), left - room)
    right = min(max(right, rounding.high + 0.03 * room), right + room)
    for low, high in ((left, rounding.low), (rounding.high, right)):
        if low < high:
            axis.axvspan(low, high, color=_WORST, alpha=0.08, linewidth=0)
    for end in (rounding.low, rounding.high):
        axis.axvline(end, color=_WORST, linestyle="--", linewidth=1.2)
    axis.set_xlim(left, right)
    axis.set_xlabel(f"range {rounding.low:.4g} to {rounding.high:.4g}", color=_WORST, fontsize=9)


def _say(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=_GREY)


def _bits(title: str, bits: int | None) -> str:
    return f"{title}, {bits} bit" if bits else title


def _shorten(name: str, length: int) -> str:
    """The name with its middle left out where it is long: both ends tell layers apart."""
    name = _on_one_line(name)
    half = length // 2 - 1
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def _on_one_line(text: str) -> str:
    """Without tabs, line ends and other control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)
