"""What a quantized file says of its outputs, and sessions whose outputs are real numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

import msgspec
import numpy as np
import onnx_ir as ir

from knight.metadata import stated
from knight.runner import Kernels, Session, TensorInfo

OUTPUT_SCALES = "knight.output_scales"
"""Metadata key: JSON object, graph output name -> {"scale", "zero_point"} of outputs that are fixed-point
numbers.
"""

RUNTIME = "knight.runtime"
"""Metadata key: what runs the file: "onnxruntime", or "chip"."""


OPTIMIZERS = "knight.optimizers"
"""Metadata key: names of the optimizers whose patches are in the model, separated by commas."""


class _FixedPoint(msgspec.Struct):
    """``real = scale * (q - zero_point)``, the scale a float32."""

    scale: Annotated[float, msgspec.Meta(gt=0, le=float(np.finfo(np.float32).max))]
    zero_point: Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]


def taken_optimizers(model: ir.Model) -> tuple[str, ...]:
    """Names of the optimizers whose patches are in a quantized model."""
    return tuple(filter(None, model.metadata_props.get(OPTIMIZERS, "").split(",")))


def output_scales(model: ir.Model) -> dict[str, dict[str, float]]:
    """Output name -> {"scale", "zero_point"} of the outputs that are fixed-point numbers; empty for other
    models. Raises ModelError where the metadata are damaged.
    """
    known = stated(model, OUTPUT_SCALES, dict[str, _FixedPoint]) or {}
    return {name: msgspec.structs.asdict(numbers) for name, numbers in known.items()}


def is_for_onnxruntime(model: ir.Model) -> bool:
    """Whether a quantized model is meant to run in ONNX Runtime; what does not say is."""
    return model.metadata_props.get(RUNTIME, "onnxruntime") == "onnxruntime"


def dequantized(
    names: Sequence[str], outputs: list[np.ndarray], scales: Mapping[str, Mapping[str, float]]
) -> list[np.ndarray]:
    """Real numbers of outputs that leave the model as integers held in float."""
    return [
        (array - np.float32(scales[name]["zero_point"])) * np.float32(scales[name]["scale"])
        if name in scales
        else array
        for name, array in zip(names, outputs, strict=True)
    ]


def fixed_point(
    names: Sequence[str], outputs: list[np.ndarray], scales: Mapping[str, Mapping[str, float]]
) -> list[np.ndarray]:
    """The inverse of `dequantized`, unrounded: real numbers in the units of another model's outputs."""
    return [
        array / np.float32(scales[name]["scale"]) + np.float32(scales[name]["zero_point"])
        if name in scales
        else array
        for name, array in zip(names, outputs, strict=True)
    ]


class _Runs(Protocol):
    """A session, or what stands in for one."""

    @property
    def inputs(self) -> Sequence[TensorInfo]: ...

    @property
    def outputs(self) -> Sequence[TensorInfo]: ...

    @property
    def differs(self) -> frozenset[str]: ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]: ...


class RealSession:
    """A session whose outputs are real numbers, whatever its model holds."""

    def __init__(self, session: _Runs, model: ir.Model) -> None:
        self._session = session
        self.inputs = session.inputs
        self.names = [output.name for output in session.outputs]
        self._scales = output_scales(model)

    @property
    def differs(self) -> frozenset[str]:
        """What this CPU's own kernels would get wrong (see `Session`)."""
        return self._session.differs

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs of one forward pass, in order."""
        return self.real(self._session.run(feeds))

    def run_scaled(
        self, feeds: Mapping[str, np.ndarray], scales: Mapping[str, Mapping[str, float]]
    ) -> list[np.ndarray]:
        """As `run`, in fixed-point numbers of `scales`; where these are the model's own, as it makes them."""
        outputs = self._session.run(feeds)
        if scales == self._scales:
            return outputs
        return fixed_point(self.names, self.real(outputs), scales)

    def real(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """Real numbers of all outputs, in order."""
        return dequantized(self.names, outputs, self._scales)


def real_session(
    model: ir.Model, *, threads: int = 1, spin: bool = True, kernels: Kernels = "exact"
) -> RealSession:
    """A session of `model` (see `Session`) with real numbers as outputs."""
    return RealSession(Session(model, threads=threads, spin=spin, kernels=kernels), model)
