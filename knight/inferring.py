"""Runs a float or quantized model through the user's function, for ``knight infer``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight.executor import Executor, InferFunction, RunSettings, call_infer
from knight.host import HostFigures, Replay
from knight.listener import SILENT, Listener
from knight.outputs import is_for_onnxruntime, real_session


@dataclass(frozen=True)
class InferResult:
    """What a run of the infer function gave, by exact arithmetic.

    seconds: of the run. model_seconds: the model's share of them. host: a few samples with this CPU's own
    kernels, where those compute something else.
    """

    metric: object
    samples: int
    calls: int
    seconds: float
    model_seconds: float = 0.0
    host: HostFigures | None = None

    @property
    def host_seconds(self) -> float:
        """What the run takes with this CPU's own kernels."""
        slowdown = 1.0 if self.host is None else self.host.slowdown
        return self.seconds - self.model_seconds * (1.0 - 1.0 / slowdown)


def run_infer(
    model: ir.Model,
    infer: InferFunction,
    settings: RunSettings,
    *,
    threads: int,
    output_scales: Mapping[str, Mapping[str, float]] | None = None,
    listener: Listener = SILENT,
) -> InferResult:
    """Runs `model` through the user's function.

    output_scales: name -> {"scale", "zero_point"}: these outputs are handed out as fixed-point numbers of
    that scale, and where the scales are the model's own, as the model makes them; all the others, and all by
    default, as real numbers.
    """
    session = real_session(model, threads=threads, spin=settings.keeps_awake)
    replay = Replay(session, session.names)
    model_seconds = 0.0

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        nonlocal model_seconds
        start = time.perf_counter()
        scales = executor.output_scales
        outputs = session.run_scaled(feeds, scales) if scales else session.run(feeds)
        model_seconds += time.perf_counter() - start
        if is_for_onnxruntime(model) and not scales:
            replay.keep(feeds, outputs, None)
        return outputs

    executor = Executor(
        forward,
        session.inputs,
        session.names,
        settings,
        model=model,
        output_scales=output_scales or {},
        listener=listener,
    )
    start = time.perf_counter()
    metric = call_infer(infer, executor)
    seconds = time.perf_counter() - start
    host = replay.figures(
        lambda: real_session(model, threads=threads, spin=settings.keeps_awake, kernels="host"), listener
    )
    return InferResult(metric, executor.samples, executor.calls, seconds, model_seconds, host)
