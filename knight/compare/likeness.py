"""What tells whether two operators of two models are the same one: kind, shapes, weights, parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from knight import model as models, operators
from knight.model import name_of
from knight.qdq.graph import DEQUANTIZE, Graph, evaluate

_SAMPLED = 1 << 14  # elements of a weight that are looked at to tell it from another
_PRODUCTS = frozenset({"Gemm", "MatMul"})
_ALSO_TELLING = frozenset({"Add", "Sub", "Mul", "Div", "PRelu", "BatchNormalization", "LayerNormalization"})
_WALK = 6  # operators between a weight and the one that reads it


@dataclass
class WeightIndex:
    """The weights of one model, read when asked for; of each a few numbers are kept."""

    graph: Graph
    _directions: dict[ir.Value, np.ndarray] = field(default_factory=dict)

    def of(self, node: ir.Node) -> ir.Value | None:
        """The first constant that `node` computes with, None where it has none that tells it from another."""
        if node.op_type not in operators.ACCUMULATES and node.op_type not in _ALSO_TELLING:
            return None
        constant = self.graph.constant
        return next((value for value in node.inputs if value is not None and value in constant), None)

    def shape(self, node: ir.Node) -> list[int] | None:
        """Of the weight of an operator that sums products, its sizes sorted: tools turn weights about."""
        value = self.of(node) if node.op_type in operators.ACCUMULATES else None
        shape = None if value is None else _shape(value)
        return None if shape is None else sorted(shape)

    def direction(self, node: ir.Node) -> np.ndarray | None:
        """Some of the weight's numbers, at equal distances, as a vector of length one."""
        value = self.of(node)
        if value is None:
            return None
        if value not in self._directions:
            array = evaluate(self.graph, [value])[name_of(value)]
            if array.dtype.kind not in "fiu":
                return None
            flat = array.reshape(-1)
            sample = flat[:: max(1, flat.size // _SAMPLED)].astype(np.float64)
            norm = float(np.linalg.norm(sample))
            self._directions[value] = sample / norm if norm else sample
        return self._directions[value]


def cosine(first: np.ndarray | None, second: np.ndarray | None) -> float | None:
    """Of two directions, None where they cannot be compared."""
    if first is None or second is None or first.size != second.size:
        return None
    return float(first @ second)


def fit(value: ir.Value, twin: ir.Value) -> bool:
    """The shapes, as far as they are known, do not contradict each other (a batch may be fixed in one)."""
    if value.shape is None or twin.shape is None:
        return True
    if len(value.shape) != len(twin.shape):
        return False
    sizes = list(zip(value.shape, twin.shape, strict=True))
    return all(not (isinstance(a, int) and isinstance(b, int)) or a == b for a, b in sizes[1:])


def same_kind(first: ir.Node | None, second: ir.Node | None) -> bool:
    """The same operator, or two that do the same."""
    if first is None or second is None:
        return first is second
    return first.op_type == second.op_type or {first.op_type, second.op_type} <= _PRODUCTS


def same_parameters(first: ir.Node, second: ir.Node) -> int:
    """How many attributes and constant integer inputs (axes, indices, sizes) both nodes have alike."""
    mine, theirs = _parameters(first), _parameters(second)
    return sum(mine[key] == theirs.get(key) for key in mine)


def _parameters(node: ir.Node) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, attribute in node.attributes.items():
        if attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS, ir.AttributeType.TENSOR):
            value = attribute.value
            found[key] = tuple(value) if isinstance(value, (list, tuple)) else value
    for place, each in enumerate(node.inputs):
        array = models.constant(each)
        if array is not None and array.dtype.kind == "i" and array.size <= _SAMPLED:
            found[str(place)] = tuple(array.reshape(-1).tolist())
    return found


def _shape(value: ir.Value) -> list[int] | None:
    """Of a constant, or of what it is made of where it is not written down; None where it takes computing."""
    for _ in range(_WALK):
        if value.const_value is not None or value.shape is not None:
            stored = value.shape if value.const_value is None else value.const_value.shape
            sizes = [dim for dim in stored if isinstance(dim, int)] if stored is not None else []
            return sizes if stored is not None and len(sizes) == len(stored) else None
        node = value.producer()
        if node is None or node.op_type not in (
            DEQUANTIZE,
            "QuantizeLinear",
            "Transpose",
            "Identity",
            "Cast",
        ):
            return None
        source = node.inputs[0]
        if source is None:
            return None
        value = source
    return None
