"""Compares a float model with a quantized one: both are run over the user's samples, nothing is stored."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from knight import border, evaluation, model as models
from knight.border import input_offsets
from knight.compare import causes, remedies
from knight.compare.comparison import Channels, Comparison, Layer, Unpaired
from knight.compare.evidence import Evidence, kept_noise, used_share
from knight.compare.layerwise import PairRunner, Watch
from knight.compare.metrics import figures
from knight.compare.pairing import Pairing, pair
from knight.compare.rows import Row, rows_of
from knight.compare.weights import Constants, constants, described, histogram, outliers
from knight.errors import ModelError
from knight.executor import Executor, InferFunction, RunSettings, call_infer
from knight.host import HostFigures, Replay
from knight.integer_normalization import folded_like
from knight.listener import SILENT, Listener
from knight.model import name_of
from knight.outputs import RealSession, is_for_onnxruntime, taken_optimizers
from knight.passes import PassOptions, passes, prepare, tidy
from knight.qdq.graph import Graph, Unit
from knight.qdq.lowering import lower
from knight.runner import Session, available_threads
from knight.targets import families, load_target
from knight.temporary import TemporaryFolder

_MANY_CHANNELS = 4096
_NO_OFFSETS: Mapping[str, Sequence[int]] = {}
_TRIED = 16  # samples that are kept for trying out remedies


@dataclass(frozen=True)
class Options:
    """mean, std: normalization that the quantized model has inside (as given to its quantization).
    remedies: try out what mixed precision would win, on a few samples. threads: CPUs to use.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    remedies: bool = True
    threads: int = 5


@dataclass
class _Pass:
    """What is gathered while the infer function runs."""

    agreement: evaluation.Agreement
    spool: evaluation.OutputSpool
    host: HostFigures | None = None
    tried: list[Mapping[str, np.ndarray]] = field(default_factory=list)


def compare_models(
    reference: ir.Model,
    result: ir.Model,
    infer: InferFunction,
    settings: RunSettings,
    *,
    names: tuple[str, str] = ("float", "quantized"),
    options: Options = Options(),
    arguments: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
    begin: Callable[[Sequence[Row]], None] | None = None,
    listener: Listener = SILENT,
) -> Comparison:
    """Pairs the two models' values and measures every pair over the samples that `infer` feeds.

    `result` may come from any tool that writes QDQ or integer operators. The infer function is called once to
    measure, and once more where it returns a metric, then with the quantized model's outputs. Raises
    ModelError where the models have nothing in common, and KnightError as infer functions do. `watch` is
    shown every pair of values, `begin` what is paired before the first sample; what it raises ends the run.
    """
    start = time.perf_counter()
    threads = available_threads(options.threads)
    result = _cleaned(result)
    pairing = pair(forms(reference, options, input_offsets(result)), real_graph(result))
    rows = rows_of(pairing, result)
    if not any(row.unit.nodes for row in rows):
        raise ModelError(
            f"{names[0]} and {names[1]} have no layer in common; is the second a quantization of the first?"
        )
    _check_inputs(reference.graph, result.graph, names)
    if begin is not None:
        begin(rows)
    runner = PairRunner(pairing, result, rows, threads=threads, watch=watch, listener=listener)
    listener.detail(f"{len(rows)} values paired, {pairing.share:.1%} of the quantized model's")
    try:
        with tempfile.TemporaryFile(prefix="knight-") as file:
            outputs = [name_of(value) for value in result.graph.outputs]
            gathered = _Pass(evaluation.Agreement(outputs), evaluation.OutputSpool(file))
            metrics, executor = _measure(runner, pairing, infer, settings, gathered, listener)
    finally:
        runner.close()
    facts = constants(
        pairing.reference, pairing.result, [(row.unit, _twin_unit(pairing, row)) for row in rows]
    )
    used = _used(rows)
    numbered = enumerate(zip(rows, facts, strict=True))
    layers = [_layer(index, row, found, used) for index, (row, found) in numbered if row.mismatch is None]
    unpaired = [*pairing.unpaired(), *_mismatched(rows)]
    weights = {name_of(row.twin): fact for row, fact in zip(rows, facts, strict=True) if fact is not None}
    tried = gathered.tried if options.remedies else []
    suggestion = remedies.suggest(layers, weights, pairing, tried, threads, taken_optimizers(result))
    return Comparison(
        reference=names[0],
        result=names[1],
        layers=layers,
        unpaired=unpaired,
        samples=executor.samples,
        calls=executor.calls,
        seconds=time.perf_counter() - start,
        metric_reference=evaluation.as_number(metrics[0]),
        metric_result=evaluation.as_number(metrics[1]),
        loss=evaluation.quantization_loss(*metrics),
        output_sqnr=gathered.agreement.sqnr_db(),
        remedies=suggestion.remedies,
        mixed_precision=suggestion.mixed_precision,
        host=gathered.host,
        warnings=_warnings(gathered.host),
        arguments=arguments or {},
    )


