"""A quantized model as it is meant: what is computed, apart from how it is rounded.

QuantizeLinear and DequantizeLinear are looked through: every value has a *root*, the real value that its
readers mean. What depends on no input is a constant, also where it stands behind a DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from knight import model as models, operators
from knight.operators import RANDOM
from knight.qdq.numbers import conversion
from knight.quantizer import dequantize
from knight.runner import Session

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_SAME = frozenset({"Identity", "Dropout"})
_VARIADIC = frozenset({"Sum", "Max", "Min", "Mean", "Concat"})
_ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid"}
    | {"HardSigmoid", "HardSwish", "Tanh", "Mish", "Softplus"}
)
"""Operators that belong to their producer when only what comes behind them is rounded."""


@dataclass(frozen=True)
class Quantizer:
    """How a root is rounded: the QuantizeLinear, and the first DequantizeLinear behind it, if any."""

    quantize: ir.Node
    dequantize: ir.Node | None


@dataclass
class Unit:
    """Nodes that make one value from others that are paired: one row of the table, quantized alone.

    frontier: roots that it reads. nodes: in graph order, without the output's own quantizer.
    """

    output: ir.Value
    nodes: list[ir.Node] = field(default_factory=list)
    frontier: list[ir.Value] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)
    has_body: bool = False

    @property
    def main(self) -> ir.Node | None:
        """The operator that names the unit: the one with weights, else the last."""
        for node in self.nodes:
            if node.op_type in operators.ACCUMULATES:
                return node
        return self.nodes[-1] if self.nodes else None


class Graph:
    """Questions about one model. Nodes have to be sorted."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.graph = model.graph
        self.values = {value.name: value for value in models.values(model.graph) if value.name}
        self.constant: set[ir.Value] = set(self._find_constants())
        self.quantizers: dict[ir.Value, Quantizer] = {}
        for node in model.graph:
            if node.op_type == QUANTIZE and node.inputs[0] not in self.constant:
                root = self.root(node.inputs[0])
                dequantize = next(
                    (user for user, _ in node.outputs[0].uses() if user.op_type == DEQUANTIZE), None
                )
                if root not in self.quantizers:
                    self.quantizers[root] = Quantizer(node, dequantize)

    def _find_constants(self) -> Iterator[ir.Value]:
        known: set[ir.Value | None] = {None}
        for value in self.graph.initializers.values():
            if not value.is_graph_input():
                known.add(value)
                yield value
        for node in self.graph:
            fixed = node.op_type not in RANDOM and not operators.has_subgraph(node)
            if fixed and all(value in known for value in node.inputs):
                known.update(node.outputs)
                yield from node.outputs

    def root(self, value: ir.Value | None) -> ir.Value:
        """The real value that a reader of `value` means."""
        assert value is not None
        while (node := value.producer()) is not None and node.inputs and value not in self.constant:
            source = node.inputs[0]
            if self.is_rounding(node):
                if source is None or source in self.constant:
                    break
                value = source
            else:
                break
        return value

    def is_rounding(self, node: ir.Node) -> bool:
        """`node` only changes how numbers are held."""
        return node.op_type in (QUANTIZE, DEQUANTIZE) or _gives_back(node)

    def computed(self) -> Iterator[ir.Value]:
        """The model's inputs and all values that operators compute from them, in graph order."""
        for value in self.graph.inputs:
            if value not in self.constant and not value.is_initializer():
                yield value
        for node in self.graph:
            if not self.is_rounding(node) and not self._is_cast_of_integers(node):
                for value in node.outputs:
                    if value.name and value not in self.constant:
                        yield value

    def _is_cast_of_integers(self, node: ir.Node) -> bool:
        """A Cast that lets integers leave the model as they are."""
        source = node.inputs[0].producer() if node.op_type == "Cast" and node.inputs[0] is not None else None
        return source is not None and source.op_type == QUANTIZE

    def rows(self) -> list[ir.Value]:
        """The values that get a row: all that are computed, but for those inside a fused activation."""
        return [value for value in self.computed() if not self._inside(value)]

    def _inside(self, value: ir.Value) -> bool:
        uses = value.uses()
        if value in self.quantizers or value.is_graph_output() or len(uses) != 1 or value.is_graph_input():
            return False
        node = next(iter(uses))[0]
        return node.op_type in _ACTIVATIONS and node.outputs[0] in self.quantizers and node.inputs[0] is value

    def names(self, root: ir.Value) -> Iterator[str]:
        """What `root` is called, also after rounding: its own name first."""
        waiting = [root]
        while waiting:
            value = waiting.pop(0)
            if value.name:
                yield value.name
            for node, index in value.uses():
                if index == 0 and (self.is_rounding(node) or self._is_cast_of_integers(node)):
                    waiting.append(node.outputs[0])

    def readers(self, root: ir.Value) -> Iterator[tuple[ir.Node, int]]:
        """(node, input index) of the operators that read `root`, through its roundings."""
        waiting = [root]
        while waiting:
            for node, index in waiting.pop(0).uses():
                if index == 0 and self.is_rounding(node):
                    waiting.append(node.outputs[0])
                else:
                    yield node, index

    def unit(self, output: ir.Value, known: set[ir.Value]) -> Unit:
        """The nodes that make `output` from the roots in `known`."""
        unit = Unit(output)
        seen: set[ir.Node] = set()
        frontier: dict[ir.Value, None] = {}
        constants: dict[ir.Value, None] = {}

        def visit(value: ir.Value | None) -> None:
            if value is None:
                return
            if value in self.constant:
                constants[value] = None
                return
            root = self.root(value)
            if root is not output and root in known:
                frontier[root] = None
                return
            node = value.producer()
            if node is None:
                frontier[root] = None
                return
            if node in seen:
                return
            seen.add(node)
            unit.has_body = unit.has_body or operators.has_subgraph(node)
            for source in node.inputs:
                visit(source)
            unit.nodes.append(node)

        visit(output)
        unit.frontier, unit.constants = list(frontier), list(constants)
        return unit


