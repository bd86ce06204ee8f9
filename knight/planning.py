"""All that can be told before any data are read: the combinations, the prepared model, the plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from knight.absorbing import Kept, Source, keep, read_source
from knight.candidates import Candidate, candidates
from knight.config import QuantConfig
from knight.listener import SILENT, Listener
from knight.planner import make_plan
from knight.preparing import Prepared, prepare_model
from knight.targets import Target
from knight.types import QuantPlan


@dataclass(frozen=True)
class Planned:
    """source: the model as a float model. prepared: it after all passes. candidates, plans: one plan for each
    combination. kept: likewise what of a quantized source's scales stands in it.
    """

    source: Source
    prepared: Prepared
    candidates: Sequence[Candidate]
    plans: Sequence[QuantPlan]
    kept: Sequence[Kept]

    def __iter__(self) -> Iterator[tuple[Candidate, QuantPlan, Kept]]:
        """One combination after the other."""
        return zip(self.candidates, self.plans, self.kept, strict=True)


def plan_all(model: ir.Model, target: Target, config: QuantConfig, listener: Listener = SILENT) -> Planned:
    """The combinations that `config` asks for, on `target`. Raises KnightError."""
    tried = candidates(config, target)
    source = read_source(model)
    recipes = {candidate.method: candidate.recipe for candidate in tried}  # whatever the number of iterations
    prepared = prepare_model(source.model, target, config, recipes=[*recipes.values()], listener=listener)
    plans = {
        method: make_plan(prepared, target, recipe, real_outputs=config.output_dequant, strict=config.strict)
        for method, recipe in recipes.items()
    }
    absorbed = None if config.recalibrate else source.absorbed
    kept = {
        method: Kept() if absorbed is None else keep(absorbed, prepared, plan)
        for method, plan in plans.items()
    }
    methods = [candidate.method for candidate in tried]
    return Planned(
        source, prepared, tried, [plans[method] for method in methods], [kept[method] for method in methods]
    )
