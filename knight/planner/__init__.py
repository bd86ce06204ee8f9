"""What to quantize and how, decided from the graph, the target's data and the recipe, before any sample is
seen.

Four steps, each a function of what the ones before found: which *nodes* run as integers, at which *widths*,
which *values* are therefore quantized and who reads them so, and which tensors form *groups* of one scale.

The target names three kinds of integer operators. An *anchor* is worth running as integers by itself. A
*follower* runs as integers only between integer neighbours: where all its inputs arrive as integers anyway
and an anchor needs its result. A *keep-scale* operator moves or selects values: its output has the scale of
its input. Relu and Clip fold into their producer's range.
"""

from __future__ import annotations

import onnx_ir as ir

from knight import model as models
from knight.errors import ConfigError, ModelError
from knight.planner._constants import accumulators_of, constants_of
from knight.planner._groups import grouped
from knight.planner._nodes import NOT_SUPPORTED, Nodes, choose_nodes
from knight.planner._subject import Subject
from knight.planner._values import choose_values
from knight.planner._widths import Tensors, choose_widths
from knight.preparing import WIDE_OPSET, Prepared
from knight.recipe import Recipe
from knight.targets import Target
from knight.types import QuantPlan, Tensor

_DEFAULT = Recipe()


def make_plan(
    prepared: Prepared,
    target: Target,
    recipe: Recipe = _DEFAULT,
    *,
    real_outputs: bool = False,
    strict: bool = False,
) -> QuantPlan:
    """The plan of `recipe` for a prepared model on `target`.

    real_outputs: outputs are real numbers, also where the target's are fixed-point. strict: operators that
    the target lacks are a ModelError. Raises ConfigError for rules that match nothing, and for widths that
    the target lacks.
    """
    graph = prepared.model.graph
    subject = Subject(graph, target, prepared.border, recipe.choose(graph))
    nodes = choose_nodes(subject)
    if strict:
        _refuse_missing(subject, nodes)
    quantized, nodes = choose_values(subject, nodes)
    tensors = choose_widths(subject, nodes, quantized)
    grouping = grouped(subject, nodes, tensors)
    constants = constants_of(subject, nodes, tensors, reduce_range=recipe.reduce_range)
    fixed_point = target.fixed_point_outputs and not real_outputs
    plan = QuantPlan(
        tensors={
            key: Tensor(kept.value.name or "", grouping.root(key)) for key, kept in tensors.kept.items()
        },
        groups=grouping.groups,
        weights=constants.weights,
        reads={**tensors.reads, **constants.reads},
        outputs=tensors.outputs,
        fixed_point_outputs=tuple(tensors.outputs) if fixed_point else (),
        accumulators=accumulators_of(subject, nodes, tensors, constants),
        integer_nodes=tuple(node.name or "" for node in graph if node in nodes.integer),
        float_nodes={node.name or "": nodes.reasons[node] for node in graph if node in nodes.reasons},
        forms=_forms(subject, nodes, tensors),
        runtime=target.runtime,
        multiplier_bits=target.multiplier_bits,
        shift_range=target.shift_range,
    )
    _check_opset(prepared, plan)
    return plan


def _refuse_missing(subject: Subject, nodes: Nodes) -> None:
    missing = [node for node in subject.graph if nodes.reasons.get(node) == NOT_SUPPORTED]
    if missing:
        kinds = sorted({node.op_type for node in missing})
        raise ModelError(
            f"{subject.target.name} has no {', '.join(kinds)} ({len(missing)} nodes, first "
            f"{missing[0].name!r}); leave out --strict to keep them in float, or crop the graph with -on"
        )


def _forms(subject: Subject, nodes: Nodes, tensors: Tensors) -> dict[str, str]:
    """How nodes are written that do not stand between a DequantizeLinear and a QuantizeLinear."""
    found = {}
    for node in subject.graph:
        if node.op_type == "Cast" and tensors.first(node.outputs[0]) is not None:
            found[node.name or ""] = "fed_integers"
        elif node in nodes.integer and subject.is_centring(node):
            found[node.name or ""] = "centred"
        elif node in nodes.integer and node.op_type in subject.target.forms:
            found[node.name or ""] = subject.target.forms[node.op_type]
        elif _wants_to_be_apart(subject, tensors, node):
            found[node.name or ""] = "kept_apart"
    return found


def _wants_to_be_apart(subject: Subject, tensors: Tensors, node: ir.Node) -> bool:
    """Whether `node` stays float between pairs, and the runtime would quantize it there."""
    between = (node.name or "", 0) in tensors.reads and tensors.first(node.outputs[0]) is not None
    return between and node.op_type in subject.target.kept_apart and node not in tensors.choices


def _check_opset(prepared: Prepared, plan: QuantPlan) -> None:
    specs = [*(group.spec for group in plan.groups.values()), *(one.spec for one in plan.weights.values())]
    if any(spec.needs_wide_opset for spec in specs) and models.opset(prepared.model) < WIDE_OPSET:
        raise ConfigError(
            f"integers of other than 8 bits need opset {WIDE_OPSET}, and the model was prepared for opset "
            f"{models.opset(prepared.model)}; name the recipe when preparing it"
        )
