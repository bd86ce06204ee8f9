"""All that can be told before any data are read: the combinations, the prepared model, the plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from knight.absorbing import Kept, Source, keep, read_source
from knight.candidates import Candidate, candidates
from knight.config import QuantConfig
from knight.integer_normalization import Folded, fold
from knight.listener import SILENT, Listener
from knight.planner import make_plan
from knight.preparing import Prepared, prepare_model
from knight.recipe import FLOAT, Recipe
from knight.targets import Target
from knight.types import QuantPlan


@dataclass(frozen=True)
class Variant:
    """A prepared model, its plan, and what of a quantized source's scales stands in it."""

    prepared: Prepared
    plan: QuantPlan
    kept: Kept


@dataclass(frozen=True)
class Planned:
    """source: the model as a float model. prepared: it after all passes. candidates, plans: one plan for each
    combination. kept: likewise what of a quantized source's scales stands in it. whole: likewise the variant
    whose normalization runs as integers, or why there is none; "" where nothing is normalized behind an
    integer input, or the target does not ask for it. observed: what has the values of all of them.
    """

    source: Source
    prepared: Prepared
    candidates: Sequence[Candidate]
    plans: Sequence[QuantPlan]
    kept: Sequence[Kept]
    whole: Sequence[Variant | str]
    observed: Prepared

    def __iter__(self) -> Iterator[tuple[Candidate, Variant, Variant | str]]:
        """One combination after the other."""
        for candidate, plan, kept, whole in zip(
            self.candidates, self.plans, self.kept, self.whole, strict=True
        ):
            yield candidate, Variant(self.prepared, plan, kept), whole

    @property
    def all_plans(self) -> list[QuantPlan]:
        """Of the combinations, and of their variants."""
        return [*self.plans, *(one.plan for one in self.whole if isinstance(one, Variant))]


def plan_all(model: ir.Model, target: Target, config: QuantConfig, listener: Listener = SILENT) -> Planned:
    """The combinations that `config` asks for, on `target`. Raises KnightError."""
    tried = candidates(config, target)
    source = read_source(model)
    recipes = {candidate.method: candidate.recipe for candidate in tried}  # whatever the number of iterations
    prepared = prepare_model(source.model, target, config, recipes=[*recipes.values()], listener=listener)
    absorbed = None if config.recalibrate else source.absorbed

    def planned(prepared: Prepared, recipe: Recipe, strict: bool = False) -> Variant:
        plan = make_plan(prepared, target, recipe, real_outputs=config.output_dequant, strict=strict)
        return Variant(prepared, plan, Kept() if absorbed is None else keep(absorbed, prepared, plan))

    first = {method: planned(prepared, recipe, config.strict) for method, recipe in recipes.items()}
    folded = _folded(prepared, target, recipes.values(), keeps=absorbed is not None)
    whole: dict[str, Variant | str] = dict.fromkeys(recipes, folded if isinstance(folded, str) else "")
    observed = prepared
    if isinstance(folded, Folded):
        observed = folded.observed
        for method, recipe in recipes.items():
            variant = planned(folded.prepared, recipe.fitting(folded.prepared.model.graph))
            whole[method] = _why_not(folded, variant.plan) or variant
    methods = [candidate.method for candidate in tried]
    return Planned(
        source,
        prepared,
        tried,
        [first[method].plan for method in methods],
        [first[method].kept for method in methods],
        [whole[method] for method in methods],
        observed,
    )


def _folded(prepared: Prepared, target: Target, recipes: Iterable[Recipe], *, keeps: bool) -> Folded | str:
    """keeps: the source's scales are kept."""
    if not target.integer_normalization or not prepared.border.normalization:
        return ""
    if keeps:
        return "the source's scales, which are kept, are for its own weights; --recalibrate finds new ones"
    for recipe in recipes:
        for node, chosen in recipe.choose(prepared.model.graph).items():
            if node.name in prepared.border.normalization and chosen.choice == FLOAT:
                return f"{node.name} is left in float by {chosen.origin}"
    return fold(prepared, target.schemes[0].activation_spec())


def _why_not(folded: Folded, plan: QuantPlan) -> str:
    """Why a plan for the folded form would not run it as integers; "" where it does."""
    for name in folded.operators:
        if name not in plan.integer_nodes:
            return f"{name} stays float: {plan.float_nodes.get(name, 'nothing around it runs as integers')}"
    if any(len(plan.of_value(value)) != 1 for value in folded.values):
        return "it is read at two widths"
    return ""
