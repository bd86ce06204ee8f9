"""What a quantized model is worth: agreement with the float model, the user's metric, integer coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np
import onnx_ir as ir

from knight import coverage
from knight.coverage import Coverage
from knight.evaluation import Agreement, fingerprint
from knight.executor import Executor, InferFunction, call_infer
from knight.host import HostFigures, Replay
from knight.listener import SILENT, Listener
from knight.observing import Seen
from knight.outputs import RealSession, is_for_onnxruntime, real_session
from knight.realizing import Quantized


@dataclass(frozen=True)
class Figures:
    """What a quantized model is worth, in numbers.

    agreement: of the outputs with the float model's. metric: what the user's function returned. coverage:
    what runs as integers. host: a few samples with this CPU's own kernels, where those compute something
    else.
    """

    agreement: Agreement
    metric: object
    coverage: Coverage
    host: HostFigures | None


def measure(
    quantized: Quantized,
    infer: InferFunction,
    seen: Seen,
    *,
    threads: int = 1,
    session: RealSession | None = None,
    listener: Listener = SILENT,
) -> Figures:
    """Runs `infer` over the quantized model, by exact arithmetic, beside the float outputs in `seen`.

    session: of the model, where there is one already. Raises KnightError as infer functions do, ModelError
    where ONNX Runtime cannot load the model.
    """
    if session is None:
        session = running(quantized, seen.example, threads=threads, spin=seen.settings.keeps_awake)
    agreement, metric, host = _agreement(quantized.model, session, infer, seen, threads, listener)
    return Figures(agreement, metric, coverage.measure(quantized.model, quantized.plan), host)


def running(
    quantized: Quantized, example: Mapping[str, np.ndarray] | None, *, threads: int = 1, spin: bool = True
) -> RealSession:
    """A session of the quantized model that has run once: it works, and the next pass need not warm it."""
    session = real_session(quantized.model, threads=threads, spin=spin)
    if example is not None:
        session.run(example)
    return session


def _agreement(
    model: ir.Model, session: RealSession, infer: InferFunction, seen: Seen, threads: int, listener: Listener
) -> tuple[Agreement, object, HostFigures | None]:
    agreement = Agreement(session.names)
    replay = Replay(session, session.names)
    turns = count()

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs = session.run(feeds)
        reference = seen.outputs.get(fingerprint(feeds), next(turns))
        if reference is not None:
            agreement.update(reference, outputs)
            if is_for_onnxruntime(model):
                replay.keep(feeds, outputs, reference)
        if agreement.settled:
            executor.early_stop_flag = True
        return outputs

    executor = Executor(
        forward,
        session.inputs,
        session.names,
        seen.settings,
        model=model,
        listener=listener,
        check_finite=False,  # the pass over the float model has seen these samples
    )
    metric = call_infer(infer, executor, must_forward=False)

    def on_host() -> RealSession:
        return real_session(model, threads=threads, spin=seen.settings.keeps_awake, kernels="host")

    return agreement, metric, replay.figures(on_host, listener)
