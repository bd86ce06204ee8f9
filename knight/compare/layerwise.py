"""Runs a float and a quantized model over the same samples and keeps the sums of every layer's errors.

For each sample the float model runs once, the quantized model once, and every layer once alone, on the float
model's inputs. Nothing is kept but sums: memory does not grow with the samples. Where one sample's values
would be too many to hold together, the layers are taken in groups, each with a run of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from knight.compare.alone import Piece, build
from knight.compare.comparison import Rounding
from knight.compare.fallback import SteadySession
from knight.compare.own import Own, Samples
from knight.compare.pairing import Pairing
from knight.compare.tally import Tally
from knight.listener import SILENT, Listener
from knight.model import values as all_values
from knight.qdq.graph import DEQUANTIZE, Graph, Quantizer, Unit, evaluate
from knight.qdq.numbers import Tap
from knight.rewriter import output_scales
from knight.runner import Session

HELD = 1 << 29
"""Bytes of one sample's values that are held together, as far as single layers allow."""

_CHANNELS_FIRST = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"})


@dataclass
class Row:
    """One paired value: its place in both models and what has been summed up of it.

    bounds: of the float model's Relu and Clip that the quantized one leaves to the saturation of integers.
    """

    root: ir.Value
    twin: ir.Value
    unit: Unit
    tap: str | Tap
    quantizer: Quantizer | None
    rounding: Rounding | None
    own: Own
    bounds: tuple[float, float] = (-np.inf, np.inf)
    tally: Tally = field(default_factory=Tally)
    samples: Samples = field(default_factory=Samples)
    shape: tuple[int, ...] | None = None
    own_missing: str | None = None
    mismatch: str | None = None

    @property
    def tapped(self) -> str:
        """Name of the value of the quantized model that is looked at."""
        return self.tap if isinstance(self.tap, str) else self.tap.name

    def real(self, array: np.ndarray) -> np.ndarray:
        """The numbers that what is looked at stands for."""
        return array if isinstance(self.tap, str) else self.tap.real(array)

    @property
    def exact(self) -> bool:
        """Nothing is done to the value: it is an input that stays as it is."""
        return not self.unit.nodes and self.quantizer is None

    @property
    def op_type(self) -> str:
        """The operator that names the row."""
        return "Input" if self.unit.main is None else self.unit.main.op_type


def rows_of(pairing: Pairing, source: ir.Model) -> list[Row]:
    """A row for each value that both models have; `source` is the quantized model as it runs."""
    graph = pairing.result
    present = {value.name for value in all_values(source.graph)}
    scales = output_scales(source)
    paired = [value for value in graph.rows() if value in pairing.pairs]
    known = set(paired)
    numbers = _rounding_numbers(graph)
    rows = []
    for value in paired:
        unit = graph.unit(value, known)
        quantizer = graph.quantizers.get(value)
        rounding = None if quantizer is None else _rounding(quantizer, numbers)
        axis = _channel_axis(unit, pairing.pairs[value])
        own = Own(axis, *((rounding.low, rounding.high) if rounding is not None else ()))
        tap = _tap(graph, value, quantizer, present, scales, numbers)
        bounds = _bounds(pairing, value)
        row = Row(value, pairing.pairs[value], unit, tap, quantizer, rounding, own, bounds)
        if unit.has_body:
            row.own_missing = "an operator with a body of its own (If, Loop, Scan)"
        elif any(root not in known for root in unit.frontier):
            row.own_missing = "an input that has no twin in the float model"
        rows.append(row)
    return rows


def _bounds(pairing: Pairing, value: ir.Value) -> tuple[float, float]:
    """Least and greatest number that the Relu and Clip let through which `value` stands behind."""
    low, high = -np.inf, np.inf
    for node in pairing.saturated(value):
        if node.op_type == "Relu":
            low = max(low, 0.0)
            continue
        for place, name in ((1, "min"), (2, "max")):
            bound = node.inputs[place] if len(node.inputs) > place else None
            if bound is None or bound not in pairing.reference.constant:
                number = node.attributes.get_float(name, -np.inf if place == 1 else np.inf)
            else:
                number = float(evaluate(pairing.reference, [bound])[bound.name or ""])
            low, high = (max(low, number), high) if place == 1 else (low, min(high, number))
    return low, high


