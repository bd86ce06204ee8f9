"""What all steps of planning look at, and the questions that more than one of them asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from knight.border import Border
from knight.recipe import Choice, Chosen
from knight.targets import Scheme, Target


@dataclass(frozen=True)
class Subject:
    """graph: of the prepared model. chosen: what the recipe says of every node."""

    graph: ir.Graph
    target: Target
    border: Border
    chosen: Mapping[ir.Node, Chosen]

    def moves(self, node: ir.Node) -> bool:
        """Whether the output of `node` has the scale of its input."""
        return node.op_type in self.target.keep_scale

    def scheme(self, choice: Choice) -> Scheme:
        """How the target quantizes at the widths of `choice`."""
        return self.target.scheme(choice.weight_bits, choice.activation_bits)

    def is_cast(self, node: ir.Node) -> bool:
        """Whether `node` makes floats of an integer input: part of the input, no operator of the model."""
        return node.name in self.border.casts

    def is_centring(self, node: ir.Node) -> bool:
        """Whether `node` subtracts whole numbers from an input's integers, which are as they are."""
        return node.name in self.border.centring

    def readers(self, value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
        """(node, input index) of the readers in the graph itself; those in bodies stay float."""
        return ((node, index) for node, index in value.uses() if node.graph is self.graph)
