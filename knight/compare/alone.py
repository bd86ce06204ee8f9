"""All layers quantized alone, as one model: each reads the float model's values and is rounded by itself.

Its graph is a heap of unconnected pieces, one per row of the comparison, so that one session runs them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.model import name_of
from knight.qdq.graph import DEQUANTIZE, Graph, Unit, evaluate

_PREFIX = "alone/"


@dataclass(frozen=True)
class Piece:
    """Names of a piece's outputs: before its rounding (None where that is not worth a look), and behind."""

    middle: str | None
    result: str


def build(
    graph: Graph, units: Sequence[Unit], twins: Mapping[ir.Value, ir.Value]
) -> tuple[ir.Model, dict[ir.Value, Piece]]:
    """A model with the frontier's float values as inputs, and what it gives for each unit's output.

    twins: root of the quantized model -> value of the float model, which names the input.
    """
    builder = _Builder(graph, twins)
    builder.constants = evaluate(
        graph, list(dict.fromkeys(value for unit in units for value in _constants(graph, unit)))
    )
    pieces = {unit.output: builder.add(number, unit) for number, unit in enumerate(units)}
    alone = ir.Graph(
        inputs=list(builder.inputs.values()),
        outputs=builder.outputs,
        nodes=builder.nodes,
        initializers=list(builder.initializers.values()),
        opset_imports=dict(graph.model.opset_imports),
        name="alone",
    )
    return ir.Model(alone, ir_version=graph.model.ir_version), pieces


def _constants(graph: Graph, unit: Unit) -> list[ir.Value]:
    quantizer = graph.quantizers.get(unit.output)
    values = list(unit.constants)
    for node in () if quantizer is None else (quantizer.quantize, quantizer.dequantize):
        values += [] if node is None else [value for value in node.inputs[1:] if value is not None]
    return values


def is_rounded(graph: Graph, value: ir.Value) -> bool:
    """A constant that stands behind a DequantizeLinear."""
    node = value.producer()
    while node is not None and node.op_type != DEQUANTIZE:
        first = node.inputs[0] if node.inputs else None
        node = first.producer() if first is not None else None
    return node is not None


class _Builder:
    def __init__(self, graph: Graph, twins: Mapping[ir.Value, ir.Value]) -> None:
        self.graph = graph
        self.twins = twins
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, ir.Value] = {}
        self.initializers: dict[str, ir.Value] = {}
        self.nodes: list[ir.Node] = []
        self.outputs: list[ir.Value] = []

    def add(self, number: int, unit: Unit) -> Piece:
        prefix = f"{_PREFIX}{number}/"
        made: dict[ir.Value, ir.Value] = {}
        frontier = set(unit.frontier)

        def source(value: ir.Value | None) -> ir.Value | None:
            if value is None:
                return None
            if value in self.graph.constant:
                return self._constant(value)
            if value in made:
                return made[value]
            root = self.graph.root(value)
            return self._input(root) if root in frontier or root.producer() is None else made[root]

        for node in unit.nodes:
            copy = self._copy(node, [source(value) for value in node.inputs], prefix)
            made.update(zip(node.outputs, copy.outputs, strict=True))
        middle = made[unit.output] if unit.nodes else self._input(unit.output)
        quantizer = self.graph.quantizers.get(unit.output)
        if quantizer is None:
            return Piece(None, self._give(middle))
        numbers = [source(value) for value in quantizer.quantize.inputs[1:]]
        integers = self._copy(quantizer.quantize, [middle, *numbers], f"{prefix}q/").outputs[0]
        back = quantizer.dequantize
        if back is None:
            real = self._dequantize(integers, numbers, quantizer.quantize, prefix)
        else:
            real = self._copy(back, [integers, *map(source, back.inputs[1:])], f"{prefix}dq/").outputs[0]
        weighs = any(is_rounded(self.graph, value) for value in unit.constants)
        return Piece(self._give(middle) if weighs else None, self._give(real))

    def _give(self, value: ir.Value) -> str:
        if value not in self.outputs:
            self.outputs.append(value)
        return name_of(value)

    def _input(self, root: ir.Value) -> ir.Value:
        twin = self.twins[root]
        name = name_of(twin)
        if name not in self.inputs:
            dtype = twin.dtype or root.dtype or ir.DataType.FLOAT
            if any(node.op_type == DEQUANTIZE for node, _ in root.uses()):
                dtype = ir.DataType.FLOAT  # the graph's input is read as it is: integers that are numbers
            self.inputs[name] = ir.Value(name=name, shape=twin.shape, type=ir.TensorType(dtype))
        return self.inputs[name]

    def _constant(self, value: ir.Value) -> ir.Value:
        name = f"{_PREFIX}{value.name}"
        if name not in self.initializers:
            self.initializers[name] = models.initializer(name, self.constants[name_of(value)])
        return self.initializers[name]

    def _copy(self, node: ir.Node, inputs: Sequence[ir.Value | None], prefix: str) -> ir.Node:
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            attributes=list(node.attributes.values()),
            num_outputs=len(node.outputs),
            overload=node.overload,
            version=node.version,
            name=f"{prefix}{len(self.nodes)}/{node.name}",  # not all have names, and names must differ
        )
        for mine, theirs in zip(copy.outputs, node.outputs, strict=True):
            mine.name = f"{prefix}{theirs.name}" if theirs.name else ""
            if theirs.shape is not None and theirs.shape.is_static():
                mine.shape = theirs.shape  # the other model's symbols may mean other sizes than the inputs'
            if theirs.dtype is not None:
                mine.dtype = theirs.dtype
        self.nodes.append(copy)
        return copy

    def _dequantize(
        self, integers: ir.Value, numbers: Sequence[ir.Value | None], like: ir.Node, prefix: str
    ) -> ir.Value:
        axis = [like.attributes["axis"]] if "axis" in like.attributes else []
        node = ir.Node(
            like.domain, DEQUANTIZE, [integers, *numbers], attributes=axis, num_outputs=1, name=f"{prefix}dq"
        )
        node.outputs[0].name = f"{prefix}real"
        node.outputs[0].dtype = ir.DataType.FLOAT
        self.nodes.append(node)
        return node.outputs[0]