def _rounding_numbers(graph: Graph) -> dict[str, np.ndarray]:
    """Scales and zero points of all quantizers, by name."""
    wanted: dict[ir.Value, None] = {}
    for quantizer in graph.quantizers.values():
        for node in (quantizer.quantize, quantizer.dequantize):
            for value in () if node is None else node.inputs[1:]:
                if value is not None and value in graph.constant:
                    wanted[value] = None
    return evaluate(graph, list(wanted))


def _number(node: ir.Node | None, index: int, numbers: Mapping[str, np.ndarray]) -> np.ndarray | None:
    value = node.inputs[index] if node is not None and len(node.inputs) > index else None
    return None if value is None else numbers.get(value.name or "")


def _rounding(quantizer: Quantizer, numbers: Mapping[str, np.ndarray]) -> Rounding | None:
    """None where the scale is computed from the data, or is one per channel."""
    scale = _number(quantizer.quantize, 1, numbers)
    if scale is None or scale.size != 1:
        return None
    stored = quantizer.quantize.outputs[0].dtype
    zero = _number(quantizer.quantize, 2, numbers)
    dtype = zero.dtype if zero is not None else stored.numpy() if stored is not None else np.dtype(np.uint8)
    if dtype.kind not in "iu":  # float8 and other formats without a grid of integers
        return None
    limits, point = np.iinfo(dtype), 0 if zero is None else int(zero.reshape(-1)[0])
    step = float(scale.reshape(-1)[0])
    back = _number(quantizer.dequantize, 1, numbers)
    other = float(back.reshape(-1)[0]) if back is not None and back.size == 1 else step
    return Rounding(
        scale=step,
        zero_point=point,
        bits=limits.bits,
        low=step * (int(limits.min) - point),
        high=step * (int(limits.max) - point),
        read_scale=None if other == step else other,
    )


def _channel_axis(unit: Unit, twin: ir.Value) -> int | None:
    main = unit.main
    rank = None if twin.shape is None else len(twin.shape)
    if main is not None and main.op_type in _CHANNELS_FIRST:
        return 1
    if rank is None:
        return None
    return 1 if rank >= 4 else rank - 1 if rank >= 2 else None


def _tap(
    graph: Graph,
    value: ir.Value,
    quantizer: Quantizer | None,
    present: set[str | None],
    scales: Mapping[str, Mapping[str, float]],
    numbers: Mapping[str, np.ndarray],
) -> str | Tap:
    """What of the source model to look at for `value`: what its readers read."""
    name = value.name or ""
    if quantizer is not None:
        integers = quantizer.quantize.outputs[0]
        for node, _ in integers.uses():
            if node.op_type == DEQUANTIZE and node.outputs[0].name in present:
                return node.outputs[0].name or ""
        scale, zero = (_number(quantizer.quantize, index, numbers) for index in (1, 2))
        if integers.name in present and scale is not None:
            point = np.zeros(scale.shape, np.int32) if zero is None else zero.astype(np.int32)
            axis = quantizer.quantize.attributes.get_int("axis", 1) if scale.size > 1 else None
            return Tap(integers.name or "", scale, point, axis)
    if name in scales:
        given = scales[name]
        return Tap(
            name, np.asarray(given["scale"], np.float32), np.asarray(int(given["zero_point"]), np.int32)
        )
    return name


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


class Runner:
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
                array = feeds[root.name or ""]
                dtype = array.dtype if twin.dtype is None else twin.dtype.numpy()
                found[twin.name or ""] = array.astype(dtype, copy=False)
        return found

    def _parts(self, inputs: Mapping[str, np.ndarray]) -> Iterator[list[Row]]:
        """The rows in groups of which one sample's values are no more than `HELD` bytes."""
        sizes = Session(
            self._pairing.reference.model, taps=[row.twin.name or "" for row in self.rows], level="none"
        ).output_bytes(inputs)
        part: list[Row] = []
        held = 0
        for row in self.rows:
            size = 4 * sizes.get(row.twin.name or "", 0)  # float, quantized, alone before and after rounding
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
        taps = [row.twin.name or "" for row in rows]
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
    return [value.name or "" for value in model.graph.outputs]


def _values(
    row: Row, reference: Mapping[str, np.ndarray], result: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The row's value in both models, as real numbers; None where they cannot be compared."""
    if row.mismatch is not None:
        return None
    wanted, got = reference[row.twin.name or ""], row.real(result[row.tapped])
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
