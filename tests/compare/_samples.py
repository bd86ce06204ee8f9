"""A made-up comparison of a plausible network, with each kind of layer that a report or a table must show."""

from __future__ import annotations

import numpy as np

from knight.compare.comparison import (
    Cause,
    Channels,
    Comparison,
    HistogramPair,
    Layer,
    LayerWeights,
    Remedy,
    Rounding,
    Unpaired,
)

OPERATORS = ("Conv", "Relu", "Conv", "Add", "Relu", "Conv", "MaxPool", "Gemm", "Softmax", "Concat")
WEIGHTED = {"Conv", "Gemm"}

CAUSES = (
    Cause(
        "clipped_range",
        "clipped range: 3.1 % of the values lie above the range's end at 2.41; the largest is 9.8",
        "calibrate with max, or a higher percentile",
        14.2,
    ),
    Cause(
        "outlier_channel",
        "one outlier channel (7): it reaches 41.3, the middle one 2.9; the others are left with few steps",
        "equalize the channels (-ep ceq), or quantize weights per channel",
        9.5,
    ),
    Cause(
        "wide_range",
        "too wide a range from one sample: call 3 reaches 88.1, all others at most 6.0",
        "calibrate with kl_v2",
        21.0,
    ),
    Cause(
        "saturated_bias",
        "saturated bias: 2 of 64 elements stand at the end of the integers",
        "give the layer 16 bits",
    ),
)


def sample_comparison(layers: int = 60, channels: int = 32, seed: int = 0) -> Comparison:
    """`layers` layers, the first an Input. Layers 12, 22, 32 and 42 are bad, each with one of `CAUSES`."""
    random = np.random.default_rng(seed)
    found = [_layer(random, index, channels) for index in range(layers)]
    return Comparison(
        reference="models/resnet18.onnx",
        result="out/resnet18_quantize.onnx",
        layers=found,
        unpaired=[
            Unpaired("float", "BatchNormalization", "bn1_out", "folded into the Conv before it"),
            Unpaired("quantized", "QuantizeLinear", "x_q", "made by the quantizer"),
        ],
        samples=20,
        calls=20,
        seconds=12.5,
        metric_reference=0.6976,
        metric_result=0.6841,
        loss=1.9352,
        output_sqnr=24.37,
        remedies=[
            Remedy("Keep the two worst layers in 16 bits", _outputs(found, 12, 22), 8.4, measured=True),
            Remedy("Calibrate activations with kl_v2 instead of min_max", _outputs(found, 32), 4.1),
            Remedy("Equalize channels (-ep ceq) before quantizing", (), None),
        ],
        mixed_precision=[{"name": name, "bits": 16} for name in _outputs(found, 12, 22)],
        warnings=["3 outputs are integers and are compared as numbers"],
        arguments={"model": "models/resnet18.onnx", "samples": 20, "sort": None, "op_type": ["Conv", "Gemm"]},
    )


def _outputs(layers: list[Layer], *indexes: int) -> tuple[str, ...]:
    return tuple(layer.output for layer in layers if layer.index in indexes)


def _cause(index: int) -> Cause | None:
    bad = (12, 22, 32, 42)
    return CAUSES[bad.index(index)] if index in bad else None


def _layer(random: np.random.Generator, index: int, channels: int) -> Layer:
    op_type = "Input" if index == 0 else OPERATORS[index % len(OPERATORS)]
    cause = _cause(index)
    own = float(random.uniform(5, 12) if cause else random.uniform(28, 46))
    accumulated = float(min(own, 44 - 18 * min(index, 60) / 60) - random.uniform(0, 3))
    values = np.maximum(random.normal(0.4, 1.2, 4000), -1.0)
    high = 2.41 if cause else float(values.max())
    known = op_type in WEIGHTED or index % 3 == 0
    stage = f"layer{index // 16 + 1}.{index % 16 // 4}"
    return Layer(
        index=index,
        op_type=op_type,
        name="" if index == 0 else f"/{stage}/{op_type.lower()}_{index}/{op_type}",
        output="input" if index == 0 else f"/{stage}/{op_type.lower()}_{index}/{op_type}_output_0",
        quantized_output="input" if index == 0 else f"/{stage}/{op_type.lower()}_{index}_quantized",
        shape=(1, channels, 28, 28),
        figures=_figures(random, accumulated),
        own_sqnr=own if known else None,
        own_missing=None if known else "it computes nothing new: it only moves values",
        best_sqnr=own + float(random.uniform(12, 20) if cause else random.uniform(0.1, 1.5)),
        rounding=None if op_type == "Softmax" else _rounding(float(values.min()), high),
        clipped=float(np.mean(values > high)),
        minimum=float(values.min()),
        maximum=float(values.max()),
        cause=cause,
        histogram=_histogram(values, np.clip(values, None, high), high),
        channels=_channels(random, channels, 1.0, cause is not None),
        weights=_weights(random, index, channels) if op_type in WEIGHTED and index else None,
    )


def _figures(random: np.random.Generator, sqnr: float) -> dict[str, float | None]:
    noise = 10 ** (-sqnr / 20)
    bands = random.dirichlet([60 * (0.02 / noise) ** 0.5, 30, 12 * noise * 20, 2, 1])
    keys = ("band_0_1", "band_1_10", "band_10_50", "band_50_100", "band_100")
    return {
        "accumulated_sqnr": sqnr,
        **dict(zip(keys, map(float, bands), strict=True)),
        "above": float(random.uniform(0.4, 0.5)),
        "below": float(random.uniform(0.4, 0.5)),
        "cos": 1 - noise**2 / 4,
        "max_relative": noise * 30,
        "max_absolute": noise * 3,
        "mre": noise * 0.8,
        "rmse": noise,
    }


def _rounding(low: float, high: float) -> Rounding:
    scale = (high - low) / 255
    return Rounding(scale=scale, zero_point=round(-low / scale), bits=8, low=low, high=high)


def _histogram(values: np.ndarray, result: np.ndarray, high: float) -> HistogramPair:
    edges = np.linspace(values.min(), values.max(), 65)
    steps = (high - values.min()) / 255
    rounded = np.round(result / steps) * steps
    return HistogramPair(edges, np.histogram(values, edges)[0], np.histogram(rounded, edges)[0])


def _channels(random: np.random.Generator, count: int, spread: float, outlier: bool) -> Channels:
    high = spread * random.uniform(0.6, 1.4, count)
    low = -spread * random.uniform(0.2, 1.1, count)
    sqnr = random.normal(33, 2.5, count)
    if count > 1:
        low[-1] = high[-1] = 0.0
        sqnr[-1] = np.nan  # a channel of zeros
    if outlier and count > 7:
        high[7] *= 14
        sqnr -= 14
        sqnr[7] += 20
    return Channels(low, high, sqnr, (7,) if outlier and count > 7 else ())


def _weights(random: np.random.Generator, index: int, channels: int) -> LayerWeights:
    values = random.normal(0, 0.04, 9 * channels * 8)
    top = float(np.abs(values).max())
    rounded = np.round(values / top * 127) / 127 * top
    edges = np.linspace(-top, top, 65)
    counts = HistogramPair(edges, np.histogram(values, edges)[0], np.histogram(rounded, edges)[0])
    outlier = index == 22
    return LayerWeights(
        name=f"conv_{index}.weight",
        bits=8,
        shape=(channels, 8, 3, 3),
        per_channel=True,
        channels=_channels(random, channels, 0.08, outlier),
        histogram=counts,
    )
