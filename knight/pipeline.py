"""The visible list of what Knight does: prepare, plan, observe, solve, rewrite, check.

One pass of the user's infer function over the data serves every calibration method and every number of
iterations; each quantized model is then run once through the same function, and reported with its error
against the float model.
"""

from __future__ import annotations

import copy
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import count, product
from typing import Any

import numpy as np
import onnx_ir as ir

from knight import border, coverage, evaluation
from knight.config import QuantConfig
from knight.errors import ConfigError, DataError, KnightError
from knight.executor import Executor, InferFunction, RunSettings, call_infer
from knight.exporters import export, exporters
from knight.host import HostFigures, Replay, cpu_name
from knight.listener import SILENT, Listener
from knight.model import is_for_onnxruntime
from knight.observer import Histogram, Observer
from knight.passes import PassOptions, prepare
from knight.planner import make_plan
from knight.requantization import Requantization, requantizations
from knight.rewriter import dequantized, output_scales, rewrite
from knight.runner import Session, available_threads, saturates
from knight.solver import Parameters, merged_histograms, solve
from knight.targets import Target
from knight.types import QuantPlan

STAGES = (
    "Do Graph Optimize.",
    "Run Float Model And Calculate Quantization Scales.",
    "Run Model Quantization.",
    "Quantitative Parameter Fixed-point.",
    "Quantitation Postprocess.",
)


@dataclass(frozen=True)
class Outcome:
    """One quantized model, or the reason why there is none.

    label: names the combination, as in ``min_max_it_5``. steps: the models of the stages, by name. report:
    plain JSON data, described by report_schema.json. files: what the format writes beside the model, by path.
    """

    method: str
    iteration: int
    label: str
    model: ir.Model | None = None
    steps: Mapping[str, ir.Model] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    failure: str | None = None


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


