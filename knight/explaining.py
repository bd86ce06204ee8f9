"""A plan in words: what will be quantized, how, and why the rest stays float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from knight import operators
from knight.model import name_of
from knight.preparing import Prepared
from knight.types import QuantPlan, QuantSpec


@dataclass(frozen=True)
class QuantizedOperator:
    """One operator that runs as integers.

    weights, activations: types of the integers that it reads, such as "int8 per channel"; "" without any,
    "folded" where it belongs to the operator before it.
    More than one where it reads several. method: calibration method of what it makes (of what it reads, where
    it hands on floats).
    """

    name: str
    op_type: str
    weights: str
    activations: str
    method: str


@dataclass(frozen=True)
class Explained:
    """quantized: in graph order. left: reason -> (operator, type) of those that stay float for it. rest: how
    many operators work on shapes and indices, which are neither.
    """

    quantized: tuple[QuantizedOperator, ...]
    left: Mapping[str, tuple[tuple[str, str], ...]]
    rest: int


def explain(prepared: Prepared, plan: QuantPlan) -> Explained:
    """What `plan` does with each operator of the prepared model."""
    nodes = {node.name or "": node for node in prepared.model.graph}
    left: dict[str, list[tuple[str, str]]] = {}
    for name, reason in plan.float_nodes.items():
        left.setdefault(reason, []).append((name, nodes[name].op_type))
    made = {tensor.value: tensor.group for tensor in reversed(tuple(plan.tensors.values()))}
    quantized = tuple(_operator(nodes[name], plan, made) for name in plan.integer_nodes)
    rest = len(nodes) - len(quantized) - len(plan.float_nodes)
    return Explained(quantized, {reason: tuple(names) for reason, names in left.items()}, rest)


def _operator(node: ir.Node, plan: QuantPlan, made: Mapping[str, str]) -> QuantizedOperator:
    name = node.name or ""
    reads = [plan.reads[name, place] for place in range(len(node.inputs)) if (name, place) in plan.reads]
    tensors = [key for key in reads if key in plan.tensors]
    weights = [plan.weights[key].spec for key in reads if key in plan.weights]
    weights_apart = weights if operators.roles(node).weights else []
    activations = [plan.spec(key) for key in tensors] + [spec for spec in weights if not weights_apart]
    own = [made[name_of(value)] for value in node.outputs if value.name in made]
    groups = own or [plan.tensors[key].group for key in tensors]
    return QuantizedOperator(
        name,
        node.op_type,
        _listed(weights_apart),
        _listed(activations) or "folded",
        " ".join(dict.fromkeys(plan.groups[group].method for group in groups)),
    )


def _listed(specs: list[QuantSpec]) -> str:
    return ", ".join(dict.fromkeys(map(_described, specs)))


def _described(spec: QuantSpec) -> str:
    kind = f"{'int' if spec.signed else 'uint'}{spec.bits}"
    if spec.block_size is not None:
        return f"{kind} in blocks of {spec.block_size}"
    return kind if spec.axis is None else f"{kind} per channel"
