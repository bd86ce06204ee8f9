"""The visible list of what Knight does: prepare, plan, observe, realize, measure, report.

One pass of the user's infer function over the data serves every calibration method and every number of
iterations; each quantized model is then run once through the same function, and reported with its error
against the float model, before the next one is begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from knight.candidates import Candidate
from knight.config import QuantConfig
from knight.errors import KnightError
from knight.executor import InferFunction, RunSettings
from knight.listener import SILENT, Listener
from knight.measuring import measure, running
from knight.normalizing import SAMPLES, Form, form_of
from knight.observing import Seen, observe
from knight.optimizers import optimizers
from knight.planning import Planned, Variant, plan_all
from knight.realizing import realize
from knight.report import report
from knight.runner import available_threads
from knight.statistics import joined
from knight.targets import Target
from knight.telling import Account, tell_plan
from knight.types import QParams


@dataclass(frozen=True)
class Outcome:
    """One quantized model, or the reason why there is none.

    label: names the combination, as in ``min_max_it_5``. steps: the models of the stages, by name. report:
    plain JSON data, described by report_schema.json. files: what the format writes beside the model.
    """

    method: str
    iteration: int
    label: str
    model: ir.Model | None = None
    steps: Mapping[str, ir.Model] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What all combinations of one run have in common.

    name: of the model, as the report gives it.
    """

    infer: InferFunction
    target: Target
    config: QuantConfig
    settings: RunSettings
    name: str

    @property
    def threads(self) -> int:
        """CPUs to use."""
        return available_threads(self.config.threads)


def quantize(
    model: ir.Model,
    infer: InferFunction,
    target: Target,
    config: QuantConfig,
    settings: RunSettings,
    *,
    name: str,
    listener: Listener = SILENT,
) -> Iterator[Outcome]:
    """Quantizes `model` for `target`, once per method and number of iterations in `config`; each result is
    yielded before the next is begun.

    Raises KnightError for what concerns every combination; where there are several, a failure of one is its
    Outcome's `failure`.
    """
    request = Request(infer, target, config, replace(settings, iteration=max(config.iterations)), name)
    account = Account(listener)
    with account.stage(1):
        planned = plan_all(model, target, config, listener)
        tell_plan(account, planned, target, config)
    chosen = [optimizers.get(name) for name in config.optimizers]
    with account.stage(2):
        seen = observe(
            planned.observed,
            planned.all_plans,
            infer,
            request.settings,
            needs=joined(*(optimizer.needs(plan) for optimizer in chosen for plan in planned.all_plans)),
            snapshots=config.iterations,
            keep=max([*(optimizer.samples for optimizer in chosen), SAMPLES * _compares(planned)]),
            threads=request.threads,
            listener=listener,
        )
    with seen:
        asked = request.settings.iteration
        if seen.calls < asked:
            account.warn(f"-i {asked} asks for more calls than the infer function made ({seen.calls})")
        elif seen.samples == 1 and (settings.user_defined_script or settings.input_configs_dict):
            account.warn("one sample alone calibrates; -i asks for more forward calls")
        several = len(planned.candidates) > 1
        for candidate, first, whole in planned:
            if several:
                listener.combination(candidate.label)
            try:
                yield _outcome(request, planned, candidate, first, whole, seen, account.branch())
            except KnightError as error:
                if not several:
                    raise
                yield Outcome(candidate.method, candidate.iteration, candidate.label, failure=str(error))


def _compares(planned: Planned) -> bool:
    """Whether samples decide how an input is normalized."""
    return any(isinstance(one, Variant) for one in planned.whole)


def _outcome(
    request: Request,
    planned: Planned,
    candidate: Candidate,
    variant: Variant,
    whole: Variant | str,
    seen: Seen,
    account: Account,
) -> Outcome:
    """One combination, from the statistics to the report. whole: see `Planned`."""
    with account.stage(3):
        statistics, samples = seen.after(candidate.iteration), seen.kept_after(candidate.iteration)
        form = Form("float", whole) if isinstance(whole, str) and whole else None
        given: Mapping[str, QParams] = {}
        if isinstance(whole, Variant):
            form, given = form_of(variant, whole, statistics, samples, threads=request.threads)
            variant = whole if form.form == "integers" else variant
        if form is not None:
            account.listener.detail(f"normalization {form}")
        quantized = realize(
            variant.prepared,
            variant.plan,
            statistics,
            patch=variant.kept.patch,
            given=given,
            optimizers=candidate.optimizers,
            samples=samples,
            format=request.config.format,
            threads=request.threads,
            listener=account.listener,
        )
        for text in quantized.warnings:
            account.warn(text)
        session = running(quantized, seen.example, threads=request.threads, spin=request.settings.keeps_awake)
    with account.stage(4):
        figures = measure(
            quantized,
            request.infer,
            seen,
            threads=request.threads,
            session=session,
            listener=account.listener,
        )
        for text in (*figures.warnings, *figures.agreement.doubts()):
            account.warn(text)
    with account.stage(5):
        steps = {
            "stage1_prepared": quantized.prepared.model,
            "stage3_quantized": quantized.with_real_outputs(),
            "output_all_layers_quantize": quantized.with_all_outputs(),
        }
    found = report(
        quantized,
        figures,
        seen,
        planned.source,
        name=request.name,
        target=request.target,
        candidate=candidate,
        config=request.config,
        settings=request.settings,
        account=account,
        normalization=form,
    )
    return Outcome(
        candidate.method,
        candidate.iteration,
        candidate.label,
        quantized.model,
        steps,
        found,
        files=quantized.files,
    )
