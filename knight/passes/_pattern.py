"""Small graphs written down as expressions, to be found in a model and replaced by one operator.

``Op("Mul", "x", Op("Sigmoid", "x"))`` is x times its own sigmoid:

- a string stands for any value; twice the same string is twice the same value
- a number stands for a scalar constant of (nearly) that value
- `Scalar` and `Weight` stand for a constant, of one element or of any shape
- `Op` stands for the result of a standard operator; of Add, Mul, Max and Min in either order of the operands;
  ``...`` as its last operand leaves the others to the caller
- `OneOf` stands for any of several ways to write the same

A match is given only where nobody but the pattern reads what is computed inside it, so that it can be
replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, hand_over, remove_with_constants
from knight.operators import is_op
from knight.passes._queries import constant_scalar, rank

COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min"})
TOLERANCE = 1e-4  # relative; constants are often written with five digits
TOLERANCE_HALF = 1e-3  # float16 keeps three


@dataclass(frozen=True)
class Scalar:
    """A constant of one element."""

    name: str


@dataclass(frozen=True)
class Weight:
    """A constant."""

    name: str


class Op:
    """The first result of the operator `op_type` with these operands."""

    def __init__(self, op_type: str, *operands: Pattern | EllipsisType) -> None:
        self.op_type = op_type
        self.open = bool(operands) and operands[-1] is ...
        self.operands: tuple[Pattern, ...] = tuple(
            item for item in operands if not isinstance(item, EllipsisType)
        )


class OneOf:
    """Any of the patterns, tried in this order."""

    def __init__(self, *patterns: Pattern) -> None:
        self.patterns = patterns


Pattern: TypeAlias = "str | float | Scalar | Weight | Op | OneOf"


@dataclass(frozen=True)
class Match:
    """A place where a pattern was found: `values` by name, `nodes` from the last operator back.

    edit: puts in what replaces it.
    """

    edit: Editor
    values: Mapping[str, ir.Value]
    nodes: tuple[ir.Node, ...] = ()
    scalars: tuple[ir.Value, ...] = ()

    def __getitem__(self, name: str) -> ir.Value:
        return self.values[name]

    def number(self, name: str) -> float:
        """The number that a `Scalar` stood for."""
        number = constant_scalar(self.values[name])
        assert number is not None
        return number

    def array(self, name: str) -> np.ndarray | None:
        """The numbers that a `Weight` stood for, None if the pattern that matched has no such part."""
        return models.constant(self.values.get(name))

    def of_type(self, op_type: str) -> tuple[ir.Node, ...]:
        """The operators of that type in the match."""
        return tuple(node for node in self.nodes if node.op_type == op_type)

    def insert(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, object] | None = None
    ) -> ir.Value:
        """The result of a new operator in front of the last one, of the type and shape of the match."""
        last = self.nodes[0]
        return self.edit.new_node(last, op_type, inputs, attributes, like=last.outputs[0]).outputs[0]

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """A new initializer; its name starts with that of the match."""
        return self.edit.constant(f"{self.nodes[0].outputs[0].name}_{name}", array)


Rewrite: TypeAlias = Callable[[Match], "ir.Value | None"]
"""Gives the value that replaces the match, or None, before any change, where it must not be replaced."""


def rewrite_all(model: ir.Model, rules: Sequence[tuple[Pattern, Rewrite]]) -> int:
    """Replaces every match, from the end of the graph back, so that the longest form is found first."""
    graph, edit = model.graph, Editor(model.graph)
    return sum(node.graph is graph and _rewrite(edit, node, rules) for node in reversed(tuple(graph)))


def _rewrite(edit: Editor, node: ir.Node, rules: Sequence[tuple[Pattern, Rewrite]]) -> bool:
    for pattern, rewrite in rules:
        for match in matches(edit, node, pattern):
            result = rewrite(match)
            if result is not None:
                hand_over(node.outputs[0], result)
                _remove_unread(match.nodes[1:])
                return True
    return False


def _remove_unread(nodes: Sequence[ir.Node]) -> None:
    """Removes what only the replaced operator needed; a node may wait for another one that reads it."""
    waiting = list(nodes)
    while waiting:
        unread = [node for node in waiting if not any(output.uses() for output in node.outputs)]
        if not unread:
            return
        for node in unread:
            remove_with_constants(node)
        waiting = [node for node in waiting if node not in unread]


def matches(edit: Editor, node: ir.Node, pattern: Pattern) -> Iterator[Match]:
    """All ways in which `pattern` ends at `node` and can be replaced."""
    if not node.outputs:
        return
    for match in _match(node.outputs[0], pattern, Match(edit, {})):
        if match.nodes and match.nodes[0] is node and _is_private(match) and _keeps_rank(match):
            yield match


def _is_private(match: Match) -> bool:
    inside = set(match.nodes)
    outputs = [output for node in match.nodes[1:] for output in node.outputs]
    return not any(
        output.is_graph_output() or any(use.node not in inside for use in output.uses()) for output in outputs
    )


def _keeps_rank(match: Match) -> bool:
    """False if a scalar of shape [1, ..] might give the result more axes than the input has."""
    most = max((rank(scalar) or 0 for scalar in match.scalars), default=0)
    return most == 0 or most <= (rank(match.values.get("x")) or 0)


def _match(value: ir.Value | None, pattern: Pattern, so_far: Match) -> Iterator[Match]:
    if value is None:
        return
    if isinstance(pattern, OneOf):
        for option in pattern.patterns:
            yield from _match(value, option, so_far)
    elif isinstance(pattern, Op):
        yield from _match_op(value, pattern, so_far)
    elif isinstance(pattern, (int, float)):
        if _is_near(value, pattern):
            yield Match(so_far.edit, so_far.values, so_far.nodes, (*so_far.scalars, value))
    elif isinstance(pattern, str):
        yield from _bind(value, pattern, so_far)
    elif isinstance(pattern, Scalar):
        if constant_scalar(value) is not None:
            bound = Match(so_far.edit, so_far.values, so_far.nodes, (*so_far.scalars, value))
            yield from _bind(value, pattern.name, bound)
    elif models.is_constant(value):
        yield from _bind(value, pattern.name, so_far)


def _bind(value: ir.Value, name: str, so_far: Match) -> Iterator[Match]:
    bound = so_far.values.get(name)
    if bound is None:
        yield Match(so_far.edit, {**so_far.values, name: value}, so_far.nodes, so_far.scalars)
    elif bound is value:
        yield so_far


def _match_op(value: ir.Value, pattern: Op, so_far: Match) -> Iterator[Match]:
    node = value.producer()
    if node is None or not is_op(node, pattern.op_type) or value is not node.outputs[0]:
        return
    inputs = list(node.inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    count = len(pattern.operands)
    if len(inputs) < count or (len(inputs) > count and not pattern.open):
        return
    nodes = so_far.nodes if node in so_far.nodes else (*so_far.nodes, node)
    start = Match(so_far.edit, so_far.values, nodes, so_far.scalars)
    orders = [inputs[:count]]
    if node.op_type in COMMUTATIVE and count == 2:
        orders.append([inputs[1], inputs[0]])
    for order in orders:
        yield from _match_operands(order, pattern.operands, start)


def _match_operands(
    values: Sequence[ir.Value | None], patterns: Sequence[Pattern], so_far: Match
) -> Iterator[Match]:
    if not patterns:
        yield so_far
        return
    for match in _match(values[0], patterns[0], so_far):
        yield from _match_operands(values[1:], patterns[1:], match)


def _is_near(value: ir.Value, wanted: float) -> bool:
    number = constant_scalar(value)
    if number is None:
        return False
    tolerance = TOLERANCE_HALF if value.dtype == ir.DataType.FLOAT16 else TOLERANCE
    return abs(number - wanted) <= tolerance * abs(wanted)
