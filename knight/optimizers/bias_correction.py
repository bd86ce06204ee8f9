"""bias_correction: each bias takes up the mean error of its channel, layer by layer.

Rounded weights and activations shift the mean of what an operator makes, channel by channel, and a bias can
take that back: ``b += mean(float output) - mean(quantized output)``, over samples and positions, before the
activation. The quantized output is that of a model in which all layers before are corrected already, since
corrections that are found all at once take back the same error several times.
(Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.2 and
appendix D: empirical bias correction; Banner et al. 2019, Post-Training 4-Bit Quantization, section 4.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from knight import model as models
from knight.bench import Bench, set_constant
from knight.optimizers import Optimizer
from knight.quantizer import quantize
from knight.types import FloatArray, Patch


class _Mean:
    """Of each channel, over samples and positions."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._sum: NDArray[np.float64] | float = 0.0
        self._count = 0

    def add(self, array: FloatArray) -> None:
        channels = np.moveaxis(array, self._axis, 0)
        self._sum = self._sum + channels.reshape(len(channels), -1).sum(axis=1, dtype=np.float64)
        self._count += array.size // len(channels)

    def result(self) -> NDArray[np.float64]:
        return np.asarray(self._sum) / max(self._count, 1)


def run(bench: Bench) -> Patch:
    """Corrected biases of all operators that have an integer accumulator and a bias."""
    _tell_left_out(bench)
    scales = _bias_scales(bench)
    wanted = _float_means(bench, scales) if scales else {}
    biases: dict[str, FloatArray] = {}
    for node, outputs in bench.walk(scales):
        name = node.name or ""
        got = _mean(outputs, _channel_axis(node.op_type))
        with np.errstate(invalid="ignore"):
            error = wanted[name] - got
        if not np.isfinite(error).all():
            bench.listener.detail(f"bias_correction: {name} makes infinite values and keeps its bias")
            continue
        bias = bench.numbers.bias(name)
        corrected = (bias.astype(np.float64) + (error / scales[name]).reshape(bias.shape)).astype(bias.dtype)
        biases[name] = corrected
        set_constant(node.inputs[2], quantize(corrected.reshape(-1), bench.parameters.biases[name]))
    return Patch(biases=biases)


def _tell_left_out(bench: Bench) -> None:
    for node in bench.graph:
        accumulator = bench.plan.accumulators.get(node.name or "")
        if accumulator is not None and accumulator.bias is None:
            bench.listener.detail(
                f"bias_correction: {node.name} ({node.op_type}) has no bias and is not corrected"
            )


def _bias_scales(bench: Bench) -> dict[str, float]:
    """Node -> what its bias is multiplied by, of all that can be corrected."""
    found = {}
    for node in bench.graph:
        accumulator = bench.plan.accumulators.get(node.name or "")
        if accumulator is not None and accumulator.bias is not None:
            scale = models.attribute(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
            assert isinstance(scale, float)
            if scale != 0.0:
                found[node.name or ""] = scale
    return found


def _float_means(bench: Bench, names: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    nodes = {node.name or "": node for node in bench.graph}
    outputs = {name: nodes[name].outputs[0].name or "" for name in names}
    means = {name: _Mean(_channel_axis(nodes[name].op_type)) for name in outputs}
    for captured in bench.capture(list(outputs.values())):
        for name, output in outputs.items():
            means[name].add(captured[output])
    return {name: mean.result() for name, mean in means.items()}


def _mean(arrays: Iterable[FloatArray], axis: int) -> NDArray[np.float64]:
    mean = _Mean(axis)
    for array in arrays:
        mean.add(array)
    return mean.result()


def _channel_axis(op_type: str) -> int:
    return -1 if op_type == "Gemm" else 1


optimizer = Optimizer(run, changes="rounding")
