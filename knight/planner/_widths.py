"""Third step: at which widths each value is kept, and who reads which.

An operator reads at the width of its own choice, so a value that is read at two widths becomes two tensors. A
graph output, and what floats read, has the width of the operator that makes it. Operators that only move
values go with their readers and a folded Relu or Clip with its producer, unless a rule names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from knight import model as models, operators
from knight.errors import ConfigError
from knight.names import Names
from knight.planner._nodes import Nodes
from knight.planner._subject import Subject
from knight.recipe import FLOAT, Choice
from knight.types import Edge

Choices = Mapping[ir.Node, Choice]


@dataclass(frozen=True)
class Kept:
    """A value at one width; `choice` says which, and whose calibration method decides its range."""

    value: ir.Value
    choice: Choice


@dataclass(frozen=True)
class Tensors:
    """kept: key -> value and width, in graph order. choices: of every integer node. reads, outputs: as in
    `QuantPlan`.
    """

    kept: Mapping[str, Kept]
    choices: Choices
    reads: Mapping[Edge, str]
    outputs: Mapping[str, str]
    _keys: Mapping[ir.Value, Mapping[int, str]]

    def key(self, value: ir.Value, bits: int) -> str | None:
        """Of `value` at this width; None where it is not kept so."""
        return self._keys.get(value, {}).get(bits)

    def first(self, value: ir.Value) -> str | None:
        """Of `value` at its first width; None where it is not quantized."""
        return next(iter(self._keys.get(value, {}).values()), None)

    def read(self, node: ir.Node, value: ir.Value) -> str | None:
        """Key of what `node` reads of `value`."""
        return self.key(value, self.choices[node].activation_bits)


def choose_widths(subject: Subject, nodes: Nodes, quantized: frozenset[ir.Value]) -> Tensors:
    """The tensors of the `quantized` values."""
    choices = _choices(subject, nodes)
    kept: dict[str, Kept] = {}
    keys: dict[ir.Value, dict[int, str]] = {}
    reads: dict[Edge, str] = {}
    outputs: dict[str, str] = {}
    names = Names(value.name for value in models.values(subject.graph))
    for value in models.values(subject.graph):
        if value not in quantized:
            continue
        maker = value.producer()
        own = choices.get(maker) if maker is not None else None
        readers = _readers(subject, choices, value, own)
        is_output = own is not None and value.is_graph_output()
        found = keys[value] = {}
        for choice in _widths(own, list(readers.values()), own_is_read=is_output or not readers):
            key = names.fresh(f"{value.name}_{choice.activation_bits}bit") if found else models.name_of(value)
            kept[key] = Kept(value, choice)
            found[choice.activation_bits] = key
        reads.update({edge: found[choice.activation_bits] for edge, choice in readers.items()})
        if is_output and own is not None:
            outputs[value.name or ""] = found[own.activation_bits]
    return Tensors(kept, choices, reads, outputs, keys)


def _choices(subject: Subject, nodes: Nodes) -> dict[ir.Node, Choice]:
    found: dict[ir.Node, Choice] = {}
    integer = [node for node in subject.graph if node in nodes.integer]
    for node in integer:
        own = subject.chosen[node]
        assert own.choice != FLOAT
        if own.origin or not (subject.moves(node) or node in nodes.folded):
            found[node] = _that_it_has(subject, node, own.choice, own.origin)
    for node in reversed(integer):
        if node not in found and node not in nodes.folded:
            readers = [reader for value in node.outputs for reader, _ in subject.readers(value)]
            known = [found[reader] for reader in readers if reader in found]
            if known:
                found[node] = max(known, key=lambda choice: choice.activation_bits)
    for node in integer:
        if node not in found:
            makers = [value.producer() for _, value in operators.data_inputs(node)]
            known = [found[maker] for maker in makers if maker in found]
            default = subject.chosen[node].choice
            assert default != FLOAT
            found[node] = known[0] if known else default
    return found


def _that_it_has(subject: Subject, node: ir.Node, choice: Choice, origin: str) -> Choice:
    """`choice`, or the first widths that the target has for this operator where nobody asked for others.

    Raises ConfigError for widths that a rule asks for and that the target lacks.
    """
    only = subject.target.widths.get(node.op_type)
    if only is not None and not origin:
        schemes = [scheme for scheme in subject.target.schemes if scheme.name in only]
        widths = [(scheme.weight_bits, scheme.activation_bits) for scheme in schemes]
        if (choice.weight_bits, choice.activation_bits) not in widths:
            weight_bits, activation_bits = widths[0]
            return replace(choice, weight_bits=weight_bits, activation_bits=activation_bits)
    try:
        subject.target.scheme(choice.weight_bits, choice.activation_bits, node.op_type)
    except ConfigError as error:
        raise ConfigError(f"{origin or 'the default'}, operator {node.name!r}: {error}") from None
    return choice


def _readers(subject: Subject, choices: Choices, value: ir.Value, own: Choice | None) -> dict[Edge, Choice]:
    """The edges on which `value` is read as integers, and the choice that says at which width.

    own: of the integer operator that makes it. Without one, what reads floats reads the unrounded value.
    """
    found: dict[Edge, Choice] = {}
    for node, index in value.uses():
        reader = choices.get(node) if node.graph is subject.graph else None
        choice = reader or own
        if choice is not None:
            found[node.name or "", index] = choice
    return found


def _widths(own: Choice | None, readers: list[Choice], *, own_is_read: bool) -> list[Choice]:
    """One choice for each width that is needed, that of the value's maker first."""
    wanted = {choice.activation_bits for choice in readers}
    found: dict[int, Choice] = {}
    if own is not None and (own_is_read or own.activation_bits in wanted):
        found[own.activation_bits] = own
    for choice in readers:
        found.setdefault(choice.activation_bits, choice)
    return list(found.values())
