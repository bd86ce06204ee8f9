"""Plans as JSON: the mappings of `QuantPlan`, with a list of edges where JSON has no pairs as keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import onnx_ir as ir

from knight import model as models, operators
from knight.errors import ConfigError, printable, shown, wrong_value
from knight.forms import forms
from knight.scales.checks import check_method, check_name
from knight.scales.documents import Format, ModelDocument
from knight.scales.numbers import Spec, scales_shape
from knight.scales.structure import check_structure, structure
from knight.schema import Table, wants
from knight.types import Edge, QuantPlan, Weight

_SHIFTS = "two whole numbers [low, high], 0 <= low <= high <= 62"


class TensorEntry(Table, frozen=True):
    """As `Tensor`."""

    value: str
    group: str


class GroupEntry(Table, frozen=True):
    """As `Group`."""

    spec: Spec
    method: str
    options: dict[str, float]
    sources: tuple[str, ...]
    spans: tuple[str, ...]


class WeightEntry(Table, frozen=True):
    """As `Weight`."""

    constant: str
    spec: Spec


class AccumulatorEntry(Table, frozen=True):
    """As `Accumulator`."""

    input: str
    weight: str
    bias: str | None
    result: str | None


class ReadEntry(Table, frozen=True):
    """An edge, and what is read there. input: index among the inputs of `node`."""

    node: str
    input: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    key: str


class PlanDocument(ModelDocument, frozen=True):
    """As `QuantPlan`."""

    tensors: dict[str, TensorEntry]
    groups: dict[str, GroupEntry]
    weights: dict[str, WeightEntry]
    reads: tuple[ReadEntry, ...]
    outputs: dict[str, str]
    fixed_point_outputs: tuple[str, ...]
    accumulators: dict[str, AccumulatorEntry]
    integer_nodes: tuple[str, ...]
    float_nodes: dict[str, str]
    forms: dict[str, str]
    runtime: str
    multiplier_bits: Annotated[int, msgspec.Meta(ge=0, le=31)]
    shift_range: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, le=62)], ...],
        msgspec.Meta(min_length=2, max_length=2),
        wants(_SHIFTS),
    ]

    def __post_init__(self) -> None:
        if self.shift_range[0] > self.shift_range[1]:
            raise ValueError(f"shift_range: {wrong_value(list(self.shift_range), _SHIFTS)}")
        edges = [(read.node, read.input) for read in self.reads]
        if len(set(edges)) < len(edges):
            raise ValueError("reads: names an edge twice; keep one")


PLAN = Format("plan", 1, PlanDocument)


def save_plan(plan: QuantPlan, path: str | Path, model: ir.Model) -> Path:
    """Writes `plan` of the prepared `model`. Raises ConfigError for another model's, and OutputError."""
    path = Path(path)
    check_plan(plan, model, PLAN.before(path))
    found: dict[str, Any] = {field.name: getattr(plan, field.name) for field in fields(plan)}
    found["reads"] = [{"node": node, "input": index, "key": key} for (node, index), key in plan.reads.items()]
    return PLAN.write(path, {"model": structure(model), **found})


def load_plan(path: str | Path, model: ir.Model) -> QuantPlan:
    """The plan in `path`, which must be one of the prepared `model`.

    Raises ConfigError: one line that names file, key and remedy.
    """
    path = Path(path)
    document = PLAN.read(path)
    found = {field.name: getattr(document, field.name) for field in fields(QuantPlan)}
    found["reads"] = {}
    reads = {(read.node, read.input): read.key for read in document.reads}
    plan = replace(msgspec.convert(found, QuantPlan, from_attributes=True), reads=reads)
    check_plan(plan, model, PLAN.before(path))
    check_structure(model, document.model, PLAN.before(path))
    return plan


# A plan beside its model -----------------------------------------------------------------------------------


def check_plan(plan: QuantPlan, model: ir.Model, before: str) -> None:
    """Raises ConfigError, beginning with `before`, for a plan that cannot be one of the prepared `model`."""
    graph = model.graph
    for key, name, known, what in (*_in_model(plan, graph), *_in_plan(plan)):
        check_name(name, known, before, key, what)
    for key, problem in (*_edges(plan, graph), *_constants(plan, graph), *_order(plan)):
        raise ConfigError(f"{before}{printable(key)}: {problem}; make the plan again for this model")
    for key, group in plan.groups.items():
        check_method(group.method, group.options, before, f"groups.{key}")


_Reference = tuple[str, str, Collection[str], str]
"""(key path, name, names that there are, what to say of another)."""


def _in_model(plan: QuantPlan, graph: ir.Graph) -> Iterator[_Reference]:
    values = {value.name or "" for value in models.values(graph)}
    nodes = {node.name or "" for node in graph}
    outputs = {value.name or "" for value in graph.outputs}
    lacks = "{} {{}} of the plan is not in the model"
    value, constant, node, output = (
        lacks.format(kind) for kind in ("value", "constant", "operator", "output")
    )
    for key, tensor in plan.tensors.items():
        yield f"tensors.{key}.value", tensor.value, values, value
    for key, group in plan.groups.items():
        yield from ((f"groups.{key}.sources", name, values, value) for name in group.sources)
    for key, weight in plan.weights.items():
        yield f"weights.{key}.constant", weight.constant, graph.initializers.keys(), constant
    readers = {node.name or "" for node in graph.all_nodes()}
    yield from (("reads", name, readers, node) for name, _ in plan.reads)
    for name in plan.outputs:
        yield "outputs", name, outputs, output
    for key in ("accumulators", "integer_nodes", "float_nodes", "forms"):
        yield from ((key, name, nodes, node) for name in getattr(plan, key))


