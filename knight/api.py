"""The Python API: what the command line does, as functions on models and data.

quantized = knight.quantize("net.onnx", samples, target="onnxruntime")
quantized.save("net_quantize.onnx")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from knight import conversion, model as models, pipeline
from knight.compare import models as comparing
from knight.compare.comparison import Comparison
from knight.compare.layerwise import Watch
from knight.config import QuantConfig
from knight.conversion import TOLERANCE, Converted, check_framework
from knight.converters import Source
from knight.errors import ConfigError
from knight.executor import InferFunction, RunSettings
from knight.feeding import Sample, counted
from knight.inferring import InferResult, run_infer
from knight.listener import SILENT, Listener
from knight.outputs import dequantized, output_scales
from knight.runner import Session
from knight.targets import DEFAULT_CHIP, Target, load_target


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized model and the data of its report (see report_schema.json)."""

    model: ir.Model
    report: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Writes the ONNX model; weights above 2 GB go to a file beside it."""
        return models.save(self.model, Path(path))[-1]

    def run(self, *arrays: np.ndarray, threads: int = 1) -> list[np.ndarray]:
        """One forward pass in ONNX Runtime; outputs as real numbers, also those that are fixed-point in the
        model.
        """
        session = Session(self.model, threads=threads)
        feeds = dict(zip((info.name for info in session.inputs), arrays, strict=True))
        names = [info.name for info in session.outputs]
        return dequantized(names, session.run(feeds), output_scales(self.model))


def load_model(path: str | Path) -> ir.Model:
    """The ONNX model in a file, checked; `prepare_model` takes it. Raises ModelError."""
    return models.load(path)


def quantize(
    model: str | Path | ir.Model,
    data: InferFunction | Iterable[Sample],
    *,
    target: str | Target = DEFAULT_CHIP,
    method: str = "kl",
    iterations: int | None = None,
    listener: Listener = SILENT,
    **options: Any,
) -> QuantizedModel:
    """Quantizes `model` with calibration `data` for `target`.

    data: samples, or an infer function ``f(executor) -> metric`` as the command line takes it. iterations:
    forward calls to make (default: all samples; 1 for a function). options: the other fields of
    `QuantConfig`. Raises KnightError.
    """
    unknown = sorted(set(options) - set(QuantConfig.__dataclass_fields__))
    if unknown:
        raise ConfigError(
            f"unknown option {unknown[0]!r}; known: {', '.join(QuantConfig.__dataclass_fields__)}"
        )
    chosen = load_target(target) if isinstance(target, str) else target
    source = model if isinstance(model, ir.Model) else models.load(model)
    name = Path(model).stem if isinstance(model, (str, Path)) else source.graph.name or "model"
    infer, count = counted(data)
    count = iterations or count or 1
    config = QuantConfig(**{**options, "methods": (method,), "iterations": (count,)})
    settings = RunSettings(iteration=count, batch_size=config.batch_size)
    (outcome,) = pipeline.quantize(source, infer, chosen, config, settings, name=name, listener=listener)
    assert outcome.model is not None  # a single combination raises when it fails
    return QuantizedModel(outcome.model, outcome.report)


def convert(
    framework: str,
    model: str | Path,
    *,
    weights: str | Path | None = None,
    script: str | Path | None = None,
    input_shapes: Sequence[Sequence[int]] = (),
    start_nodes: Sequence[str] = (),
    end_nodes: Sequence[str] = (),
    nchw: bool = False,
    allow_pickle: bool = False,
    tolerance: float = TOLERANCE,
    threads: int = 1,
    listener: Listener = SILENT,
) -> Converted:
    """The ONNX model of another framework's `model`, proven against that framework (pytorch, caffe, ...).

    The arguments are those of ``knight convert`` and of `knight.converters.Source`; `quantize` takes
    `Converted.model`. Raises KnightError, also where outputs differ by more than `tolerance` of their range.
    """
    source = Source(
        model=str(model),
        weights=None if weights is None else str(weights),
        script=None if script is None else str(script),
        input_shapes=tuple(tuple(shape) for shape in input_shapes),
        start_nodes=tuple(start_nodes),
        end_nodes=tuple(end_nodes),
        nchw=nchw,
        allow_pickle=allow_pickle,
    )
    check_framework(framework, source)
    return conversion.convert(framework, source, tolerance=tolerance, threads=threads, listener=listener)


def infer(
    model: str | Path | ir.Model,
    data: InferFunction | Iterable[Sample],
    *,
    iterations: int | None = None,
    batch_size: int = 1,
    threads: int = 5,
    fixed_point: bool = False,
    listener: Listener = SILENT,
) -> InferResult:
    """Runs a float or quantized model over `data`; the result holds the metric and the time taken.

    fixed_point: hand out the outputs that are fixed-point numbers in the model as they are, as
    ``knight infer`` does to a script's functions; `executor.output_scales` has their scales. Otherwise all
    are real numbers.
    """
    source = model if isinstance(model, ir.Model) else models.load(model)
    function, count = counted(data)
    settings = RunSettings(iteration=iterations or count or 1, batch_size=batch_size, run_mode="infer")
    scales = output_scales(source) if fixed_point else {}
    return run_infer(source, function, settings, threads=threads, output_scales=scales, listener=listener)


def compare_models(
    float_model: str | Path | ir.Model,
    quantized_model: str | Path | ir.Model | QuantizedModel,
    data: InferFunction | Iterable[Sample],
    *,
    iterations: int | None = None,
    batch_size: int = 1,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    remedies: bool = True,
    threads: int = 5,
    watch: Watch | None = None,
    listener: Listener = SILENT,
) -> Comparison:
    """Which layer of `quantized_model` is guilty: both models run over `data`, layer by layer.

    The quantized model may be another tool's. iterations: forward calls to make (default: all samples; 1 for
    a function). mean, std: the normalization that was put into the quantized model. remedies: also try out
    what mixed precision would win. watch: called as ``watch(row, wanted, got)`` with every pair of values; it
    copies what it keeps. Raises KnightError, also where the two models have no layer in common.
    """
    if bool(mean) != bool(std):
        raise ConfigError("mean and std belong together; give both or none")
    reference, left = _loaded(float_model, "float")
    result, right = _loaded(quantized_model, "quantized")
    infer, count = counted(data)
    count = iterations or count or 1
    return comparing.compare_models(
        reference,
        result,
        infer,
        RunSettings(iteration=count, batch_size=batch_size, run_mode="compare"),
        names=(left, right),
        options=comparing.Options(tuple(mean), tuple(std), remedies, threads),
        arguments={"iterations": count, "batch_size": batch_size, "mean": list(mean), "std": list(std)},
        watch=watch,
        listener=listener,
    )


def _loaded(model: str | Path | ir.Model | QuantizedModel, default: str) -> tuple[ir.Model, str]:
    """The model, and what to call it: its file, or its graph's name, or `default`."""
    if isinstance(model, (str, Path)):
        return models.load(model), str(model)
    source = model.model if isinstance(model, QuantizedModel) else model
    return source, source.graph.name or default
