"""What every operator gets: bits and calibration method, or float; a default and the rules that differ.

The one object behind ``--disable-names``, ``--keep-first``, ``-mc`` and their relatives: flags and files are
read into rules, and the planner asks `Recipe.choose` once per model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, Literal

import onnx_ir as ir

from knight import operators
from knight.errors import ConfigError, did_you_mean
from knight.types import QuantSpec

FLOAT: Final = "float"
"""The choice of an operator that is not quantized."""


@dataclass(frozen=True)
class Choice:
    """How one operator is quantized.

    weight_bits, activation_bits: width of its weights, and of the activations that it reads and makes.
    method: calibration method of what it makes. options: of the method, where they are not the default ones.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    method: str = "kl"
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A choice for some operators.

    choice: a `Choice`, or `FLOAT`.
    names: of operators, or of the values that they make; ``*`` and ``?`` stand for any text and character.
    op_types: kinds of operators, likewise. A rule needs names or kinds; with both, either will do.
    origin: where the rule was written, for messages and for the reason that stands beside a float operator.
    excludes: it wins over all rules that do not.
    """

    choice: Choice | Literal["float"]
    names: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    origin: str = "the recipe"
    excludes: bool = False

    def matches_name(self, node: ir.Node) -> bool:
        """Whether one of `names` is that of `node` or of a value that it makes."""
        return any(_fits(name, pattern) for pattern in self.names for name in _names(node))

    def matches_type(self, node: ir.Node) -> bool:
        """Whether `node` is of one of the kinds in `op_types`."""
        return any(_fits(node.op_type, pattern) for pattern in self.op_types)


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or _compiled(pattern).fullmatch(name) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Only ``*`` and ``?`` are wildcards: brackets, which `fnmatch` takes for sets, are parts of names."""
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(char) or re.escape(char) for char in pattern), re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """The choices for a whole model.

    default: for operators that no rule names. rules: one that names an operator wins over one that names its
        kind; of two such, the later one.
    keep_first, keep_last: how many of the first and last operators with weights stay float, in graph order.
    reduce_range: weights use one bit less than their integers have.
    """

    default: Choice = Choice()
    rules: Sequence[Rule] = ()
    keep_first: int = 0
    keep_last: int = 0
    reduce_range: bool = False

    def choose(self, graph: ir.Graph) -> dict[ir.Node, Chosen]:
        """The choice for every node of `graph`.

        Raises ConfigError for a rule that matches no operator, naming the nearest ones.
        """
        nodes = list(graph)
        self._check_used(nodes)
        kept = self._kept_in_float(nodes)
        return {node: kept.get(node) or self._by_rule(node) for node in nodes}

    def with_method(self, method: str, **options: float) -> Recipe:
        """The same with another calibration method for what no rule names."""
        return replace(self, default=replace(self.default, method=method, options=options))

    def fitting(self, graph: ir.Graph) -> Recipe:
        """The same without the names and kinds of operators that `graph` does not have."""
        nodes = list(graph)

        def left(rule: Rule) -> Rule:
            names = [
                one for one in rule.names if any(Rule(FLOAT, (one,)).matches_name(node) for node in nodes)
            ]
            kinds = [one for one in rule.op_types if any(_fits(node.op_type, one) for node in nodes)]
            return replace(rule, names=tuple(names), op_types=tuple(kinds))

        return replace(
            self, rules=tuple(rule for rule in map(left, self.rules) if rule.names or rule.op_types)
        )

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All that it asks for, but for float."""
        found = (self.default, *(rule.choice for rule in self.rules))
        return tuple(choice for choice in found if isinstance(choice, Choice))

    @property
    def needs_wide_opset(self) -> bool:
        """Whether it asks for widths that QuantizeLinear has since opset 21 only."""
        widths = {bits for choice in self.choices for bits in (choice.weight_bits, choice.activation_bits)}
        return any(QuantSpec(bits).needs_wide_opset for bits in widths)

    def _by_rule(self, node: ir.Node) -> Chosen:
        for excludes in (True, False):
            rules = [rule for rule in reversed(self.rules) if rule.excludes == excludes]
            for matches in (Rule.matches_name, Rule.matches_type):
                for rule in rules:
                    if matches(rule, node):
                        return Chosen(rule.choice, rule.origin)
        return Chosen(self.default, "")

    def _kept_in_float(self, nodes: Sequence[ir.Node]) -> dict[ir.Node, Chosen]:
        weighted = [node for node in nodes if has_weights(node)]
        kept = {node: Chosen(FLOAT, "--keep-first") for node in weighted[: self.keep_first]}
        if self.keep_last:
            kept |= {node: Chosen(FLOAT, "--keep-last") for node in weighted[-self.keep_last :]}
        return kept

    def _check_used(self, nodes: Sequence[ir.Node]) -> None:
        for rule in self.rules:
            for pattern in rule.names:
                if not any(Rule(FLOAT, (pattern,)).matches_name(node) for node in nodes):
                    known = [name for node in nodes for name in _names(node)]
                    raise ConfigError(
                        f"{rule.origin}: no operator is called {pattern!r} or makes a value of that name: "
                        f"{did_you_mean(pattern, known, list_all=False)}; --dry-run lists all"
                    )
            for pattern in rule.op_types:
                kinds = sorted({node.op_type for node in nodes})
                if not any(_fits(kind, pattern) for kind in kinds):
                    raise ConfigError(
                        f"{rule.origin}: the model has no operator of type {pattern!r}: "
                        f"{did_you_mean(pattern, kinds)}"
                    )


@dataclass(frozen=True)
class Chosen:
    """The choice for one operator, and where it was written ("" for the default)."""

    choice: Choice | Literal["float"]
    origin: str


def has_weights(node: ir.Node) -> bool:
    """Whether `node` has constants that are quantized as weights."""
    return node.op_type in operators.ACCUMULATES | operators.NEEDS_CONSTANT_WEIGHT and any(
        True for _ in operators.constant_operands(node)
    )


def _names(node: ir.Node) -> Iterator[str]:
    """Of an operator, and of the values that it makes, alone or with the Relu or Clip that belongs to it."""
    made = list(node.outputs)
    readers = [reader for reader, _ in node.outputs[0].uses()] if len(made) == 1 else []
    if len(readers) == 1 and readers[0].op_type in operators.BOUNDED and not made[0].is_graph_output():
        made += readers[0].outputs
    yield from (name for name in (node.name, *(value.name for value in made)) if name)
