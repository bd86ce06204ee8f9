"""Runs a float and a quantized model over the same samples and keeps the sums of every layer's errors.

For each sample the float model runs once, the quantized model once, and every layer once alone, on the float
model's inputs. Nothing is kept but sums: memory does not grow with the samples. Where one sample's values
would be too many to hold together, the layers are taken in groups, each with a run of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight.compare.alone import Piece, build
from knight.compare.fallback import SteadySession
from knight.compare.pairing import Pairing
from knight.compare.rows import Row
from knight.listener import SILENT, Listener
from knight.model import name_of
from knight.runner import Session

HELD = 1 << 29
"""Bytes of one sample's values that are held together, as far as single layers allow."""


@dataclass
class _Group:
    """Rows that are run together."""

    rows: list[Row]
    reference: SteadySession
    result: SteadySession
    alone: SteadySession | None
    pieces: Mapping[ir.Value, Piece]


Watch = Callable[[Row, np.ndarray, np.ndarray], None]
"""Is shown a row's value in the float and in the quantized model; the arrays are overwritten later."""


class PairRunner:
    """Both models, ready to be fed sample by sample."""

    def __init__(
        self,
        pairing: Pairing,
        source: ir.Model,
        rows: Sequence[Row],
        *,
        threads: int,
        watch: Watch | None = None,
        measure: bool = True,
        listener: Listener = SILENT,
    ) -> None:
        """`watch` is shown every pair of values, from several threads; without `measure` nothing is summed up
        and no layer is run alone.
        """
        self._watch = watch
        self._measure = measure
        self._pairing = pairing
        self.source = source
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self.rows = list(rows)
        self._groups: list[_Group] | None = None
        self._listener = listener
        self.plain = self._session(source, "the quantized model")
        """The quantized model as it is."""

    def host_session(self) -> SteadySession:
        """The quantized model with this CPU's own kernels."""
        return SteadySession(
            self.source,
            what="the quantized model with this CPU's own kernels",
            threads=self._threads,
            kernels="host",
            listener=self._listener,
        )

    def _session(self, model: ir.Model, what: str, taps: Sequence[str] = ()) -> SteadySession:
        return SteadySession(model, what=what, taps=taps, threads=self._threads, listener=self._listener)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()

    def feed(self, feeds: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Runs one sample and adds it to the rows' sums; gives both models' outputs by name."""
        inputs = self._reference_feeds(feeds)
        if self._groups is None:
            self._groups = [self._group(rows) for rows in self._parts(inputs)]
        wanted: Mapping[str, np.ndarray] = {}
        got: Mapping[str, np.ndarray] = {}
        for group in self._groups:
            wanted, got = self._run_group(group, inputs, feeds)
        return (
            {name: wanted[name].copy() for name in _output_names(self._pairing.reference.model)},
            {name: got[name].copy() for name in _output_names(self.source)},
        )

    def _run_group(
        self, group: _Group, inputs: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]
    ) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
        reference = _run(group.reference, inputs) | dict(inputs)
        result = _run(group.result, feeds) | dict(feeds)
        alone: Mapping[str, np.ndarray] = {}
        if group.alone is not None:
            fed = {
                info.name: reference[info.name].astype(info.dtype, copy=False) for info in group.alone.inputs
            }
            alone = _run(group.alone, fed)

        def one(row: Row) -> None:
            values = _values(row, reference, result)
            if values is None:
                return
            if self._watch is not None:
                self._watch(row, *values)
            if self._measure:
                _update(row, group.pieces, *values, alone)

        list(self._pool.map(one, group.rows))
        return reference, result

    def _reference_feeds(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`feeds` under the names, and in the types, of the float model."""
        found = {}
        for root, twin in self._pairing.pairs.items():
            if root.is_graph_input() and twin.is_graph_input():
                array = feeds[name_of(root)]
                dtype = array.dtype if twin.dtype is None else twin.dtype.numpy()
                found[name_of(twin)] = array.astype(dtype, copy=False)
        return found

    def _parts(self, inputs: Mapping[str, np.ndarray]) -> Iterator[list[Row]]:
        """The rows in groups of which one sample's values are no more than `HELD` bytes."""
        sizes = Session(
            self._pairing.reference.model, taps=[name_of(row.twin) for row in self.rows], level="none"
        ).output_bytes(inputs)
        part: list[Row] = []
        held = 0
        for row in self.rows:
            size = 4 * sizes.get(name_of(row.twin), 0)  # float, quantized, alone before and after rounding
            if part and held + size > HELD:
                yield part
                part, held = [], 0
            part.append(row)
            held += size
        yield part

    def _group(self, rows: list[Row]) -> _Group:
        lonely = [row for row in rows if self._measure and row.own_missing is None and not row.exact]
        reference = self._pairing.reference
        alone: SteadySession | None = None
        pieces: Mapping[ir.Value, Piece] = {}
        taps = [name_of(row.twin) for row in rows]
        if lonely:
            model, pieces = build(self._pairing.result, [row.unit for row in lonely], self._pairing.pairs)
            alone = self._session(model, "the model of single layers")
            taps += [info.name for info in alone.inputs]
        inputs = {value.name for value in reference.graph.inputs}
        taps = [name for name in dict.fromkeys(taps) if name not in inputs]
        given = {value.name for value in self.source.graph.inputs}
        seen = [name for name in dict.fromkeys(row.tapped for row in rows) if name not in given]
        return _Group(
            rows,
            self._session(reference.model, "the float model", taps),
            self._session(self.source, "the quantized model, with all its values", seen),
            alone,
            pieces,
        )


def _run(session: SteadySession, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    results = session.run_in_place(feeds)
    return {info.name: array for info, array in zip(session.outputs, results, strict=True)}


def _output_names(model: ir.Model) -> list[str]:
    return [name_of(value) for value in model.graph.outputs]


def _values(
    row: Row, reference: Mapping[str, np.ndarray], result: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The row's value in both models, as real numbers; None where they cannot be compared."""
    if row.mismatch is not None:
        return None
    wanted, got = reference[name_of(row.twin)], row.real(result[row.tapped])
    if not isinstance(wanted, np.ndarray) or wanted.size != got.size or wanted.dtype == object:
        row.mismatch = f"the shapes differ: {_shape(wanted)} and {_shape(got)}"
        return None
    if row.shape is None:
        row.shape = wanted.shape
    return wanted, got


def _update(
    row: Row,
    pieces: Mapping[ir.Value, Piece],
    wanted: np.ndarray,
    got: np.ndarray,
    alone: Mapping[str, np.ndarray],
) -> None:
    """Adds one sample to the sums of `row`."""
    row.tally.update(wanted, got)
    row.samples.update(wanted, got)
    if row.exact:
        row.own.update(wanted, None, wanted)
    piece = pieces.get(row.root)
    if piece is None:
        return
    rounded = alone[piece.result]
    if rounded.shape != wanted.shape:
        row.own_missing = f"alone it has the shape {_shape(rounded)}, in the float model {_shape(wanted)}"
        return
    middle = None if piece.middle is None else alone[piece.middle]
    if middle is not None and row.bounds != (-np.inf, np.inf):
        middle = middle.clip(*row.bounds)
    row.own.update(wanted, middle, rounded)


def _shape(array: object) -> str:
    return "x".join(map(str, getattr(array, "shape", ()))) or "scalar"