def _check_inputs(reference: ir.Graph, result: ir.Graph, names: tuple[str, str]) -> None:
    """Raises ModelError where one sample cannot fit both models; their batches may differ."""
    fed = [[value for value in graph.inputs if not value.is_initializer()] for graph in (reference, result)]
    for first, second in zip(*fed, strict=False):
        if first.shape is None or second.shape is None:
            continue
        pairs = list(zip(first.shape, second.shape, strict=False))[1:]
        differ = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
        if differ or len(first.shape) != len(second.shape):
            raise ModelError(
                f"{names[0]} takes {first.name} {first.shape} and {names[1]} {second.name} {second.shape}; "
                f"is the second a quantization of the first?"
            )


def forms(
    reference: ir.Model,
    options: Options = Options(),
    offsets: Mapping[str, Sequence[int]] = _NO_OFFSETS,
) -> Iterator[Graph]:
    """The float model in the forms that a quantized one may have been made from: as tools tidy it, as Knight
    prepares it for its targets, as it is, as ONNX Runtime optimizes it.

    offsets: what the quantized one subtracts from its inputs, where the rest of their normalization is in its
    weights (see `knight.border.OFFSETS`).
    """
    opset = max(models.opset(reference), 17)
    plain = PassOptions(opset=opset)
    if offsets and not input_offsets(reference):
        yield from _with_folded_inputs(reference, options, offsets, opset)
    if not options.mean:
        yield Graph(tidy(reference, plain))
    for recognise in _recognised():
        prepared = PassOptions(opset=opset, recognise=recognise, mean=options.mean, std=options.std)
        yield Graph(prepare(reference, prepared))
    if not options.mean:
        raw = _cleaned(reference)
        passes.get("infer_shapes")(raw, plain)
        yield Graph(raw)
        if models.weight_bytes(raw) <= models.PROTOBUF_LIMIT:
            yield Graph(_as_the_runtime_has_it(raw))


def _with_folded_inputs(
    reference: ir.Model, options: Options, offsets: Mapping[str, Sequence[int]], opset: int
) -> Iterator[Graph]:
    for recognise in _recognised():
        prepared = prepare(reference, PassOptions(opset=opset, recognise=recognise))
        if options.mean:
            border.normalize(prepared, options.mean, options.std)
        yield Graph(folded_like(prepared, offsets))


def _recognised() -> list[frozenset[str]]:
    """What the targets want to be recognised, each set once."""
    return sorted({load_target(name).recognise for name in families()}, key=sorted)


def real_graph(result: ir.Model) -> Graph:
    """A quantized model, its integer operators read as real ones, with the shapes that follow."""
    lowered = lower(result).model
    passes.get("infer_shapes")(lowered, PassOptions())
    return Graph(lowered)


def _cleaned(model: ir.Model) -> ir.Model:
    """A copy in order, with weights that are no inputs, and without functions of its own."""
    options = PassOptions()
    passes.get("sort")(model, options)  # what is not sorted cannot be copied
    copy = model.clone()
    passes.get("clean_interface")(copy, options)
    return copy


def _as_the_runtime_has_it(model: ir.Model) -> ir.Model:
    """After ONNX Runtime's basic optimizations, which its quantizer's own preparation makes."""
    with TemporaryFolder() as folder:
        path = Path(folder, "model.onnx")
        Session(model, level="basic", optimized=path, kernels="host")
        return models.load(path)


