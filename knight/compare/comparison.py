"""What a comparison finds, as data: everything that tables, files, plots and the report are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knight.host import HostFigures

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rounding:
    """How a value is quantized: ``real = scale * (q - zero_point)``, representable from `low` to `high`.

    read_scale: the scale by which the readers turn the integers back, where it is another one.
    """

    scale: float
    zero_point: int
    bits: int
    low: float
    high: float
    read_scale: float | None = None


@dataclass(frozen=True)
class HistogramPair:
    """Counts of one layer's values, sampled, over common bins.

    edges: (n + 1,). reference, result: (n,) each, of the float and of the quantized model.
    """

    edges: Array
    reference: NDArray[np.int64]
    result: NDArray[np.int64]


@dataclass(frozen=True)
class Channels:
    """Per-channel figures of one tensor, each (channels,). low, high: extremes of the float model's numbers.

    sqnr: of the own error (activations), or of the quantized weight; NaN where a channel is all zeros.
    outliers: channels whose magnitude stands far above the others'.
    """

    low: Array
    high: Array
    sqnr: Array
    outliers: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerWeights:
    """A layer's weight: its name in the quantized model, bits, per-channel figures, and histograms."""

    name: str
    bits: int
    shape: tuple[int, ...]
    per_channel: bool
    channels: Channels
    histogram: HistogramPair | None = None


@dataclass(frozen=True)
class Cause:
    """Why a layer's own error is as it is.

    kind: a word for it (`causes` looks for each).
    text: one sentence with numbers.
    remedy: what to try.
    optimizer: name of the one that the remedy is, where it is one alone.
    gain_db: what that should win of the layer's own SQNR, None where not known.
    fault: the layer's numbers contradict the float model or the data; it is wrong, however small the error.
    """

    kind: str
    text: str
    remedy: str = ""
    gain_db: float | None = None
    fault: bool = False
    optimizer: str = ""


@dataclass(frozen=True)
class Layer:
    """One value that both models have.

    index: position in the graph; 0 is the (first) input.
    op_type: operator that makes it; "Input" for a model input.
    name: of that operator in the float model.
    output: the value's name in the float model.
    quantized_output: its name in the other one.
    shape: of the first call.
    figures: by metric key (see `compare.metrics`), of the accumulated error; fractions, not percent.
    own_sqnr: dB of this layer quantized alone, None where that could not be run.
    own_missing: why it could not.
    best_sqnr: dB that the best range would give at the same width.
    broken: elements that are NaN or infinite in one model only.
    rounding: how it is quantized, None for a value that stays float.
    clipped: fraction of the float elements outside its range.
    minimum, maximum: of the float model's numbers.
    cause: why its own error is as it is, None where that needs no words.
    histogram: of sampled elements in both models.
    channels: figures of its channels.
    weights: its weight, None without one.
    """

    index: int
    op_type: str
    name: str
    output: str
    quantized_output: str
    shape: tuple[int, ...]
    figures: Mapping[str, float | None]
    own_sqnr: float | None = None
    own_missing: str | None = None
    best_sqnr: float | None = None
    broken: int = 0
    rounding: Rounding | None = None
    clipped: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    cause: Cause | None = None
    histogram: HistogramPair | None = None
    channels: Channels | None = None
    weights: LayerWeights | None = None

    @property
    def at_fault(self) -> bool:
        """Its numbers contradict the float model or the data."""
        return self.cause is not None and self.cause.fault

    @property
    def sqnr(self) -> float | None:
        """dB of the accumulated error."""
        return self.figures.get("accumulated_sqnr")


@dataclass(frozen=True)
class Unpaired:
    """A value of one model (`side`: "float" or "quantized") without a twin in the other, and why."""

    side: str
    op_type: str
    output: str
    reason: str


@dataclass(frozen=True)
class Remedy:
    """A change worth making, for one or several layers.

    gain_db: of the final output's SQNR where it was `measured`, else of the layers' own.
    """

    text: str
    layers: tuple[str, ...] = ()
    gain_db: float | None = None
    measured: bool = False


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    reference, result: what was compared (files or folders).
    layers: in graph order.
    unpaired: values that only one model has.
    samples, calls, seconds: what was fed, in how many forward calls, and the time that took.
    metric_reference, metric_result: what the infer function returned for either model.
    loss: what the metric loses, in percent.
    output_sqnr: dB over the model's outputs.
    remedies: changes worth making, the best first.
    mixed_precision: entries for a file for -mc.
    host: a few samples with this CPU's own kernels, where those compute something else.
    warnings: what a reader of the figures should know.
    arguments: of the run, for the record.
    """

    reference: str
    result: str
    layers: Sequence[Layer]
    unpaired: Sequence[Unpaired] = ()
    samples: int = 0
    calls: int = 0
    seconds: float = 0.0
    metric_reference: float | None = None
    metric_result: float | None = None
    loss: float | None = None
    output_sqnr: float | None = None
    remedies: Sequence[Remedy] = ()
    mixed_precision: Sequence[Mapping[str, Any]] = ()
    host: HostFigures | None = None
    warnings: Sequence[str] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def guilty(self) -> list[Layer]:
        """The layers with an own error, worst first: those at fault, then the others, each by own SQNR."""
        known = [layer for layer in self.layers if layer.own_sqnr is not None]
        return sorted(known, key=lambda layer: (not layer.at_fault, layer.own_sqnr, layer.index))
