"""From statistics to numbers: scale and zero point of every value, weight and bias in the plan.

Activations: the calibration method turns the merged histogram of a group into a clipping range. Weights:
their own extremes, per output channel. Biases: int32 with ``scale(input) * scale(weight)``, the unit of the
accumulator; where that cannot hold the bias, the weight's scale is raised, because the accumulator's unit
is not free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.calibration import calibrations
from knight.errors import ModelError
from knight.observer import Histogram, Observer
from knight.quantizer import params_from_range
from knight.types import Accumulator, FloatArray, QParams, QuantPlan, QuantSpec

BIAS_SPEC = QuantSpec(bits=32, signed=True, symmetric=True, axis=0)
_BIAS_LIMIT = 2.0**30  # leaves the other half of int32 to the products that are added up


@dataclass(frozen=True)
class Parameters:
    """The numbers of a plan.

    activations: by root value name. weights: by constant name. biases: by node name.
    """

    activations: Mapping[str, QParams]
    weights: Mapping[str, QParams]
    biases: Mapping[str, QParams]
    warnings: tuple[str, ...] = ()

    def unit(self, plan: QuantPlan, accumulator: Accumulator) -> FloatArray:
        """The real number that one step of the accumulator stands for, one per channel or one for all."""
        return self.activations[plan.root(accumulator.input)].scale * self.weights[accumulator.weight].scale


def merged_histograms(plan: QuantPlan, observers: Mapping[str, Observer]) -> dict[str, Histogram]:
    """One histogram per group of values that share a scale, by root."""
    histograms = {}
    for root, members in plan.sources.items():
        merged = Observer()
        for name in members:
            merged.merge(observers[name])
        histograms[root] = merged.histogram()
    return histograms


def solve(
    model: ir.Model,
    plan: QuantPlan,
    histograms: Mapping[str, Histogram],
    *,
    method: str,
    percent: float,
    threads: int,
    fixed: Mapping[str, QParams] | None = None,
) -> Parameters:
    """The parameters of `plan` by one calibration method.

    fixed: those of some roots, which no method decides. Raises ModelError for weights that are not finite.
    """
    clipping_range = calibrations.get(method)

    def one(root: str) -> QParams:
        if fixed is not None and root in fixed:
            return fixed[root]
        spec = plan.activations[root]
        low, high = clipping_range(histograms[root], spec, percent)
        return params_from_range(low, high, spec)

    own = [root for root in plan.sources if root not in plan.spans]
    with ThreadPoolExecutor(threads) as pool:  # NumPy lets go of the interpreter lock in the long loops
        activations = dict(zip(own, pool.map(one, own), strict=True))
    for root, parts in plan.spans.items():  # in graph order, so that a Concat of Concats finds its parts
        activations[root] = spanning([activations[part] for part in parts])
    constants = model.graph.initializers
    weights = {
        name: weight_params(name, _numbers(constants[name]), spec) for name, spec in plan.weights.items()
    }
    warnings = []
    for node, accumulator in plan.accumulators.items():
        if accumulator.bias is None:
            continue
        unit = float(activations[plan.root(accumulator.input)].scale)
        raised = _fit_bias(_numbers(constants[accumulator.bias]), unit, weights[accumulator.weight])
        if raised is not None:
            weights[accumulator.weight] = raised
            warnings.append(
                f"{node}: its bias needs a coarser unit; the scale of {accumulator.weight} was raised"
            )
    parameters = Parameters(activations, weights, {}, tuple(warnings))
    biases = {
        node: _bias_params(_numbers(constants[accumulator.bias]), parameters.unit(plan, accumulator))
        for node, accumulator in plan.accumulators.items()
        if accumulator.bias is not None
    }
    return replace(parameters, biases=biases)


def spanning(parts: Sequence[QParams]) -> QParams:
    """Parameters whose range holds those of all `parts`: the widest one itself where that does, so that a
    runtime
    copies its integers as they are."""
    widest = max(parts, key=lambda part: float(part.high - part.low))
    if all(part.low >= widest.low and part.high <= widest.high for part in parts):
        return widest
    low, high = min(float(part.low) for part in parts), max(float(part.high) for part in parts)
    return params_from_range(low, high, widest.spec)


def _numbers(value: ir.Value) -> FloatArray:
    array = models.constant(value)
    if array is None:
        raise ModelError(f"weight {value.name!r} is no constant")
    return array


def weight_params(name: str, weight: FloatArray, spec: QuantSpec) -> QParams:
    """Scales of a weight from its own extremes, one per channel along `spec.axis`.

    A channel of zeros borrows the smallest scale of the others, so that its bias keeps its precision.
    """
    if not np.isfinite(weight).all():
        raise ModelError(f"weight {name!r} holds NaN or Inf; repair the model before quantizing it")
    if spec.axis is None:
        return params_from_range(weight.min(initial=0.0), weight.max(initial=0.0), spec)
    others = tuple(axis for axis in range(weight.ndim) if axis != spec.axis)
    low, high = weight.min(axis=others, initial=0.0), weight.max(axis=others, initial=0.0)
    params = params_from_range(low, high, spec)
    used = (low < 0) | (high > 0)
    if used.any() and not used.all():
        scale = np.where(used, params.scale, params.scale[used].min())
        return QParams(spec, scale.astype(np.float32), params.zero_point)
    return params


def _fit_bias(bias: FloatArray, unit: float, weight: QParams) -> QParams | None:
    """`weight` with scales raised where the bias would overflow, None where it fits."""
    largest = np.abs(bias.reshape(-1).astype(np.float64))
    least = (largest if weight.scale.ndim else largest.max(initial=0.0)) / (unit * _BIAS_LIMIT)
    if np.all(weight.scale >= least):
        return None
    scale = np.maximum(weight.scale, least * (1 + 2.0**-20)).astype(np.float32)
    return QParams(weight.spec, scale, weight.zero_point)


def _bias_params(bias: FloatArray, unit: FloatArray) -> QParams:
    scale = np.broadcast_to(unit, bias.size).astype(np.float32)
    return QParams(BIAS_SPEC, scale, np.zeros(scale.shape, np.int32))
