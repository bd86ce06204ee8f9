"""From statistics to numbers: scale and zero point of every value, weight and bias in the plan.

Activations: the calibration method turns the merged histogram of a group into a clipping range. Weights:
their own extremes, per output channel. Biases: int32 with ``scale(input) * scale(weight)``, the unit of the
accumulator; where that cannot hold the bias, the weight's scale is raised, because the accumulator's unit
is not free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.calibration import calibrations
from knight.errors import ModelError
from knight.quantizer import extremes, params_from_range
from knight.statistics import Needs, Statistics
from knight.types import Accumulator, FloatArray, Patch, QParams, QuantPlan, QuantSpec

BIAS_SPEC = QuantSpec(bits=32, signed=True, symmetric=True, axis=0)
_NO_PATCH = Patch()
_BIAS_LIMIT = 2.0**30  # leaves the other half of int32 to the products that are added up


@dataclass(frozen=True)
class Parameters:
    """The numbers of a plan.

    activations: by key of the group. weights: by key of the weight. biases: by node name. patch: what was
    found with; its constants and biases are rounded in place of the model's.
    """

    activations: Mapping[str, QParams]
    weights: Mapping[str, QParams]
    biases: Mapping[str, QParams]
    warnings: tuple[str, ...] = ()
    patch: Patch = field(default_factory=Patch)

    def activation(self, plan: QuantPlan, tensor: str) -> QParams:
        """The numbers of the tensor with this key."""
        return self.activations[plan.tensors[tensor].group]

    def unit(self, plan: QuantPlan, accumulator: Accumulator) -> FloatArray:
        """The real number that one step of the accumulator stands for, one per channel or one for all."""
        return self.activation(plan, accumulator.input).scale * self.weights[accumulator.weight].scale


def needs_of(plan: QuantPlan) -> Needs:
    """The statistics that the calibration methods of `plan` ask for."""
    needs: dict[str, frozenset[str]] = {}
    for group in plan.groups.values():
        kind = calibrations.get(group.method).needs
        for name in group.sources:
            needs[name] = needs.get(name, frozenset()) | {kind}
    return needs


def solve(
    model: ir.Model,
    plan: QuantPlan,
    statistics: Statistics,
    *,
    threads: int = 1,
    fixed: Mapping[str, QParams] | None = None,
    patch: Patch = _NO_PATCH,
) -> Parameters:
    """The parameters of `plan` for a prepared model.

    fixed: those of some groups, which no method decides. patch: numbers in place of the model's, and of what
    else would be decided here. Raises ModelError for weights that are not finite.
    """
    given = {**(fixed or {}), **patch.activations}
    numbers = Numbers(model, plan, patch)
    activations = _activations(plan, statistics, given, threads)
    weights = {
        key: patch.weights[key]
        if key in patch.weights
        else weight_params(weight.constant, numbers.constant(weight.constant), weight.spec)
        for key, weight in plan.weights.items()
    }
    warnings = []
    for node, accumulator in plan.accumulators.items():
        if accumulator.bias is None:
            continue
        unit = float(activations[plan.tensors[accumulator.input].group].scale)
        raised = _fit_bias(numbers.bias(node), unit, weights[accumulator.weight])
        if raised is not None:
            weights[accumulator.weight] = raised
            warnings.append(
                f"{node}: its bias needs a coarser unit; the scale of {accumulator.weight} was raised"
            )
    parameters = Parameters(activations, weights, {}, tuple(warnings), patch)
    biases = {
        node: _bias_params(numbers.bias(node), parameters.unit(plan, accumulator))
        for node, accumulator in plan.accumulators.items()
        if accumulator.bias is not None
    }
    return replace(parameters, biases=biases)


def _activations(
    plan: QuantPlan, statistics: Statistics, given: Mapping[str, QParams], threads: int
) -> dict[str, QParams]:
    """The parameters of all groups, by key; `given` are those that no method decides."""
    silent: set[str] = set()  # groups that saw nothing but zeros

    def one(key: str) -> QParams:
        if key in given:
            return given[key]
        group = plan.groups[key]
        method = calibrations.get(group.method)
        low, high = method(statistics.asked(group.sources, method.needs), group.spec, **group.options)
        if low == high == 0:
            silent.add(key)
        return params_from_range(low, high, group.spec)

    own = [key for key, group in plan.groups.items() if not group.spans]
    with ThreadPoolExecutor(threads) as pool:  # NumPy lets go of the interpreter lock in the long loops
        found = dict(zip(own, pool.map(one, own), strict=True))
    for key, group in plan.groups.items():  # in graph order, so that a Concat of Concats finds its parts
        if not group.spans:
            continue
        if silent.issuperset(group.spans):
            silent.add(key)
        # The scale of zeros is any: as a part, it would stretch the range for nothing.
        spans = [part for part in group.spans if part not in silent] or group.spans
        found[key] = given[key] if key in given else spanning([found[part] for part in spans], group.spec)
    return found


def spanning(parts: Sequence[QParams], spec: QuantSpec) -> QParams:
    """Parameters on the grid of `spec` whose range holds those of all `parts`.

    The widest of them itself where that does, so that a runtime copies its integers as they are.
    """
    widest = max(parts, key=lambda part: float(part.high - part.low))
    if widest.spec == spec and all(part.low >= widest.low and part.high <= widest.high for part in parts):
        return widest
    low, high = min(float(part.low) for part in parts), max(float(part.high) for part in parts)
    return params_from_range(low, high, spec)


@dataclass(frozen=True)
class Numbers:
    """The float numbers that are rounded: those of the model, or the patch's."""

    model: ir.Model
    plan: QuantPlan
    patch: Patch = field(default_factory=Patch)

    def constant(self, name: str) -> FloatArray:
        """Of the constant of this name. Raises ModelError where it is none."""
        if name in self.patch.constants:
            return self.patch.constants[name]
        array = models.constant(self.model.graph.initializers.get(name))
        if array is None:
            raise ModelError(f"weight {name!r} is no constant")
        return array

    def bias(self, node: str) -> FloatArray:
        """Of the bias of the accumulator of this node."""
        if node in self.patch.biases:
            return self.patch.biases[node]
        name = self.plan.accumulators[node].bias
        assert name is not None
        return self.constant(name)


def weight_params(name: str, weight: FloatArray, spec: QuantSpec) -> QParams:
    """Scales of a weight from its own extremes, one per channel along `spec.axis`.

    A channel of zeros borrows the smallest scale of the others, so that its bias keeps its precision.
    """
    if not np.isfinite(weight).all():
        raise ModelError(f"weight {name!r} holds NaN or Inf; repair the model before quantizing it")
    low, high = extremes(weight, spec)
    params = params_from_range(low, high, spec)
    used = np.asarray((low < 0) | (high > 0))
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
