"""The roundings of activations, read off QuantizeLinear and DequantizeLinear and taken out of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from knight.names import Names
from knight.qdq._ranges import Range, narrowed
from knight.qdq.graph import DEQUANTIZE, QUANTIZE
from knight.qdq.integer_operators import DOMAINS
from knight.qdq.numbers import conversion, same_params
from knight.types import QParams

Edge = tuple[str, int]
"""(name of a node, index of its input) that reads a value; ("", index) for an output of the model."""

Chain = tuple[QParams, ...]


@dataclass
class Roundings:
    """values: value -> how it is rounded. edges: how one reader rounds it once more, or alone. unrounded:
    edges that read the value as its operator made it. refused: node -> why it stays.
    """

    values: dict[ir.Value, QParams] = field(default_factory=dict)
    edges: dict[Edge, QParams] = field(default_factory=dict)
    unrounded: set[Edge] = field(default_factory=set)
    refused: dict[ir.Node, str] = field(default_factory=dict)


def take_out_roundings(
    model: ir.Model, constant: set[ir.Value], ranges: Mapping[str, Range], names: Names
) -> Roundings:
    """Takes out every pair of QuantizeLinear and DequantizeLinear that rounds an activation by fixed numbers.

    constant: values that depend on no input. Nodes are sorted and named.
    """
    reader = _Reader(model.graph, constant, ranges, names)
    reader.read()
    reader.rewire()
    return reader.found


class _Reader:
    def __init__(
        self, graph: ir.Graph, constant: set[ir.Value], ranges: Mapping[str, Range], names: Names
    ) -> None:
        self.graph = graph
        self.constant = constant
        self.ranges = ranges
        self.names = names
        self.found = Roundings()
        self.quantized: dict[ir.Value, tuple[ir.Value, Chain]] = {}  # integers -> value, roundings so far
        self.rounded: dict[ir.Value, tuple[ir.Value, Chain]] = {}  # what DequantizeLinear makes of them

    # What is rounded how --------------------------------------------------------------------------

    def read(self) -> None:
        for node in self.graph:
            source = node.inputs[0] if node.inputs else None
            if node.domain not in DOMAINS or source is None or source in self.constant:
                continue
            if node.op_type == QUANTIZE:
                self._read_quantize(node, source)
            elif node.op_type == DEQUANTIZE and source in self.quantized:
                self._read_dequantize(node, source)

    def _read_quantize(self, node: ir.Node, source: ir.Value) -> None:
        stated = conversion(node)
        if stated is None:
            return
        params = narrowed(stated.params, self.ranges.get(node.outputs[0].name or ""))
        value, chain = self.rounded.get(source, (source, ()))
        if not chain or not same_params(chain[-1], params):
            chain = (*chain, params)
        own = self.found.values.get(value, chain[0])
        if len(_further(own, chain)) > 1:
            self.found.refused[node] = "rounds what two others have rounded"
            return
        self.found.values[value] = own
        self.quantized[node.outputs[0]] = (value, chain)

    def _read_dequantize(self, node: ir.Node, source: ir.Value) -> None:
        value, chain = self.quantized[source]
        stated = conversion(node)
        if stated is None:
            return
        if same_params(narrowed(stated.params, self.ranges.get(source.name or "")), chain[-1]):
            self.rounded[node.outputs[0]] = (value, chain)
        else:
            self.found.refused[node] = "reads integers by another scale than they were made with"

    # The graph without it -------------------------------------------------------------------------

    def rewire(self) -> None:
        """Lets readers read the value itself, and notes on the edge what they read of it."""
        gone = {node for value in self.rounded if (node := value.producer()) is not None}
        for integers in self.quantized:
            quantize = integers.producer()
            read = not integers.is_graph_output() and all(node in gone for node, _ in integers.uses())
            if quantize is not None and read:
                gone.add(quantize)
        for value in self.found.values:
            readers = ((node.name or "", place) for node, place in value.uses() if node not in gone)
            self.found.unrounded.update(readers)
        for value, (source, chain) in self.rounded.items():
            for node, place in list(value.uses()):
                if node not in gone:
                    node.replace_input_with(place, source)
                    self._note((node.name or "", place), source, chain)
        self._rewire_outputs()
        for node in reversed(list(self.graph)):
            if node in gone:
                self.graph.remove(node, safe=True)

    def _rewire_outputs(self) -> None:
        given = {output for output in self.graph.outputs if output not in self.rounded}
        for index, output in enumerate(self.graph.outputs):
            if output not in self.rounded:
                if output in self.found.values:
                    self.found.unrounded.add(("", index))
                continue
            value, chain = self.rounded[output]
            edge = ("", index)
            if value in given or value.is_graph_input():  # it has a name of its own, which users know
                same = ir.Node("", "Identity", [value], num_outputs=1)
                same.name = self.names.fresh(f"{output.name}_Identity")
                self.graph.append(same)
                edge, replacement = (same.name, 0), same.outputs[0]
            else:
                replacement = value
            given.add(replacement)
            replacement.type, replacement.shape = output.type, output.shape
            replacement.name, output.name = output.name, None
            self.graph.outputs[index] = replacement
            self._note(edge, value, chain)

    def _note(self, edge: Edge, value: ir.Value, chain: Chain) -> None:
        """What a reader of `value` reads, who read it behind the roundings of `chain`."""
        own = self.found.values[value]
        further = _further(own, chain)
        if not same_params(chain[0], own):
            self.found.unrounded.add(edge)
        if further:
            self.found.edges[edge] = further[0]


def _further(own: QParams, chain: Chain) -> Chain:
    """What `chain` rounds beyond the value's own rounding."""
    return chain[1:] if same_params(chain[0], own) else chain
