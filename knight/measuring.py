"""What a quantized model is worth: agreement with the float model, the user's metric, integer coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    else. warnings: what the figures leave out.
    """

    agreement: Agreement
    metric: object
    coverage: Coverage
    host: HostFigures | None
    warnings: tuple[str, ...] = ()


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
    agreement, metric, host, warnings = _agreement(quantized.model, session, infer, seen, threads, listener)
    return Figures(agreement, metric, coverage.measure(quantized.model, quantized.plan), host, warnings)


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
) -> tuple[Agreement, object, HostFigures | None, tuple[str, ...]]:
    agreement = Agreement(session.names)
    replay = Replay(session, session.names)
    turns, known = 0, 0

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        nonlocal turns, known
        outputs = session.run(feeds)
        reference = seen.outputs.get(fingerprint(feeds), turns)
        turns += 1
        if reference is not None:
            known += 1
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

    warnings = (_unseen(known, turns),) if known < turns else ()
    return agreement, metric, replay.figures(on_host, listener), warnings


def _unseen(known: int, turns: int) -> str:
    """Of the samples that have no float outputs to be compared with."""
    return (
        f"SQNR and cosine are those of {known} of {turns} samples; the others that the infer function fed to "
        f"the quantized model the float model has not seen (random numbers without a seed, outputs fed back)"
    )
