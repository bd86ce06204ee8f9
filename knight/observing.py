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
    sooner = sorted({calls for calls in snapshots if calls < settings.iteration})
    with ThreadPoolExecutor(available_threads(threads)) as pool:
        session = _session(prepared, wanted, threads=threads, spin=settings.keeps_awake)
        gathered = _Gathered(session, len(prepared.model.graph.outputs), wanted, sooner, keep, pool)
        executor = Executor(
            gathered.forward,
            session.inputs,
            [info.name for info in session.outputs][: gathered.outputs],
            settings,
            model=prepared.model,
            listener=listener,
            is_float=True,
            after_call=gathered.after_call,
        )
        try:
            metric = call_infer(infer, executor, must_forward=bool(wanted))
        except BaseException:
            gathered.close()
            raise
    return gathered.seen(metric, executor, settings)


def _session(prepared: Prepared, wanted: Needs, *, threads: int, spin: bool) -> Session:
    """The float model, which gives the values in `wanted` beside its outputs."""
    graph = prepared.model.graph
    there = {value.name for value in (*graph.inputs, *graph.outputs)}
    taps = [name for name in wanted if name not in there]
    return Session(prepared.model, taps=taps, threads=threads, spin=spin)


class _Gathered:
    """What the forward calls of one pass have shown so far."""

    def __init__(
        self,
        session: Session,
        outputs: int,
        wanted: Needs,
        sooner: Sequence[int],
        keep: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        """outputs: how many of the session's are the model's own. sooner: numbers of calls, in order, after
        which all is kept as well. keep: samples each time.
        """
        self.outputs = outputs
        self._session, self._wanted, self._pool = session, wanted, pool
        self._names = [info.name for info in session.outputs]
        self._statistics = Statistics.empty(wanted)
        self._snapshots: dict[int, Statistics] = {}
        room = LIMIT // (1 + len(sooner))
        self._kept = KeptSamples(keep, room)
        self._kept_early = {calls: KeptSamples(keep, room) for calls in sooner}
        self._spool = OutputSpool(tempfile.TemporaryFile(prefix="knight-"))  # noqa: SIM115  # closed with what was seen
        self._example: dict[str, np.ndarray] = {}
        self._calls = 0

    def forward(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """One sample through the float model; its outputs."""
        results = self._session.run_in_place(feeds)
        if not self._example:
            self._example.update(copy.deepcopy(feeds))
        seen = dict(zip(self._names, results, strict=True)) | feeds
        list(self._pool.map(lambda name: self._statistics.update(name, seen[name]), self._wanted))
        outputs = results[: self.outputs]
        self._spool.put(fingerprint(feeds), outputs)
        self._kept.offer(feeds)
        for calls, few in self._kept_early.items():
            if self._calls < calls:
                few.offer(feeds)
        return [array.copy() for array in outputs]  # the user may keep them

    def after_call(self, calls: int) -> None:
        """Told the number of forward calls after each."""
        self._calls = calls
        if calls in self._kept_early:
            self._snapshots[calls] = self._statistics.copy()

    def seen(self, metric: object, executor: Executor, settings: RunSettings) -> Seen:
        """All of it, after the last call."""
        return Seen(
            self._statistics,
            self._snapshots,
            self._spool,
            metric,
            executor.samples,
            executor.calls,
            self._example or None,
            self._kept,
            self._kept_early,
            settings,
        )

    def close(self) -> None:
        """Removes what is on the disk."""
        self._spool.close()
        for store in (self._kept, *self._kept_early.values()):
            store.close()
