"""The constants of a quantized model: scales as they are, weights and biases as floats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.names import Names
from knight.operators import STANDARD
from knight.qdq._ranges import Range, narrowed
from knight.qdq.graph import DEQUANTIZE, QUANTIZE, Graph, evaluate
from knight.qdq.integer_operators import DOMAINS, computing_of, input_at
from knight.qdq.names import real_name
from knight.qdq.numbers import conversion
from knight.types import QParams

_BIAS_BITS = 32
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@dataclass
class Constants:
    """weights, biases: float initializer -> the parameters of the integers that it came from.

    origins: initializer -> what it was called in the float model.
    """

    weights: dict[ir.Value, QParams] = field(default_factory=dict)
    biases: dict[ir.Value, QParams] = field(default_factory=dict)
    origins: dict[ir.Value, str] = field(default_factory=dict)


def settle_parameters(model: ir.Model, names: Names) -> None:
    """Scales and zero points that operators make of constants (PyTorch casts them) become initializers."""
    graph = Graph(model)
    read = (input_at(node, place) for node in model.graph for place in _parameter_places(node))
    values = dict.fromkeys(value for value in read if value is not None)
    computed = [value for value in values if value in graph.constant and not value.is_initializer()]
    numbers = evaluate(graph, computed)
    for value in computed:
        _fix(model.graph, value, numbers[value.name or ""], names.fresh(f"{value.name}_fixed"))


def _parameter_places(node: ir.Node) -> Iterator[int]:
    """Positions of the inputs that are scales and zero points."""
    if node.domain in DOMAINS and node.op_type in (QUANTIZE, DEQUANTIZE):
        yield from (1, 2)
    elif (computing := computing_of(node)) is not None:
        numbers = {*computing.places(node), *computing.plain, computing.bias}
        yield from (place for place in range(len(node.inputs)) if place not in numbers)


def fold_constants(model: ir.Model, ranges: Mapping[str, Range], names: Names) -> Constants:
    """Puts float initializers in the place of integers, or rounded floats, behind a DequantizeLinear.

    ranges: by the name of integers that use only a part of their type.
    """
    graph = Graph(model)
    found: dict[ir.Value, tuple[ir.Node, QParams]] = {}
    for node in model.graph:
        constant = node.op_type == DEQUANTIZE and node.outputs[0] in graph.constant
        stated = conversion(node) if constant and not node.outputs[0].is_graph_output() else None
        if stated is not None and (integers := node.inputs[0]) is not None:
            params = narrowed(stated.params, ranges.get(integers.name or ""))
            end, axis = _moved(node.outputs[0], params.spec.axis, graph)
            found[end] = (node, replace(params, spec=replace(params.spec, axis=axis)))
    numbers = evaluate(graph, list(found))
    origins = {end: _origin(end) for end in found}
    constants = Constants()
    shared: dict[tuple[object, ...], ir.Value] = {}
    for end, (node, params) in found.items():
        key = (*node.inputs, params.spec.axis, None if end is node.outputs[0] else end)
        if key in shared:
            end.replace_all_uses_with(shared[key])
            continue
        made = _fix(model.graph, end, numbers[end.name or ""], names.fresh(f"{origins[end]}_dequantized"))
        kind = constants.biases if params.spec.bits == _BIAS_BITS else constants.weights
        shared[key], kind[made], constants.origins[made] = made, params, origins[end]
    return constants


def _moved(value: ir.Value, axis: int | None, graph: Graph) -> tuple[ir.Value, int | None]:
    """Where `value` comes out that is only transposed or reshaped on its way, and its channel axis there."""
    while len(uses := value.uses()) == 1 and not value.is_graph_output():
        node, place = next(iter(uses))
        standard = node.domain in STANDARD and place == 0 and node.outputs[0] in graph.constant
        if not standard or node.outputs[0].is_graph_output():
            break
        if node.op_type == "Transpose" and axis is not None:
            order = models.attribute(node, "perm")
            if not isinstance(order, (tuple, list)):
                break
            axis = list(order).index(axis)
        elif node.op_type not in ("Transpose", "Identity", *(_RESHAPES if axis is None else ())):
            break
        value = node.outputs[0]
    return value, axis


def _origin(value: ir.Value) -> str:
    """The float model's name of a constant: of the weight that all its numbers come from."""
    while (node := value.producer()) is not None and node.inputs and node.inputs[0] is not None:
        value = node.inputs[0]
    return real_name(value.name or "")


def _fix(graph: ir.Graph, value: ir.Value, numbers: np.ndarray, name: str) -> ir.Value:
    """An initializer of `numbers`, which is read in the place of `value`."""
    made = models.initializer(name, numbers)
    graph.register_initializer(made)
    value.replace_all_uses_with(made)
    return made