def _measure(
    runner: PairRunner,
    pairing: Pairing,
    infer: InferFunction,
    settings: RunSettings,
    gathered: _Pass,
    listener: Listener,
) -> tuple[tuple[object, object], Executor]:
    """Feeds all samples; the two metrics, and the executor that counted."""
    source = runner.plain
    names = [info.name for info in source.outputs]
    twins = _output_twins(pairing, names)
    exact = RealSession(source, runner.source)
    here = Replay(exact, names)

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        wanted, got = runner.feed(feeds)
        quantized = exact.real([got[name] for name in names])
        outputs = [
            quantized[place] if twin is None or twin not in wanted else wanted[twin]
            for place, twin in enumerate(twins)
        ]
        gathered.agreement.update(outputs, quantized)
        gathered.spool.put(evaluation.fingerprint(feeds), quantized)
        if is_for_onnxruntime(runner.source):
            here.keep(feeds, quantized, outputs)
        if len(gathered.tried) < _TRIED:
            gathered.tried.append({name: array.copy() for name, array in feeds.items()})
        return outputs

    executor = Executor(
        forward, source.inputs, names, settings, model=pairing.reference.model, listener=listener
    )
    metric = call_infer(infer, executor)
    for text in gathered.agreement.doubts():
        listener.warn(text)
    gathered.host = here.figures(lambda: RealSession(runner.host_session(), runner.source), listener)
    if evaluation.as_number(metric) is None:
        return (metric, None), executor
    turns = count()

    def replay(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        stored = gathered.spool.get(evaluation.fingerprint(feeds), next(turns))
        if stored is not None and all(array.size for array in stored):
            return [array.copy() for array in stored]
        return exact.run(feeds)

    again = Executor(replay, source.inputs, names, settings, model=runner.source, check_finite=False)
    return (metric, call_infer(infer, again, must_forward=False)), executor


def _warnings(host: HostFigures | None) -> tuple[str, ...]:
    if host is None or not host.worth_a_word:
        return ()
    return (f"on this CPU: {host}; what helps: {host.remedy}",)


def _output_twins(pairing: Pairing, names: Sequence[str]) -> list[str | None]:
    """The float model's name of each output of the quantized model."""
    by_name = {name: twin.name for root, twin in pairing.pairs.items() for name in pairing.result.names(root)}
    return [by_name.get(name) for name in names]


def _twin_unit(pairing: Pairing, row: Row) -> Unit:
    known = {pairing.pairs[root] for root in row.unit.frontier if root in pairing.pairs}
    return pairing.reference.unit(row.twin, known)


def _mismatched(rows: Sequence[Row]) -> Iterator[Unpaired]:
    for row in rows:
        if row.mismatch is not None:
            yield Unpaired("quantized", row.op_type, name_of(row.root), row.mismatch)


def _used(rows: Sequence[Row]) -> dict[tuple[float, int], float]:
    """Scale and zero point -> the largest share of their range that any of their values reaches."""
    found: dict[tuple[float, int], float] = {}
    for row in rows:
        if row.rounding is not None and (share := used_share(row.own, row.rounding)) is not None:
            key = (row.rounding.scale, row.rounding.zero_point)
            found[key] = max(found.get(key, 0.0), share)
    return found


def _layer(index: int, row: Row, found: Constants | None, used: Mapping[tuple[float, int], float]) -> Layer:
    numbers, results = row.samples.arrays()
    measured = bool(row.own.sums) and row.own_missing is None
    grid = None if row.rounding is None else used.get((row.rounding.scale, row.rounding.zero_point))
    kept = kept_noise(numbers, row.rounding, row.own)
    evidence = Evidence(row.own, row.rounding, found, kept, row.tally.broken, grid)
    main = row.unit.main
    known = row.own.low.size > 0
    return Layer(
        index=index,
        op_type=row.op_type,
        name=(main.name or "") if main is not None else "",
        output=name_of(row.twin),
        quantized_output=row.tapped,
        shape=row.shape or (),
        figures=figures(row.tally),
        own_sqnr=evidence.sqnr if measured else None,
        own_missing=row.own_missing,
        best_sqnr=evidence.best_sqnr if measured and row.rounding is not None else None,
        broken=row.tally.broken,
        rounding=row.rounding,
        clipped=row.own.clipped / max(1.0, row.own.total("count")) if measured and row.rounding else None,
        minimum=float(row.own.low.min()) if known else None,
        maximum=float(row.own.high.max()) if known else None,
        cause=causes.cause(evidence) if measured or row.tally.broken else None,
        histogram=histogram(numbers, results),
        channels=_channels(row) if measured else None,
        weights=None if found is None else described(found),
    )


def _channels(row: Row) -> Channels | None:
    own = row.own
    if not 1 < own.low.size <= _MANY_CHANNELS:
        return None
    signal, noise = own.sums["signal"], own.sums["noise"]
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr = np.where(signal > 0, np.clip(10 * np.log10(signal / noise), -200, 200), np.nan)
    return Channels(own.low.copy(), own.high.copy(), sqnr, outliers(np.maximum(own.high, -own.low)))