def _gives_back(node: ir.Node) -> bool:
    """Whether `node` gives back its input as it is: it says so, or is a sum (and the like) of one number."""
    return node.op_type in _SAME or (node.op_type in _VARIADIC and len(node.inputs) == 1)


def evaluate(graph: Graph, wanted: Sequence[ir.Value]) -> dict[str, np.ndarray]:
    """The numbers of constants, by name; what stands behind unusual operators is computed by ONNX Runtime."""
    found: dict[str, np.ndarray] = {}
    open_names = []
    for value in wanted:
        array = _plain(value)
        if array is not None:
            found[value.name or ""] = array
        else:
            open_names.append(value.name or "")
    if open_names:
        twin = graph.model.clone()
        twin.graph.inputs.clear()
        values = {value.name: value for value in models.values(twin.graph)}
        twin.graph.outputs.clear()
        twin.graph.outputs.extend(values[name] for name in open_names)
        _keep_only(twin.graph, {values[name] for name in open_names})
        results = Session(twin, level="none").run({}, open_names)
        found.update(zip(open_names, results, strict=True))
    return found


def _plain(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of an initializer, also behind a DequantizeLinear with one scale or one per channel."""
    array = models.constant(value)
    node = value.producer() if value is not None else None
    if array is not None or node is None or node.op_type != DEQUANTIZE:
        return array
    integers, stated = _plain(node.inputs[0]), conversion(node)
    if integers is None or stated is None or integers.dtype.kind not in "iu" or not stated.is_float32:
        return None
    return dequantize(integers, stated.params)


def _keep_only(graph: ir.Graph, outputs: set[ir.Value]) -> None:
    """Removes what the `outputs` do not need."""
    needed: set[ir.Node] = set()
    waiting = [value.producer() for value in outputs]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in needed:
            needed.add(node)
            waiting += [value.producer() for value in node.inputs if value is not None]
    for node in reversed(list(graph)):
        if node not in needed:
            graph.remove(node, safe=False)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del graph.initializers[name]