def _in_plan(plan: QuantPlan) -> Iterator[_Reference]:
    group, tensor, weight = (f"the plan has no {kind} {{}}" for kind in ("group", "tensor", "weight"))
    for key, one in plan.tensors.items():
        yield f"tensors.{key}.group", one.group, plan.groups, group
    for key, whole in plan.groups.items():
        yield from ((f"groups.{key}.spans", part, plan.groups, group) for part in whole.spans)
    for name, key in plan.outputs.items():
        yield f"outputs.{name}", key, plan.tensors, tensor
    for name in plan.fixed_point_outputs:
        yield "fixed_point_outputs", name, plan.outputs, "the plan has no output {}"
    for name, accumulator in plan.accumulators.items():
        yield f"accumulators.{name}.input", accumulator.input, plan.tensors, tensor
        yield f"accumulators.{name}.weight", accumulator.weight, plan.weights, weight
        if accumulator.result is not None:
            yield f"accumulators.{name}.result", accumulator.result, plan.tensors, tensor
    for node, form in plan.forms.items():
        yield f"forms.{node}", form, forms.names(), "there is no form {}"


_Problem = tuple[str, str]
"""(key path, what is wrong there)."""


def _edges(plan: QuantPlan, graph: ir.Graph) -> Iterator[_Problem]:
    """What is read has to be what the model has there, and outputs what is taken for them."""
    read: dict[Edge, set[str | None]] = {}  # the bodies of If and Loop may have operators of one name
    for node in graph.all_nodes():
        for index, value in enumerate(node.inputs):
            read.setdefault((node.name or "", index), set()).add(value.name if value is not None else None)
    made = {key: tensor.value for key, tensor in plan.tensors.items()}
    made |= {key: weight.constant for key, weight in plan.weights.items()}
    for place, (edge, key) in enumerate(plan.reads.items()):
        if made.get(key, "") not in read.get(edge, ()):
            yield f"reads[{place}]", f"{shown(key)} is not what input {edge[1]} of {shown(edge[0])} reads"
    used = {*plan.reads.values(), *plan.outputs.values()}
    for key in plan.tensors:
        if key not in used:
            yield f"tensors.{key}", "nothing reads it, and it is no output"
    for name, key in plan.outputs.items():
        if made[key] != name:
            yield f"outputs.{name}", f"{shown(key)} is a tensor of another value"
    nodes = {node.name or "": node for node in graph}
    for name, accumulator in plan.accumulators.items():
        bias = operators.bias(nodes[name])
        if accumulator.bias is not None and (bias is None or bias.name != accumulator.bias):
            yield f"accumulators.{name}.bias", f"{shown(accumulator.bias)} is not the operator's bias"


def _constants(plan: QuantPlan, graph: ir.Graph) -> Iterator[_Problem]:
    """What is quantized has to be float32, constants to be constant and to have the axes of their grids."""
    floats = {value.name for value in models.values(graph) if operators.is_float(value)}
    for key, tensor in plan.tensors.items():
        if tensor.value not in floats:
            yield f"tensors.{key}.value", f"{shown(tensor.value)} is no float32 tensor"
    for key, group in plan.groups.items():
        if group.spec.axis is not None:
            yield f"groups.{key}.spec.axis", "activations have one scale; it has to be null"
    scales = {key: _scales(weight, graph) for key, weight in plan.weights.items()}
    for key, shape in scales.items():
        if shape is None:
            yield f"weights.{key}", "its constant has no such axis, or is not fixed, or is not float32"
    for name, accumulator in plan.accumulators.items():
        if accumulator.bias is None:
            continue
        bias = graph.initializers.get(accumulator.bias)
        numbers = bias.const_value if bias is not None and models.is_constant(bias) else None
        if numbers is None:
            yield f"accumulators.{name}.bias", f"{shown(accumulator.bias)} is not fixed in the model"
        elif scales[accumulator.weight] not in ((), (numbers.size,)):
            yield f"accumulators.{name}.bias", "the weight's grid has another number of scales than the bias"


def _scales(weight: Weight, graph: ir.Graph) -> tuple[int, ...] | None:
    """Shape of the scales of a weight, per block where it has those; None where the grid does not fit."""
    value, spec = graph.initializers[weight.constant], weight.spec
    if value.const_value is None or not models.is_constant(value) or not operators.is_float(value):
        return None
    return scales_shape(spec, tuple(value.const_value.shape.numpy()))


def _order(plan: QuantPlan) -> Iterator[_Problem]:
    """A group that holds others together comes after those of them that do so as well."""
    solved = {key for key, group in plan.groups.items() if not group.spans}
    for key, group in plan.groups.items():
        if not solved.issuperset(group.spans):
            yield f"groups.{key}.spans", "holds together what comes after it"
        solved.add(key)