@dataclass
class _Run:
    """What all combinations of one run have in common."""

    source: ir.Model
    infer: InferFunction
    target: Target
    config: QuantConfig
    settings: RunSettings
    name: str
    listener: Listener
    times: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def threads(self) -> int:
        return available_threads(self.config.threads)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.listener.warn(text)

    @contextmanager
    def stage(self, number: int) -> Iterator[None]:
        self.listener.stage(number, STAGES[number - 1])
        start = time.perf_counter()
        yield
        key = f"stage{number}"
        self.times[key] = self.times.get(key, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class _Statistics:
    """What the pass over the data left behind: histograms by iteration and root, the float outputs and
    metric.
    """

    histograms: Mapping[int, Mapping[str, Histogram]]
    spool: evaluation.OutputSpool
    metric: object
    samples: int
    example: Mapping[str, np.ndarray]


def quantize(
    model: ir.Model,
    infer: InferFunction,
    target: Target,
    config: QuantConfig,
    settings: RunSettings,
    *,
    name: str,
    listener: Listener = SILENT,
) -> tuple[Outcome, ...]:
    """Quantizes `model` for `target`, once per method and number of iterations in `config`.

    Raises KnightError for what concerns every combination; where there are several, a failure of one is its
    Outcome's `failure`.
    """
    check_config(config, target)
    run = _Run(model, infer, target, config, settings, name, listener)
    with run.stage(1):
        prepared = prepare_model(model, target, config, listener)
        plan = make_plan(prepared, target, config)
        _tell_plan(run, prepared, plan)
    with tempfile.TemporaryFile(prefix="knight-") as spool:
        with run.stage(2):
            statistics = _observe(run, prepared, plan, evaluation.OutputSpool(spool))
        combinations = list(product(config.methods, config.iterations))
        outcomes = []
        for method, iteration in combinations:
            try:
                outcomes.append(_quantize_one(run, prepared, plan, statistics, method, iteration))
            except KnightError as error:
                if len(combinations) == 1:
                    raise
                label = f"{method}_it_{iteration}"
                outcomes.append(Outcome(method, iteration, label, failure=str(error)))
    return tuple(outcomes)


def infer(
    model: ir.Model,
    infer: InferFunction,
    settings: RunSettings,
    *,
    threads: int,
    listener: Listener = SILENT,
) -> InferResult:
    """Runs a float or quantized model through the user's function.

    Fixed-point outputs are handed out dequantized.
    """
    session = Session(model, threads=threads, spin=settings.keeps_awake)
    scales = output_scales(model)
    names = [output.name for output in session.outputs]

    real = partial(dequantized, names, scales=scales)
    replay = Replay(session, names, real)
    model_seconds = 0.0

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        nonlocal model_seconds
        start = time.perf_counter()
        outputs = real(session.run(feeds))
        model_seconds += time.perf_counter() - start
        if is_for_onnxruntime(model):
            replay.keep(feeds, outputs, None)
        return outputs

    executor = Executor(forward, session.inputs, names, settings, model=model, listener=listener)
    start = time.perf_counter()
    metric = call_infer(infer, executor)
    seconds = time.perf_counter() - start
    host = replay.figures(
        lambda: Session(model, threads=threads, spin=settings.keeps_awake, kernels="host"), listener
    )
    return InferResult(metric, executor.samples, executor.calls, seconds, model_seconds, host)


def check_config(config: QuantConfig, target: Target) -> None:
    """Raises ConfigError for options that do not go together or that the target lacks."""
    if config.bits not in target.bits:
        raise ConfigError(f"{target.name} has no {config.bits}-bit integers; it has {_listed(target.bits)}")
    if config.bits != 8:
        raise ConfigError("-b 16 is not available yet; use -b 8")
    if config.reduce_range and not target.weight_signed:
        raise ConfigError(
            f"--reduce-range: {target.name} has unsigned weights, which do not saturate; leave it out"
        )
    if not 0.5 < config.percent <= 1.0:
        raise ConfigError(f"-per {config.percent}: wants a fraction above 0.5 and up to 1, such as 0.99999")
    if any(iteration < 1 for iteration in config.iterations) or not config.iterations:
        raise ConfigError("-i wants numbers of at least 1")
    border.wanted_types(config.input_dtypes, config.bits)
    exporters.get(config.format)
    if config.batch_size < 1 or (config.ir_batch is not None and config.ir_batch < 1):
        raise ConfigError("-bs and -ib want a number of at least 1")


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def prepare_model(
    model: ir.Model, target: Target, config: QuantConfig, listener: Listener = SILENT
) -> ir.Model:
    """The canonical float model that is planned, observed and rewritten."""
    types = border.types_by_input(model, border.wanted_types(config.input_dtypes, config.bits))
    first = next((value.name or "" for value in model.graph.inputs if not value.is_initializer()), "")
    late = types.get(first, "float32") != "float32" and bool(config.mean or config.std)
    batch = config.ir_batch
    if batch is None and target.static_shapes and _has_open_batch(model):
        batch = 1
    options = PassOptions(
        batch_size=batch,
        static_shapes=target.static_shapes,
        output_names=config.output_names,
        mean=() if late else config.mean,
        std=() if late else config.std,
        opset=target.opset,
        recognise=target.recognise,
        threads=available_threads(config.threads),
        extras=config.extras,
    )

    def on_pass(name: str, changes: int) -> None:
        if changes:
            listener.detail(f"{name}: {changes} changes")

    prepared = prepare(model, options, on_pass)
    if late:  # integers are normalized before they are rounded, just as a script does it
        border.normalize(prepared, config.mean, config.std)
    if config.mean:
        border.record_normalization(prepared, config.mean, config.std)
    border.set_types(prepared, types)
    return prepared


def _has_open_batch(model: ir.Model) -> bool:
    shapes = (value.shape for value in model.graph.inputs)
    return any(shape is not None and len(shape) and not isinstance(shape[0], int) for shape in shapes)


def _tell_plan(run: _Run, prepared: ir.Model, plan: QuantPlan) -> None:
    for name, dtype in border.input_types(prepared).items():
        run.listener.detail(f"input {name} takes {dtype}")
    if run.config.output_dequant:
        _tell_outputs(run, prepared)
    for name, reason in plan.float_nodes.items():
        run.listener.detail(f"{name} stays float: {reason}")
    if not plan.activations:
        run.warn(
            f"nothing in this model can be quantized for {run.target.name}; the result is the float model"
        )
    subgraphs = [node.op_type for node in prepared.graph if any(True for _ in _subgraphs(node))]
    if subgraphs:
        run.warn(f"the bodies of {len(subgraphs)} {'/'.join(sorted(set(subgraphs)))} operators stay float")


def _tell_outputs(run: _Run, prepared: ir.Model) -> None:
    """Which outputs -od does nothing to: there is no fixed-point number to dequantize."""
    for output in prepared.graph.outputs:
        maker = output.producer()
        op_type = maker.op_type if maker is not None else ""
        if op_type == "ArgMax":
            run.listener.detail(f"output {output.name} stays as it is: ArgMax makes indices")
        elif op_type in run.target.software:
            run.listener.detail(f"output {output.name} stays as it is: {op_type} is a software layer")


def _subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _observe(run: _Run, prepared: ir.Model, plan: QuantPlan, spool: evaluation.OutputSpool) -> _Statistics:
    """One pass of the infer function over the float model; fills an observer per planned value."""
    outputs = [output.name or "" for output in prepared.graph.outputs]
    inputs = {value.name or "" for value in prepared.graph.inputs}
    taps = [name for name in plan.observed if name not in inputs and name not in outputs]
    session = Session(prepared, taps=taps, threads=run.threads, spin=run.settings.keeps_awake)
    observers = {name: Observer() for name in plan.observed}
    listener = _Snapshots(run.listener, run.config.iterations, observers)
    example: dict[str, np.ndarray] = {}
    with ThreadPoolExecutor(run.threads) as pool:

        def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            results = session.run_in_place(feeds)
            if not example:
                example.update(copy.deepcopy(feeds))
            seen = dict(zip([*outputs, *taps], results, strict=True)) | feeds
            list(pool.map(lambda name: _update(observers[name], name, seen[name]), plan.observed))
            spool.put(evaluation.fingerprint(feeds), results[: len(outputs)])
            return [array.copy() for array in results[: len(outputs)]]  # the user may keep them

        largest = max(run.config.iterations)
        settings = replace(run.settings, iteration=largest)
        executor = Executor(
            forward, session.inputs, outputs, settings, model=prepared, listener=listener, is_float=True
        )
        metric = call_infer(run.infer, executor, must_forward=bool(plan.observed))
    if executor.calls < largest:
        run.warn(f"-i {largest} asks for more calls than the infer function made ({executor.calls})")
    histograms = {
        iteration: merged_histograms(plan, listener.taken.get(iteration, observers))
        for iteration in run.config.iterations
    }
    return _Statistics(histograms, spool, metric, executor.samples, example)


class _Snapshots(Listener):
    """Copies the observers after the numbers of forward calls that were asked for."""

    def __init__(
        self, listener: Listener, iterations: Sequence[int], observers: Mapping[str, Observer]
    ) -> None:
        self._listener = listener
        self._iterations = set(iterations) - {max(iterations)}  # the last one needs no copy
        self._observers = observers
        self.taken: dict[int, dict[str, Observer]] = {}

    def announce(self, text: str) -> None:
        self._listener.announce(text)

    def forward(self, done: int, total: int | None) -> None:
        self._listener.forward(done, total)
        if done in self._iterations:
            self.taken[done] = {name: observer.copy() for name, observer in self._observers.items()}


def _update(observer: Observer, name: str, array: np.ndarray) -> None:
    try:
        observer.update(array)
    except DataError as error:
        raise DataError(
            f"value {name!r} {error} in the float model; check the sample and the model"
        ) from None


def _quantize_one(
    run: _Run, prepared: ir.Model, plan: QuantPlan, statistics: _Statistics, method: str, iteration: int
) -> Outcome:
    """One calibration method and number of iterations, from the histograms to the report."""
    one = replace(run, times=dict(run.times), warnings=list(run.warnings))
    with one.stage(3):
        params = solve(
            prepared,
            plan,
            statistics.histograms[iteration],
            method=method,
            percent=one.config.percent,
            threads=one.threads,
            fixed=border.exact_parameters(prepared, plan, statistics.histograms[iteration]),
        )
        requantized, warnings = requantizations(plan, params, one.target)
        for text in (*params.warnings, *warnings):
            one.warn(text)
        exported = export(one.config.format, rewrite(prepared, plan, params))
        quantized = exported.model
        session = Session(quantized, threads=one.threads, spin=one.settings.keeps_awake)
        if statistics.example:
            session.run(statistics.example)  # it runs, and the next pass does not pay for the first time
    with one.stage(4):
        agreement, metric, host = _evaluate(one, quantized, session, statistics)
    with one.stage(5):
        found = coverage.measure(quantized, plan, one.target)
        steps = {
            "stage1_prepared": prepared,
            "stage3_quantized": rewrite(prepared, plan, params, fixed_point=False)
            if plan.fixed_point_outputs
            else quantized,
            "output_all_layers_quantize": _with_all_outputs(quantized),
        }
    report = {
        **_headline(statistics.metric, metric, agreement, found),
        **_details(
            one, method, iteration, statistics, plan, params, requantized, quantized, agreement, found
        ),
        "host": _host_report(one.target, host),
    }
    return Outcome(method, iteration, f"{method}_it_{iteration}", quantized, steps, report, exported.files)


def _evaluate(
    run: _Run, quantized: ir.Model, session: Session, statistics: _Statistics
) -> tuple[evaluation.Agreement, object, HostFigures | None]:
    """Runs the quantized model through the infer function, beside the float model's stored outputs; and a few
    samples again as this CPU runs them, where ONNX Runtime is what the model is for.
    """
    names = [output.name for output in session.outputs]
    scales = output_scales(quantized)
    agreement = evaluation.Agreement(names)
    turns = count()

    real = partial(dequantized, names, scales=scales)
    replay = Replay(session, names, real)

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs = real(session.run(feeds))
        reference = statistics.spool.get(evaluation.fingerprint(feeds), next(turns))
        if reference is not None:
            agreement.update(reference, outputs)
            if is_for_onnxruntime(quantized):
                replay.keep(feeds, outputs, reference)
        if agreement.settled:
            executor.early_stop_flag = True
        return outputs

    settings = replace(run.settings, iteration=max(run.config.iterations))
    executor = Executor(
        forward,
        session.inputs,
        names,
        settings,
        model=quantized,
        listener=run.listener,
        check_finite=False,  # the pass over the float model has seen these samples
    )
    metric = call_infer(run.infer, executor, must_forward=False)
    host = replay.figures(
        lambda: Session(quantized, threads=run.threads, spin=run.settings.keeps_awake, kernels="host"),
        run.listener,
    )
    return agreement, metric, host


def _host_report(target: Target, host: HostFigures | None) -> dict[str, Any] | None:
    """None for a chip that does not run ONNX Runtime."""
    if target.runtime != "onnxruntime":
        return None
    return {
        "cpu": cpu_name(),
        "saturates": saturates(),
        "replay": None if host is None else _plain(asdict(host)),
    }


def _with_all_outputs(model: ir.Model) -> ir.Model:
    """A copy that gives every float and integer intermediate value as an output as well."""
    twin = model.clone()
    present = set(twin.graph.outputs)
    for node in twin.graph:
        for value in node.outputs:
            if value not in present and value.name and value.dtype is not None:
                twin.graph.outputs.append(value)
    return twin


def _headline(
    metric_float: object, metric_quantized: object, agreement: evaluation.Agreement, found: coverage.Coverage
) -> dict[str, Any]:
    return {
        "metric_float": evaluation.as_number(metric_float),
        "metric_quantized": evaluation.as_number(metric_quantized),
        "loss": evaluation.quantization_loss(metric_float, metric_quantized),
        "sqnr_db": agreement.sqnr_db(),
        "cosine": agreement.cosine(),
        "integer_operators": found.integer,
        "float_operators": len(found.float_operators),
        "float_operator_names": list(found.float_operators),
    }


def _details(
    run: _Run,
    method: str,
    iteration: int,
    statistics: _Statistics,
    plan: QuantPlan,
    params: Parameters,
    requantized: Mapping[str, Requantization],
    quantized: ir.Model,
    agreement: evaluation.Agreement,
    found: coverage.Coverage,
) -> dict[str, Any]:
    scales = output_scales(quantized)
    return {
        "model": run.name,
        "chip": run.target.chip or run.target.name,
        "method": method,
        "iteration": iteration,
        "samples": statistics.samples,
        "arguments": _plain({**asdict(run.config), **asdict(run.settings)}),
        "versions": _versions(),
        "times": {stage: round(seconds, 4) for stage, seconds in run.times.items()},
        "peak_memory_mb": peak_memory_mb(),
        "inputs": [
            {"name": value.name, "dtype": value.dtype.numpy().name if value.dtype is not None else None}
            for value in quantized.graph.inputs
        ],
        "outputs": [
            {
                "name": name,
                "scale": scales[name]["scale"] if name in scales else None,
                "zero_point": scales[name]["zero_point"] if name in scales else None,
                "sqnr_db": agreement.output_sqnr_db(name),
            }
            for name in agreement.names
        ],
        "values": {
            name: _value_report(name, plan, params, statistics.histograms[iteration])
            for name in plan.activations
        },
        "weights": {
            name: {"bits": q.spec.bits, "axis": q.spec.axis, "scale": _plain(q.scale)}
            for name, q in params.weights.items()
        },
        "requantization": {
            node: {"multiplier": _plain(r.multiplier), "shift": _plain(r.shift)}
            for node, r in requantized.items()
        },
        "kept_in_float": dict(plan.float_nodes),
        "conversions_left": found.conversions,
        "warnings": list(run.warnings),
    }


def _value_report(
    name: str, plan: QuantPlan, params: Parameters, histograms: Mapping[str, Histogram]
) -> dict[str, Any]:
    root = plan.root(name)
    q, histogram = params.activations[root], histograms[root]
    return {
        "scale": float(q.scale),
        "zero_point": int(q.zero_point),
        "bits": q.spec.bits,
        "signed": q.spec.signed,
        "min": histogram.minimum,
        "max": histogram.maximum,
        "low": float(q.low),
        "high": float(q.high),
        "shares": root if root != name else None,
    }


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _versions() -> dict[str, str]:
    packages = ("onnx", "onnx-ir", "onnxruntime", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)
