"""From statistics to the quantized model: solve, optimize, rewrite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from knight.exporters import export
from knight.integer_inputs import exact_parameters
from knight.kept_samples import Samples
from knight.listener import SILENT, Listener
from knight.optimizing import Draft, Verdict, optimize
from knight.outputs import OPTIMIZERS
from knight.preparing import Prepared
from knight.qdq.own import mark
from knight.requantization import Requantization, requantizations
from knight.rewriter import rewrite
from knight.solver import Parameters, solve
from knight.statistics import Statistics
from knight.types import Patch, QParams, QuantPlan

_NONE = Patch()
_NOTHING: Mapping[str, QParams] = {}


@dataclass(frozen=True)
class Quantized:
    """A quantized model and what it was made of.

    model: as it is written; QDQ, unless another format was asked for. files: what belongs beside it, by path.
    prepared: the float model that it is the twin of. plan, statistics, parameters: what was decided, what was
    seen, the numbers. requantizations: by node name, on chips that rescale by integers. verdicts: on the
    optimizers, in the order in which they were tried. warnings: what the numbers cost, and what became of
    optimizers that were not used.
    """

    model: ir.Model
    prepared: Prepared
    plan: QuantPlan
    statistics: Statistics
    parameters: Parameters
    requantizations: Mapping[str, Requantization] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    warnings: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    def with_real_outputs(self) -> ir.Model:
        """The model with every output dequantized, also those that leave it as fixed-point numbers."""
        if not self.plan.fixed_point_outputs:
            return self.model
        return rewrite(self.prepared.model, self.plan, self.parameters, fixed_point=False)

    def with_all_outputs(self) -> ir.Model:
        """A copy that gives every float and integer intermediate value as an output as well."""
        twin = self.model.clone()
        present = set(twin.graph.outputs)
        for node in twin.graph:
            for value in node.outputs:
                if value not in present and value.name and value.dtype is not None:
                    twin.graph.outputs.append(value)
        return twin


def realize(
    prepared: Prepared,
    plan: QuantPlan,
    statistics: Statistics,
    *,
    patch: Patch = _NONE,
    given: Mapping[str, QParams] = _NOTHING,
    optimizers: Sequence[str] = (),
    samples: Samples = (),
    format: str = "qdq",
    threads: int = 1,
    listener: Listener = SILENT,
) -> Quantized:
    """The quantized model of `plan`, with the numbers that `statistics` give.

    patch: numbers that nothing decides here, such as those of a source that was quantized. given: numbers of
    groups that no calibration method decides. optimizers: names of those to try, in this order, on `samples`
    (see `knight.optimizing`). format: of what is written (see `knight.exporters`). Raises ModelError for
    weights that are not finite, DataError for statistics that the plan needs and that were not kept,
    ConfigError for an unknown optimizer.
    """
    fixed = {**exact_parameters(prepared.border, plan, statistics), **given}
    parameters = solve(prepared.model, plan, statistics, threads=threads, fixed=fixed, patch=patch)
    draft = Draft(prepared, plan, statistics, parameters)
    verdicts: tuple[Verdict, ...] = ()
    if optimizers:
        draft, verdicts = optimize(
            draft, optimizers, samples, fixed=fixed, threads=threads, listener=listener
        )
    requantized, warnings = requantizations(plan, draft.parameters)
    unused = tuple(f"optimizer {verdict}" for verdict in verdicts if not verdict.accepted)
    exported = export(format, rewrite(draft.prepared.model, plan, draft.parameters))
    if taken := [verdict.optimizer for verdict in verdicts if verdict.accepted]:
        exported.model.metadata_props[OPTIMIZERS] = ",".join(taken)
    mark(exported.model)
    return Quantized(
        exported.model,
        draft.prepared,
        plan,
        draft.statistics,
        draft.parameters,
        requantized,
        verdicts,
        (*draft.parameters.warnings, *warnings, *unused),
        exported.files,
    )
