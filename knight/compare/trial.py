"""The quantized model with some layers left in float, run on a few samples: what following an advice wins.

As a quantizer does it: a layer in float has its float weights; it reads what a float layer made unrounded,
and what an integer operator made as that rounds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from knight.compare.comparison import Layer
from knight.compare.pairing import Pairing
from knight.compare.weights import Constants
from knight.edit import Editor
from knight.evaluation import Agreement
from knight.model import name_of
from knight.qdq.graph import DEQUANTIZE, QUANTIZE, Graph, Unit
from knight.qdq.integer_operators import moving_of
from knight.runner import Session


class Trial:
    """The models of a comparison, ready to be tried. layers: all rows; facts: their weights, by output."""

    def __init__(
        self,
        pairing: Pairing,
        layers: Sequence[Layer],
        facts: Mapping[str, Constants],
        tried: Sequence[Mapping[str, np.ndarray]],
        threads: int,
    ) -> None:
        self.pairing = pairing
        self.layers = {layer.output: layer for layer in layers}
        self.facts = facts
        self.tried = tried
        self.threads = threads
        self.names = [name_of(value) for value in pairing.result.graph.outputs]
        self.roots = {name_of(twin): name_of(root) for root, twin in pairing.pairs.items()}
        self.wanted = self._wanted()

    def _wanted(self) -> list[list[np.ndarray]] | None:
        """The float model's outputs that stand for the quantized model's; None where some are not paired."""
        twins = {
            name: twin
            for root, twin in self.pairing.pairs.items()
            for name in self.pairing.result.names(root)
        }
        if any(name not in twins for name in self.names):
            return None
        reference = self.pairing.reference
        outputs = [name_of(twins[name]) for name in self.names]
        inputs = {name_of(root): twin for root, twin in self.pairing.pairs.items() if twin.is_graph_input()}
        session = Session(reference.model, taps=outputs, threads=self.threads)
        found = []
        for feeds in self.tried:
            fed = {
                name_of(twin): feeds[name].astype(twin.dtype.numpy() if twin.dtype else None, copy=False)
                for name, twin in inputs.items()
            }
            found.append(session.run(fed, outputs))
        return found

    def with_readers(self, layers: Sequence[Layer]) -> list[Layer]:
        """`layers`, and those that read what they make: only between two float layers is nothing rounded.

        Operators that only move numbers are passed through.
        """
        graph = self.pairing.result
        outputs = {root: output for output, root in self.roots.items()}
        found = {layer.output: layer for layer in layers}
        waiting = list(found)
        units = {output: self._unit(graph, root) for output, root in self.roots.items()}
        while waiting:
            root = graph.values[self.roots[waiting.pop()]]
            for output, unit in units.items():
                if root in unit.frontier and output in self.layers and output not in found:
                    found[output] = self.layers[output]
                    if unit.main is not None and moving_of(unit.main) is not None:
                        waiting.append(output)
        return [self.layers[output] for output in outputs.values() if output in found]

    def _unit(self, graph: Graph, root: str) -> Unit:
        names = set(self.roots.values())
        return graph.unit(
            graph.values[root], {value for name, value in graph.values.items() if name in names}
        )

    def sqnr(self, layers: Sequence[Layer]) -> float | None:
        """dB of the outputs with `layers` in float; None where outputs have no twin in the float model."""
        if self.wanted is None:
            return None
        model = self.pairing.result.model.clone()
        graph, edit = Graph(model), Editor(model.graph)
        floats = {self.roots[layer.output] for layer in layers}
        for layer in layers:
            self._leave_in_float(graph, edit, layer, floats)
        outputs = self._real_outputs(graph, edit, floats)
        session = Session(model, taps=outputs, threads=self.threads, level="none")
        agreement = Agreement(outputs)
        for feeds, wanted in zip(self.tried, self.wanted, strict=True):
            agreement.update(wanted, session.run(feeds, outputs))
        return agreement.sqnr_db()

    def _leave_in_float(self, graph: Graph, edit: Editor, layer: Layer, floats: set[str]) -> None:
        root = self.roots[layer.output]
        fact, unit = self.facts.get(layer.output), self._unit(graph, root)
        main = unit.main
        if fact is not None and main is not None:
            for index, value in enumerate(main.inputs):
                if value is not None and value.name == fact.name:
                    main.replace_input_with(index, edit.constant(f"{fact.name}_float", fact.reference))
        for node, index, source in _reads(graph, unit):
            if source.name in floats or _is_made_by_float(source):
                node.replace_input_with(index, source)
        quantizer = graph.quantizers.get(graph.values[root])
        if quantizer is not None and quantizer.dequantize is not None:
            for index, output in enumerate(graph.graph.outputs):
                if output is quantizer.dequantize.outputs[0]:
                    graph.graph.outputs[index] = graph.values[root]

    def _real_outputs(self, graph: Graph, edit: Editor, wide: set[str]) -> list[str]:
        """Names of the real values of the model's outputs, in order.

        Where integers leave the model, these are the integers turned back; of roots in `wide`, what they are.
        """
        found = []
        for value in graph.graph.outputs:
            quantize = _quantizer_of(value)
            if quantize is None:
                found.append(name_of(value))
            elif (root := name_of(graph.root(quantize.inputs[0]))) in wide:
                found.append(root)
            else:
                inputs = [quantize.outputs[0], *quantize.inputs[1:]]
                back = ir.Node(quantize.domain, DEQUANTIZE, inputs, num_outputs=1)
                back.outputs[0].name = edit.names.fresh(f"{value.name}_real")
                graph.graph.append(back)
                found.append(back.outputs[0].name)
        return found


def _quantizer_of(output: ir.Value) -> ir.Node | None:
    """The QuantizeLinear whose integers leave the model, maybe through a Cast."""
    node = output.producer()
    if node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.op_type == QUANTIZE else None


def _is_made_by_float(root: ir.Value) -> bool:
    """Whether the caller makes it, or an operator that reads no rounded value."""
    node = root.producer()
    makers = [value.producer() for value in node.inputs if value is not None] if node is not None else []
    return not any(maker is not None and maker.op_type == DEQUANTIZE for maker in makers)


def _reads(graph: Graph, unit: Unit) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """(node, input index, root) of what the unit reads of other units."""
    for node in unit.nodes:
        for index, value in enumerate(node.inputs):
            if value is not None and value not in graph.constant and graph.root(value) in unit.frontier:
                yield node, index, graph.root(value)
