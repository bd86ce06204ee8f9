"""What to quantize, decided from the graph and the target's data before any sample is seen.

The target names three kinds of integer operators. An *anchor* is worth running as integers by itself. A
*follower* runs as integers only between integer neighbours: where all its inputs arrive as integers anyway
and an anchor needs its result. A *keep-scale* operator moves or selects values: its output has the scale of
its input. Relu and Clip fold into their producer's range. From these, the values that get Q/DQ follow:

- what an integer operator reads is quantized, at the place where the value is made;
- what an integer operator makes is quantized, except where it can hand a float result to float readers;
- an operator that stays float reads the unquantized value if a float operator made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from knight import border, model as models, operators
from knight.config import QuantConfig
from knight.errors import ModelError
from knight.targets import Target
from knight.types import Accumulator, QuantPlan, QuantSpec


def make_plan(model: ir.Model, target: Target, config: QuantConfig) -> QuantPlan:
    """The plan for a prepared model.

    Under `config.strict`, operators that the target lacks are a ModelError.
    """
    planner = _Planner(model, target, config)
    planner.choose_integer_nodes()
    planner.choose_values()
    plan = planner.plan()
    missing = {name: why for name, why in plan.float_nodes.items() if why == _NOT_SUPPORTED}
    if config.strict and missing:
        kinds = sorted({planner.nodes[name].op_type for name in missing})
        raise ModelError(
            f"{target.name} has no {', '.join(kinds)} ({len(missing)} nodes, first {next(iter(missing))!r}); "
            f"leave out --strict to keep them in float, or crop the graph with -on"
        )
    return plan


_NOT_SUPPORTED = "not in the chip's operator list"
_SOFTWARE = "a software layer of the chip"
_NOT_WORTH = "no integer neighbours that make it pay"
_NO_CONSTANT_WEIGHT = "its weights or bias are computed in the graph"
_SUBGRAPH = "the bodies of If, Loop and Scan stay float"
_NOT_FLOAT32 = "its data is no float32 tensor of known type"
_LEAVES_RANGE = "makes values outside of its input's range"
_NOT_FINITE = "one of its constants is not finite"
_BORDER = "normalizes the integers of an input, which are rounded behind it"
_ODD_BIAS = "its bias is not one number per channel"


class _Planner:
    def __init__(self, model: ir.Model, target: Target, config: QuantConfig) -> None:
        self.graph = graph = model.graph
        self.casts = set(border.input_casts(model))
        self.normalization = {node for cast in self.casts for node in border.normalization(cast)}
        self.fixed_point = target.fixed_point_outputs and not config.output_dequant
        self.target = target
        self.activation = target.activation_spec(config.bits)
        self.weight_bits = config.bits - int(config.reduce_range)
        self.nodes: dict[str, ir.Node] = {node.name or "": node for node in graph}
        self.outputs = {value.name for value in graph.outputs}
        self.reasons: dict[str, str] = {}
        self.integer: set[ir.Node] = set()
        self.folded: set[ir.Node] = set()
        self.quantized: dict[ir.Value, None] = {}  # insertion-ordered set

    # Which nodes run as integers ------------------------------------------------------------------

    def choose_integer_nodes(self) -> None:
        for node in self.graph:
            if node in self.casts:  # part of the input, no operator of the model
                continue
            reason = self._why_float(node)
            if reason is None:
                self.integer.add(node)
            elif self._touches_floats(node):  # arithmetic on shapes is neither
                self.reasons[node.name or ""] = reason
        self._find_folded()
        dropped = True
        while dropped:  # what a follower needs may fall away with another follower
            lonely = [node for node in self.graph if node in self.integer and not self._pays(node)]
            self.integer.difference_update(lonely)
            self.reasons.update((node.name or "", _NOT_WORTH) for node in lonely)
            self._find_folded()
            dropped = bool(lonely)

    def _touches_floats(self, node: ir.Node) -> bool:
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        shapes_only = all(value.dtype is not None and not value.dtype.is_floating_point() for value in values)
        return operators.has_subgraph(node) or (not shapes_only and node.op_type not in ("Shape", "Size"))

    def _why_float(self, node: ir.Node) -> str | None:
        if operators.has_subgraph(node):
            return _SUBGRAPH
        if node in self.normalization:
            return _BORDER
        if node.op_type in self.target.software:
            return _SOFTWARE
        known = node.op_type in self.target.integer_operators or node.op_type in operators.BOUNDED
        if node.domain or not known:
            return _NOT_SUPPORTED
        if not any(True for _ in operators.data_inputs(node)):
            return _NOT_FLOAT32
        if node.op_type in self.target.keep_scale and not operators.keeps_range(node):
            return _LEAVES_RANGE
        return self._why_constants_forbid(node)

    def _why_constants_forbid(self, node: ir.Node) -> str | None:
        bias, weights = operators.bias(node), operators.roles(node).weights
        if bias is not None:
            array = models.constant(bias)
            if array is None:
                return _NO_CONSTANT_WEIGHT
            if array.size != operators.output_channels(node):
                return _ODD_BIAS
        if node.op_type == "MatMul":  # between two activations only where the target says that it pays
            constant = any(models.is_constant(value) for value in node.inputs)
            return None if constant or not self.target.constant_matmul_only else _NOT_WORTH
        if node.op_type in operators.NEEDS_CONSTANT_WEIGHT:
            return (
                None
                if all(models.is_constant(node.inputs[index]) for index in weights)
                else _NO_CONSTANT_WEIGHT
            )
        operands = (models.constant(value) for _, value, _ in operators.constant_operands(node))
        finite = all(np.isfinite(array).all() for array in operands if array is not None)
        return None if finite else _NOT_FINITE

    def _find_folded(self) -> None:
        """Relu and Clip whose producer is an integer operator of its own scale and has no other reader."""
        self.folded = set()
        for node in self.graph:
            if node.op_type in operators.BOUNDED and node in self.integer:
                value = node.inputs[0]
                if value is not None and self._folds_into_producer(node, value):
                    self.folded.add(node)

    def _folds_into_producer(self, node: ir.Node, value: ir.Value) -> bool:
        producer = value.producer()
        if producer is None or producer not in self.integer or producer in self.folded:
            return False
        own_scale = producer.op_type not in self.target.keep_scale | operators.BOUNDED
        return own_scale and self._only_reader(value, node)

    def _only_reader(self, value: ir.Value, node: ir.Node) -> bool:
        return value.name not in self.outputs and list(value.consumers()) == [node]

    def _pays(self, node: ir.Node) -> bool:
        if node.op_type in self.target.anchors:
            return True
        if node in self.folded:
            return True
        if node.op_type in self.target.keep_scale:
            return True  # costs nothing; whether it really runs as integers depends on its neighbours
        arrives = any(self._arrives(value) for _, value in operators.data_inputs(node))
        return arrives and any(self._is_needed(value) for value in node.outputs)

    def _arrives(self, value: ir.Value) -> bool:
        """Whether the value is made by an operator whose result is integers in any case."""
        producer = value.producer()
        if producer is None or producer not in self.integer:
            return False
        if self._unfolded(producer).op_type in self.target.float_result:
            return False  # it hands on floats just as well
        if producer.op_type in self.target.keep_scale or producer in self.folded:
            return all(self._arrives(source) for _, source in operators.data_inputs(producer)) or (
                producer in self.folded
            )
        return True

    def _is_needed(self, value: ir.Value) -> bool:
        """Whether some integer operator reads the value, directly or through keep-scale operators."""
        for node, index in value.uses():
            if node.graph is not self.graph or node not in self.integer:
                continue
            if index not in {position for position, _ in operators.data_inputs(node)}:
                continue
            if node.op_type in self.target.keep_scale or node.op_type in operators.BOUNDED:
                if any(self._is_needed(output) for output in node.outputs):
                    return True
            else:
                return True
        return False

    # Which values get Q/DQ ------------------------------------------------------------------------

    def choose_values(self) -> None:
        for node in self.graph:
            if node in self.integer and not self._moves(node):
                self._quantize_around(node)
        self._settle_moving_nodes()

    def _moves(self, node: ir.Node) -> bool:
        return node.op_type in self.target.keep_scale

    def _quantize_around(self, node: ir.Node) -> None:
        if node not in self.folded:
            for _, value in operators.data_inputs(node):
                self.quantized[value] = None
        for value in node.outputs:
            if not operators.is_float(value) or self._is_folded_into_reader(value):
                continue
            maker = self._unfolded(node)
            if maker.op_type in self.target.float_result and not self._is_needed(value):
                continue
            self.quantized[value] = None

    def _unfolded(self, node: ir.Node) -> ir.Node:
        """The operator that a folded Relu or Clip belongs to, else the node itself."""
        value = node.inputs[0] if node in self.folded else None
        producer = value.producer() if value is not None else None
        return producer if producer is not None else node

    def _is_folded_into_reader(self, value: ir.Value) -> bool:
        return any(node in self.folded for node in value.consumers())

    def _settle_moving_nodes(self) -> None:
        """Keep-scale operators run as integers where their input comes as integers or their result is
        needed.
        """
        moving = [node for node in self.graph if node in self.integer and self._moves(node)]
        for node in reversed(moving):  # a needed result makes the input needed, back to where it is made
            if any(value in self.quantized for value in node.outputs):
                self.quantized.update((value, None) for _, value in operators.data_inputs(node))
        for node in moving:
            sources = [value for _, value in operators.data_inputs(node)]
            needed = any(value in self.quantized for value in node.outputs)
            if all(value in self.quantized for value in sources) and (needed or self._all_integer(sources)):
                outputs = [value for value in node.outputs if operators.is_float(value)]
                self.quantized.update((value, None) for value in outputs)
            else:
                self.integer.discard(node)
                self.reasons[node.name or ""] = _NOT_WORTH

    def _all_integer(self, sources: list[ir.Value]) -> bool:
        return all(value.producer() in self.integer or self._is_fed(value) for value in sources)

    def _is_fed(self, value: ir.Value) -> bool:
        """Whether the caller makes the value, as floats or as integers."""
        return value.producer() is None or value.producer() in self.casts

    # The plan -------------------------------------------------------------------------------------

    def plan(self) -> QuantPlan:
        order = [value for value in models.values(self.graph) if value in self.quantized]
        shares, sources = self._shares(order)
        weights = self._weights()
        fixed_point = [
            value.name or ""
            for value in self.graph.outputs
            if self.fixed_point and value in self.quantized and value.producer() in self.integer
        ]
        return QuantPlan(
            activations={value.name or "": self.activation for value in order},
            shares=shares,
            sources=sources,
            spans=self._spans(order, shares),
            weights=weights,
            accumulators=self._accumulators(weights),
            integer_nodes=tuple(name for name, node in self.nodes.items() if node in self.integer),
            float_nodes={name: self.reasons[name] for name in self.nodes if name in self.reasons},
            float_reads=frozenset(self._float_reads()),
            on_integers=frozenset(
                node.name or "" for node in self.integer if node.op_type in self.target.on_integers
            ),
            fixed_point_outputs=tuple(fixed_point),
            runtime=self.target.runtime,
        )

    def _shares(self, order: list[ir.Value]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        """Groups that share a scale, and for each root the values whose statistics decide it."""
        parent: dict[str, str] = {}

        def root(name: str) -> str:
            while name in parent:
                name = parent[name]
            return name

        derived: set[str] = set()
        for node in self.graph:
            if node not in self.integer:
                continue
            joined = self._joined_by(node)
            if len(joined) < 2:
                continue
            derived.update(value.name or "" for value in node.outputs)
            first = root(joined[0].name or "")
            for value in joined[1:]:
                other = root(value.name or "")
                if other != first:
                    parent[other] = first
        names = [value.name or "" for value in order]
        sources: dict[str, list[str]] = {}
        for value in order:
            if value.name not in derived:
                sources.setdefault(root(value.name or ""), []).extend(self._observed_as(value, derived))
        shares = {name: root(name) for name in names if root(name) != name}
        return shares, {name: tuple(members) for name, members in sources.items()}

    def _spans(self, order: list[ir.Value], shares: dict[str, str]) -> dict[str, tuple[str, ...]]:
        spans = {}
        for value in order:
            parts = self._parts(value)
            if parts and value.name not in shares:
                spans[value.name or ""] = tuple(
                    shares.get(part.name or "", part.name or "") for part in parts
                )
        return {root: parts for root, parts in spans.items() if root not in parts}

    def _parts(self, value: ir.Value) -> list[ir.Value]:
        """The quantized values that a Concat makes `value` of; empty for other values."""
        node = value.producer()
        if node is None or node.op_type != "Concat" or node not in self.integer:
            return []
        parts = [part for part in node.inputs if part is not None]
        return parts if all(part in self.quantized for part in parts) else []

    def _observed_as(self, value: ir.Value, derived: set[str]) -> list[str]:
        """The values whose statistics are those of `value`: a Concat has the numbers of its inputs and no
        others.
        """
        parts = self._parts(value)
        if parts and all(part.name not in derived for part in parts):
            return [name for part in parts for name in self._observed_as(part, derived)]
        return [value.name or ""]

    def _joined_by(self, node: ir.Node) -> list[ir.Value]:
        """The quantized values, inputs first, that `node` ties to one scale."""
        ties = self._moves(node) or (node.op_type == "Concat" and self.target.unify_concat)
        if not ties:
            return []
        tied = [value for _, value in operators.data_inputs(node)] + list(node.outputs)
        return [value for value in tied if value in self.quantized]

    def _weights(self) -> dict[str, QuantSpec]:
        weights: dict[str, QuantSpec] = {}
        for node in self._integer_in_order():
            if self._moves(node) or node.op_type in operators.BOUNDED:
                continue
            for _, value, axis in operators.constant_operands(node):
                name = value.name or ""
                if operators.roles(node).weights:
                    spec = self.target.weight_spec(self.weight_bits, axis)
                else:  # the second operand of an elementwise operator is quantized like an activation
                    spec = self.activation
                if name in weights and weights[name] != spec:
                    spec = replace(spec, axis=None)  # readers that disagree on the channels: one scale
                weights[name] = spec
        return weights

    def _accumulators(self, weights: dict[str, QuantSpec]) -> dict[str, Accumulator]:
        found: dict[str, Accumulator] = {}
        for node in self._integer_in_order():
            if node.op_type not in operators.ACCUMULATES:
                continue
            data, weight = node.inputs[0], node.inputs[1]
            if data in self.quantized and weight is not None and weight.name in weights:
                bias = operators.bias(node)
                found[node.name or ""] = Accumulator(
                    input=data.name or "",
                    weight=weight.name or "",
                    bias=bias.name if bias is not None else None,
                    result=self._result(node.outputs[0]),
                )
        return found

    def _result(self, value: ir.Value) -> str | None:
        while self._is_folded_into_reader(value):
            value = next(iter(value.consumers())).outputs[0]
        return value.name if value in self.quantized else None

    def _integer_in_order(self) -> Iterator[ir.Node]:
        return (node for node in self.graph if node in self.integer)

    def _float_reads(self) -> Iterator[tuple[str, int]]:
        """Edges on which a float operator reads a value that a float operator (or the caller) made."""
        for value in self.quantized:
            if value.producer() in self.integer:
                continue
            for node, index in value.uses():
                if node.graph is not self.graph or node not in self.integer:
                    yield node.name or "", index
