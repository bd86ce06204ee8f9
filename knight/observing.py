"""The pass over the data: the user's function feeds the float model, and statistics are kept by value."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from knight.evaluation import OutputSpool, fingerprint
from knight.executor import Executor, InferFunction, RunSettings, call_infer
from knight.kept_samples import LIMIT, KeptSamples, Samples
from knight.listener import SILENT, Listener
from knight.preparing import Prepared
from knight.runner import Session, available_threads
from knight.solver import needs_of
from knight.statistics import Needs, Statistics, joined
from knight.types import QuantPlan

_DEFAULT = RunSettings()


@dataclass
class Seen:
    """What the pass left behind; a context manager that takes its files away.

    statistics: after all forward calls. snapshots: number of forward calls -> statistics after that many.
    outputs: the float model's, on disk. metric: what the user's function returned. samples, calls: how many.
    example: the first call's data, None without calls. kept: samples on disk, for whoever looks at data
    again; kept_early: likewise, number of forward calls -> samples of these alone.
    settings: of the run.
    """

    statistics: Statistics
    snapshots: Mapping[int, Statistics]
    outputs: OutputSpool
    metric: object
    samples: int
    calls: int
    example: Mapping[str, np.ndarray] | None
    kept: KeptSamples
    kept_early: Mapping[int, KeptSamples]
    settings: RunSettings

    def after(self, calls: int) -> Statistics:
        """Statistics after this many forward calls; of all calls, where fewer were made."""
        return self.snapshots.get(calls, self.statistics)

    def kept_after(self, calls: int) -> Samples:
        """Samples kept of this many forward calls; of all calls, where fewer were made."""
        return self.kept_early.get(calls, self.kept)

    def __enter__(self) -> Seen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes the float outputs and the kept samples from the disk."""
        for kept in (self.kept, *self.kept_early.values()):
            kept.close()
        self.outputs.close()


def observe(
    prepared: Prepared,
    plans: QuantPlan | Iterable[QuantPlan],
    infer: InferFunction,
    settings: RunSettings = _DEFAULT,
    *,
    needs: Needs | None = None,
    snapshots: Sequence[int] = (),
    keep: int = 0,
    threads: int = 1,
    listener: Listener = SILENT,
) -> Seen:
    """Runs `infer` once over the float model; what it returns serves every one of the `plans`.

    settings: `iteration` says how many forward calls `infer` is asked to make. needs: statistics beside those
    that the plans' calibration methods ask for. snapshots: numbers of forward calls after which statistics
    are kept as well. keep: forward calls whose data stay on disk, chosen by their content. Raises KnightError
    as infer functions do, DataError for a value that becomes NaN, and OutputError for a full disk.
    """
    chosen = [plans] if isinstance(plans, QuantPlan) else list(plans)
    wanted = joined(*(needs_of(plan) for plan in chosen), needs or {})
    statistics, taken = Statistics.empty(wanted), dict[int, Statistics]()
    sooner = sorted({calls for calls in snapshots if calls < settings.iteration})
    room = LIMIT // (1 + len(sooner))
    kept, early = KeptSamples(keep, room), {calls: KeptSamples(keep, room) for calls in sooner}
    spool = OutputSpool(tempfile.TemporaryFile(prefix="knight-"))  # noqa: SIM115  # closed with what was seen
    example: dict[str, np.ndarray] = {}
    outputs = [output.name or "" for output in prepared.model.graph.outputs]
    inputs = {value.name for value in prepared.model.graph.inputs}
    taps = [name for name in wanted if name not in inputs and name not in outputs]
    session = Session(prepared.model, taps=taps, threads=threads, spin=settings.keeps_awake)

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        results = session.run_in_place(feeds)
        if not example:
            example.update(copy.deepcopy(feeds))
        seen = dict(zip([*outputs, *taps], results, strict=True)) | feeds
        list(pool.map(lambda name: statistics.update(name, seen[name]), wanted))
        spool.put(fingerprint(feeds), results[: len(outputs)])
        kept.offer(feeds)
        for calls, few in early.items():
            if executor.calls < calls:
                few.offer(feeds)
        return [array.copy() for array in results[: len(outputs)]]  # the user may keep them

    def after_call(calls: int) -> None:
        if calls in sooner:
            taken[calls] = statistics.copy()

    executor = Executor(
        forward,
        session.inputs,
        outputs,
        settings,
        model=prepared.model,
        listener=listener,
        is_float=True,
        after_call=after_call,
    )
    try:
        with ThreadPoolExecutor(available_threads(threads)) as pool:
            metric = call_infer(infer, executor, must_forward=bool(wanted))
    except BaseException:
        spool.close()
        for store in (kept, *early.values()):
            store.close()
        raise
    return Seen(
        statistics,
        taken,
        spool,
        metric,
        executor.samples,
        executor.calls,
        example or None,
        kept,
        early,
        settings,
    )
