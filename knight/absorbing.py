"""A model that is quantized already, as a source: its scales become a patch that stands in the result.

What the source's quantizer decided (a training with quantization in it, say) is kept: where the chip's grid
holds a tensor's integers, each with its own; else the range stays, on the chip's grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.preparing import Prepared
from knight.qdq.absorb import Absorbed, absorb
from knight.qdq.own import is_ours
from knight.qdq.recognise import Quantized, recognise
from knight.quantizer import dequantize, params_from_range, quantize
from knight.types import Patch, QParams, QuantPlan, QuantSpec

_TOOLS = {
    "knight": "Knight",
    "nncf": "NNCF",
    "nvidia": "NVIDIA's toolkit",
    "onnxruntime": "ONNX Runtime",
    "pytorch": "PyTorch",
    "tensorflow": "TensorFlow",
}


@dataclass(frozen=True)
class Source:
    """What is quantized: a float model, and what is known of the quantized one that it was.

    model: float. found: what the file said of its quantization, None for a float file. ours: whether Knight
    made it, and nobody changed it since. absorbed: its parameters, None where there are none to keep.
    """

    model: ir.Model
    found: Quantized | None = None
    ours: str | None = None
    absorbed: Absorbed | None = None

    def __str__(self) -> str:
        """What the user should know, in one line; empty for a float file."""
        if self.found is None:
            return ""
        maker = f", by {_TOOLS.get(self.found.tool, self.found.tool)}" if self.found.tool else ""
        if self.ours == "changed":
            maker += " and changed since"
        covered = f"{self.found.integer} of {self.found.compute} operators with weights run on integers"
        if self.found.kind == "static":
            return f"this model is quantized already{maker}; {covered}"
        how = "its weights alone" if self.found.kind == "weights" else "its activations while it runs"
        return f"this model is quantized already{maker}, {how}; {covered}"


def read_source(model: ir.Model) -> Source:
    """`model` as a float model; one that is quantized is taken apart. It stays as it is."""
    found = recognise(model)
    if found is None or found.mostly_float:
        return Source(model, found)
    absorbed = absorb(model)
    return Source(absorbed.model, found, is_ours(model), absorbed)


@dataclass(frozen=True)
class Kept:
    """What of a source's parameters stands in a plan.

    patch: the numbers. exact, ranges: how many scales are the source's own, and of how many the range alone
    is, because the chip's integers are others.
    """

    patch: Patch = field(default_factory=Patch)
    exact: int = 0
    ranges: int = 0

    def __str__(self) -> str:
        """In one line, with what to do about it."""
        text = f"{self.exact} of its scales are kept"
        if self.ranges:
            text += f", and of {self.ranges} others the ranges, since the chip's integers are others"
        return f"{text}; --recalibrate asks for new ones"


def keep(absorbed: Absorbed, prepared: Prepared, plan: QuantPlan) -> Kept:
    """The parameters of `absorbed` for the groups and weights of `plan`."""
    activations: dict[str, QParams] = {}
    exact = ranges = 0
    positive = {node.outputs[0].name for node in prepared.model.graph if node.op_type == "Relu"}
    for key, group in plan.groups.items():
        given = _of_group(key, plan, absorbed.activations)
        if given is None or group.spans:
            continue
        moved = moved_to(given, group.spec, positive=plan.tensors[key].value in positive)
        activations[key] = moved or params_from_range(float(given.low), float(given.high), group.spec)
        exact, ranges = exact + (moved is not None), ranges + (moved is None)
    weights = {}
    for key, weight in plan.weights.items():
        given = absorbed.weights.get(weight.constant)
        array = models.constant(prepared.model.graph.initializers.get(weight.constant))
        if given is not None and array is not None and _stands_for(given, array, weight.spec):
            weights[key] = given
    return Kept(Patch(activations=activations, weights=weights), exact + len(weights), ranges)


def _of_group(key: str, plan: QuantPlan, given: Mapping[str, QParams]) -> QParams | None:
    """Parameters that a value of the group has: the one that names it, else the first with any."""
    own = plan.tensors[key].value
    values = [own, *(tensor.value for tensor in plan.tensors.values() if tensor.group == key)]
    return next((given[value] for value in values if value in given and not given[value].scale.ndim), None)


def moved_to(params: QParams, spec: QuantSpec, *, positive: bool = False) -> QParams | None:
    """`params` with other integers for the same real numbers; None where `spec` does not have them all.

    uint8 around 128 becomes int8 around 0, and back. positive: there are no numbers below zero, so that the
    lowest integer may stand for it: a runtime then drops the Relu that made them.
    """
    if params.spec.bits != spec.bits:
        return None
    if positive and not spec.symmetric:
        return QParams(spec, params.scale, np.asarray(spec.qmin, spec.dtype))
    zero = int(params.zero_point) + int(np.iinfo(spec.dtype).min) - int(np.iinfo(params.spec.dtype).min)
    if not spec.qmin <= zero <= spec.qmax or (spec.symmetric and zero != spec.fixed_zero):
        return None
    return QParams(spec, params.scale, np.asarray(zero, spec.dtype))


def _stands_for(params: QParams, array: np.ndarray, spec: QuantSpec) -> bool:
    """Whether the weight is what `params` read from integers, and the plan may store it so."""
    if (params.spec.bits, params.spec.signed) != (
        spec.bits,
        spec.signed,
    ) or params.spec.block_size is not None:
        return False
    if params.spec.axis is not None and spec.axis is None:
        return False
    if params.scale.ndim and (params.spec.axis is None or params.scale.size != array.shape[params.spec.axis]):
        return False
    if spec.symmetric and np.any(params.zero_point != spec.fixed_zero):
        return False
    real = dequantize(quantize(array, params), params)
    return bool(np.allclose(real, array, rtol=1e-6, atol=0.0))
