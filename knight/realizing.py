"""From statistics to the quantized model: solve, patch, rewrite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from knight.integer_inputs import exact_parameters
from knight.preparing import Prepared
from knight.requantization import Requantization, requantizations
from knight.rewriter import rewrite
from knight.solver import Parameters, solve
from knight.statistics import Statistics
from knight.types import QParams, QuantPlan


@dataclass(frozen=True)
class Quantized:
    """A quantized model and what it was made of.

    model: QDQ. prepared, plan, parameters: the float model, what was decided, the numbers. requantizations:
    by node name, on chips that rescale by integers. warnings: what the numbers cost.
    """

    model: ir.Model
    prepared: Prepared
    plan: QuantPlan
    parameters: Parameters
    requantizations: Mapping[str, Requantization] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

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
    fixed: Mapping[str, QParams] | None = None,
    threads: int = 1,
) -> Quantized:
    """The quantized model of `plan`, with the numbers that `statistics` give.

    fixed: parameters of some groups, which no calibration method decides. Raises ModelError for weights that
    are not finite, DataError for statistics that the plan needs and that were not kept.
    """
    exact = exact_parameters(prepared.border, plan, statistics)
    parameters = solve(prepared.model, plan, statistics, threads=threads, fixed={**(fixed or {}), **exact})
    requantized, warnings = requantizations(plan, parameters)
    model = rewrite(prepared.model, plan, parameters)
    return Quantized(model, prepared, plan, parameters, requantized, (*parameters.warnings, *warnings))
