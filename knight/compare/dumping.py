"""Dumps every paired value of a float and a quantized model, sample by sample, for a later comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from knight.compare.dump import DumpWriter, Entry
from knight.compare.layerwise import PairRunner
from knight.compare.models import real_graph
from knight.compare.pairing import pair
from knight.compare.rows import Row, rows_of
from knight.executor import Executor, InferFunction, RunSettings, call_infer
from knight.listener import SILENT, Listener
from knight.model import name_of
from knight.qdq.graph import Graph
from knight.runner import available_threads

Arrays = dict[int, tuple[np.ndarray, np.ndarray]]
"""By row: what the float and what the quantized model gave, in one run of either."""


@dataclass
class _Dumper:
    """Gathers the runs that one forward call is made of, and hands the call to the writer.

    A batch that the model takes in pieces is one call: its pieces are joined again.
    """

    rows: Sequence[Row]
    outputs: Sequence[str]
    folder: Path
    limit: int
    listener: Listener
    stack: ExitStack
    seen: Arrays = field(default_factory=dict)
    pieces: list[Arrays] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)
    odd: set[int] = field(default_factory=set)
    writer: DumpWriter | None = None
    planned: int = 0

    def watch(self, row: Row, wanted: np.ndarray, got: np.ndarray) -> None:
        """Keeps what the runner shows; its arrays do not last."""
        self.seen[id(row)] = wanted.copy(), got.copy()

    def end_of_run(self) -> None:
        """The runner has shown all rows."""
        self.pieces.append(self.seen)
        self.seen = {}

    def end_of_call(self, calls: int) -> None:
        """Writes one forward call. calls: how many are expected in all, which the first call announces."""
        pieces, self.pieces = self.pieces, []
        if self.writer is None:
            self.kept = [row for row in self.rows if all(id(row) in piece for piece in pieces)]
        arrays = [self._joined(row, pieces) for row in self.kept]
        if self.writer is None:
            entries = [_entry(row, self.outputs) for row in self.kept]
            writer = DumpWriter(self.folder, entries, limit=self.limit, listener=self.listener)
            self.writer = self.stack.enter_context(writer)
            self.planned = calls
            self.writer.announce(calls, sum(one.nbytes + other.nbytes for one, other in arrays))
        self.writer.put([one for one, _ in arrays], [other for _, other in arrays])

    def _joined(self, row: Row, pieces: Sequence[Arrays]) -> tuple[np.ndarray, np.ndarray]:
        """The row's values in this call; none where the two models' do not fit each other (any more)."""
        found = [piece[id(row)] for piece in pieces if id(row) in piece]
        if len(found) < len(pieces):
            if id(row) not in self.odd:
                self.odd.add(id(row))
                self.listener.warn(
                    f"{row.op_type} {row.twin.name!r} cannot be compared in every forward call: "
                    f"{row.mismatch}; the dump has no elements for it there"
                )
            return np.empty(0, np.float32), np.empty(0, np.float32)
        left, right = (list(half) for half in zip(*found, strict=True))
        return _concatenated(left), _concatenated(right)


def _concatenated(pieces: list[np.ndarray]) -> np.ndarray:
    """`pieces` along their first axis; flat, where their other axes differ."""
    if len(pieces) == 1:
        return pieces[0]
    trailing = {piece.shape[1:] for piece in pieces if piece.ndim}
    alike = len(trailing) == 1 and all(piece.ndim for piece in pieces)
    return np.concatenate(pieces if alike else [piece.reshape(-1) for piece in pieces])


class _DumpingExecutor(Executor):
    """An executor that tells the dumper where a forward call of the user's ends."""

    dumper: _Dumper
    expected: int | None = None

    def forward(self, *arrays: np.ndarray) -> list[np.ndarray]:
        self.dumper.pieces.clear()  # of a call that failed, and that the user's function went on from
        results = super().forward(*arrays)
        each = self.samples / self.calls
        expected = 0 if self.expected is None else math.ceil(self.expected / each)
        self.dumper.end_of_call(max(1, self.iteration, expected))
        return results


def dump_models(
    reference: ir.Model,
    result: ir.Model,
    infer: InferFunction,
    settings: RunSettings,
    folder: Path,
    *,
    limit: int,
    samples: int | None = None,
    threads: int = 5,
    listener: Listener = SILENT,
) -> tuple[int, int]:
    """Writes ``folder/float``, ``folder/quant``, ``folder/dump.json``; gives the numbers of layers and calls.

    reference: the prepared model that `result` was made from.
    limit: bytes that the dump may take. samples: how many the infer function is known to feed, where it may
    make more forward calls than it is asked for. A ``batch_k.npy`` is what forward call k gave. An earlier
    dump stays until the new one is whole. Raises OutputError where nothing fits or the disk refuses, and
    KnightError as infer functions do.
    """
    threads = available_threads(threads)
    pairing = pair([Graph(reference)], real_graph(result))
    rows = rows_of(pairing, result)
    outputs = [name_of(value) for value in pairing.reference.graph.outputs]
    with ExitStack() as stack:
        dumper = _Dumper(rows, outputs, folder, limit, listener, stack)
        runner = PairRunner(
            pairing, result, rows, threads=threads, watch=dumper.watch, measure=False, listener=listener
        )
        stack.callback(runner.close)

        def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            wanted, _ = runner.feed(feeds)
            dumper.end_of_run()
            return [wanted[name] for name in outputs]

        inputs, model = runner.plain.inputs, pairing.reference.model
        executor = _DumpingExecutor(forward, inputs, outputs, settings, model=model, listener=listener)
        executor.dumper, executor.expected = dumper, samples
        call_infer(infer, executor)
    assert dumper.writer is not None  # a function that makes no forward call has been refused
    if executor.calls > dumper.planned:
        listener.warn(
            f"{folder}: the infer function made {executor.calls} forward calls instead of {dumper.planned}; "
            f"{dumper.writer.calls} are dumped; raise -i for more"
        )
    return len(dumper.kept), dumper.writer.calls


def _entry(row: Row, outputs: Sequence[str]) -> Entry:
    main, name = row.unit.main, name_of(row.twin)
    return Entry(
        op_type=row.op_type,
        op_name=name if main is None else main.name or name,
        output=name,
        quantized_output=row.tapped,
        model_output=name in outputs,
    )
