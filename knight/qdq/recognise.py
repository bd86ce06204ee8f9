"""Whether a model is quantized already, how far, and by which tool; nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from knight import model as models, operators
from knight.passes import PassOptions, passes
from knight.qdq.integer_operators import (
    DOMAINS,
    computing_of,
    data_places,
    input_at,
    moved_outputs,
    moving_of,
)

Kind = Literal["static", "dynamic", "weights"]
"""static: activations have scales of their own in the file. dynamic: their scales are computed while it runs.
weights: only weights are integers.
"""


@dataclass(frozen=True)
class Quantized:
    """What a quantized model's file says of itself.

    tool: who made it ("knight", "onnxruntime", "pytorch", "tensorflow", "nncf", "nvidia"), None where nothing
        tells.
    compute: operators with constant weights (Conv, Gemm, MatMul, LSTM ...), as floats or as integers.
    weights: those among them whose weights are quantized.
    integer: those whose inputs are quantized as well.
    """

    kind: Kind
    tool: str | None
    compute: int
    weights: int
    integer: int

    @property
    def integer_share(self) -> float:
        """Integer coverage: `integer` of all compute operators; 0 without any."""
        return self.integer / self.compute if self.compute else 0.0

    @property
    def mostly_float(self) -> bool:
        """A float model in which some constants stand behind a DequantizeLinear."""
        return self.kind == "weights" and 2 * self.weights < self.compute


def recognise(model: ir.Model) -> Quantized | None:
    """What `model` says of its quantization, None for a float model. Linear in the number of nodes."""
    if model.functions:
        passes.get("sort")(model, PassOptions())  # what is not sorted cannot be copied
        model = model.clone()
        passes.get("clean_interface")(model, PassOptions())
    reading = _Reading()
    for node in model.graph.all_nodes():
        reading.read(node)
    if not reading.kinds:
        return None
    kind = next(kind for kind in _KINDS if kind in reading.kinds)
    return Quantized(kind, _tool(model), reading.compute, reading.weights, reading.integer)


_KINDS: tuple[Kind, ...] = ("static", "dynamic", "weights")
_CONVERTERS = ("QuantizeLinear", "DequantizeLinear")


# What the operators say -------------------------------------------------------------------------------

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""Operators of floats that count where their weights are constants."""

_INTEGER: dict[str, tuple[int, Kind]] = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), (3, "static")),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"), (1, "dynamic")),
    **dict.fromkeys(("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"), (1, "dynamic")),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized"), (1, "weights")),
}
"""Operators on integers: place of the weights, and what quantization they belong to."""


def is_integer_operator(node: ir.Node) -> bool:
    """Whether `node` makes integers of real numbers or takes such integers."""
    known = node.op_type in _INTEGER or node.op_type in (*_CONVERTERS, "DynamicQuantizeLinear")
    return node.domain in DOMAINS and (known or computing_of(node) is not None)


class _Reading:
    """Gathers over the nodes of a model, in their order."""

    def __init__(self) -> None:
        self.kinds: set[Kind] = set()
        self.compute = self.weights = self.integer = 0
        self._constants: set[ir.Value] = set()  # computed from constants alone
        self._rounded: set[ir.Value] = set()  # values and constants that come from integers

    def read(self, node: ir.Node) -> None:
        """Counts `node` and notes what its outputs are."""
        standard = node.domain in DOMAINS
        fixed = self._is_fixed(node)
        if fixed:
            self._constants.update(node.outputs)
        if standard and node.op_type in _CONVERTERS:
            self._convert(node, fixed)
        elif standard and node.op_type == "DynamicQuantizeLinear":
            self.kinds.add("dynamic")
        elif standard and node.op_type in _INTEGER:
            self._count_integer(node)
        elif computing_of(node) is not None:
            self.kinds.add("static")
        elif (moving := moving_of(node)) is not None or fixed:
            places = data_places(node) if moving is not None else range(len(node.inputs))
            read = [input_at(node, place) for place in places]
            whole = [value in self._rounded for value in read if value not in self._constants or fixed]
            if whole and (any(whole) if fixed else all(whole)):
                moved = node.outputs if moving is None else moved_outputs(node, moving)
                self._rounded.update(moved)
        elif standard and node.op_type in _WEIGHTED:
            self._count_float(node)

    def _is_fixed(self, node: ir.Node) -> bool:
        if not node.inputs or operators.has_subgraph(node):
            return False
        return all(value is None or self._is_constant(value) for value in node.inputs)

    def _is_constant(self, value: ir.Value | None) -> bool:
        return value in self._constants or models.is_constant(value)

    def _convert(self, node: ir.Node, fixed: bool) -> None:
        if node.op_type == "DequantizeLinear":
            self._rounded.update(node.outputs)
        self.kinds.add("weights" if fixed else "static")

    def _count_integer(self, node: ir.Node) -> None:
        place, kind = _INTEGER[node.op_type]
        self.kinds.add(kind)
        if self._is_constant(input_at(node, place)):
            self.compute += 1
            self.weights += 1
            self.integer += kind != "weights"

    def _count_float(self, node: ir.Node) -> None:
        wanted = operators.roles(node)
        places = [place for place in wanted.weights if self._is_constant(input_at(node, place))]
        if not places:
            return
        data = [input_at(node, place) for place in wanted.data or () if place not in places]
        weights = all(input_at(node, place) in self._rounded for place in places)
        self.compute += 1
        self.weights += weights
        self.integer += weights and all(value in self._rounded for value in data)


# Who made it ------------------------------------------------------------------------------------------

_PRODUCERS = {
    "knight": "knight",
    "onnx.quantize": "onnxruntime",
    "pytorch": "pytorch",
    "tf2onnx": "tensorflow",
    "nncf": "nncf",
}
"""Producer's name -> tool. What an exporter wrote was quantized in its framework, unless names say other."""

_NAMED = {
    "nvidia": ("input_quantizer", "weight_quantizer"),
    "nncf": ("q_output_", "dq_output_", "NNCFNetwork"),
}
"""Tool -> parts of the names that it gives to QuantizeLinear and DequantizeLinear and to what they make."""


def _tool(model: ir.Model) -> str | None:
    if any(key.startswith("knight.") for key in model.metadata_props):
        return "knight"
    names = list(_names(model.graph.all_nodes()))
    for tool, parts in _NAMED.items():
        if any(part in name for name in names for part in parts):
            return tool
    if model.metadata_props.get("onnx.infer") == "onnxruntime.quant":
        return "onnxruntime"
    if (producer := _PRODUCERS.get((model.producer_name or "").lower())) is not None:
        return producer
    named = any(name.endswith(("_QuantizeLinear_Output", "_DequantizeLinear_Output")) for name in names)
    return "onnxruntime" if named else None


def _names(nodes: Iterable[ir.Node]) -> Iterator[str]:
    for node in nodes:
        if node.op_type in _CONVERTERS:
            yield node.name or ""
            yield from (value.name or "" for value in node.outputs)
