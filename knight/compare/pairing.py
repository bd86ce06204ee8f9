"""Which value of the quantized model stands for which of the float model: by name, else by structure.

Names come first, with the suffixes that tools add taken off, where the operators and the weights' shapes
agree with them. Where names lead nowhere (or astray: numbers shifted by one in another export), a value is
the twin of the one that the same operator makes from the same inputs, or that the same operator reads, or
that is made with the same weights. A Relu or Clip that a quantizer left to the saturation of the integers is
stepped over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import operators
from knight.compare.comparison import Unpaired
from knight.compare.likeness import WeightIndex, cosine, fit, same_kind, same_parameters
from knight.model import name_of
from knight.qdq.graph import Graph
from knight.qdq.names import real_name

_COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "Sum", "Mean"})
_FUSED = 4  # operators that a tool may make one of
_ASKED = 16  # weights that vouch for the names
_ALIKE = 0.6  # cosine of a weight and its quantized form, at least (in the median)
_SURE = 0.9  # cosine that makes a pair by itself


@dataclass(frozen=True)
class Pairing:
    """pairs: root of the quantized model -> value of the float model."""

    reference: Graph
    result: Graph
    pairs: dict[ir.Value, ir.Value]

    def saturated(self, root: ir.Value) -> list[ir.Node]:
        """The Relu and Clip of the float model that are left to the saturation of `root`'s integers."""
        return list(_saturated(self.reference, root, self.pairs[root]))

    def unpaired(self) -> Iterator[Unpaired]:
        """What has no twin: rows of the quantized model, and values of the float model that are not merely
        a step inside of a paired row (a BatchNormalization that was folded, a Relu that was fused).
        """
        for value in self.result.rows():
            if value not in self.pairs:
                yield _unpaired("quantized", value, self._why(value))
        taken = set(self.pairs.values())
        inside = self._inside(taken)
        for value in self.reference.computed():
            if value not in taken and value not in inside:
                yield _unpaired("float", value, "no value of the quantized model matches")

    def _why(self, value: ir.Value) -> str:
        node = value.producer()
        sources = [] if node is None else [each for each in node.inputs if each not in self.result.constant]
        scales = node is not None and node.op_type in ("Mul", "Div") and len(sources) == 1
        if scales and self.result.root(sources[0]) in self.pairs:
            return "added by the quantizer: its input times a constant"
        return "no value of the float model matches"

    def _inside(self, taken: set[ir.Value]) -> set[ir.Value]:
        """Values of the float model between paired ones, where the quantized model has none between."""
        rows = set(self.result.rows())
        known, found = set(self.pairs), set[ir.Value]()
        for root, twin in self.pairs.items():
            unit = self.result.unit(root, known)
            made = {value for node in unit.nodes for value in node.outputs}
            if not (made & rows) - known:
                found.update(
                    value for node in self.reference.unit(twin, taken).nodes for value in node.outputs
                )
        return found

    @property
    def share(self) -> float:
        """Fraction of the quantized model's rows that are paired."""
        rows = self.result.rows()
        return sum(value in self.pairs for value in rows) / len(rows) if rows else 1.0


def pair(candidates: Iterable[Graph], result: Graph) -> Pairing:
    """Pairs `result` with the one of the `candidates` (forms of one float model) that most of it fits; the
    first of equals.
    """
    best: Pairing | None = None
    weights = WeightIndex(result)
    for candidate in candidates:
        found = Pairing(candidate, result, _Pairer(candidate, result, weights).run())
        if best is None or found.share > best.share:
            best = found
        if best.share == 1.0:
            break
    assert best is not None
    return best


def _unpaired(side: str, value: ir.Value, reason: str) -> Unpaired:
    node = value.producer()
    return Unpaired(side, "Input" if node is None else node.op_type, name_of(value), reason)


class _Pairer:
    def __init__(self, reference: Graph, result: Graph, weights: WeightIndex) -> None:
        self.reference = reference
        self.result = result
        self.weights = weights  # of the result
        self.own_weights = WeightIndex(reference)
        self.pairs: dict[ir.Value, ir.Value] = {}
        self.taken: set[ir.Value] = set()
        self.computed = list(result.computed())

    def run(self) -> dict[ir.Value, ir.Value]:
        named = dict(self._named())
        agreeing = {value: twin for value, twin in named.items() if self._agree(value, twin)}
        trusted = 2 * len(agreeing) >= len(named) and self._vouched(agreeing)
        self.spoken_for = set(named.values()) if trusted else set[ir.Value]()
        self._ends(self.reference.graph.inputs, self.result.graph.inputs)
        if trusted:
            self._take(agreeing)
        self._by_structure()
        if trusted:
            self._take({value: twin for value, twin in named.items() if fit(value, twin)})
            self._by_structure()
        self._last(self.reference.graph.outputs, self.result.graph.outputs)
        return self.pairs

    def _join(self, value: ir.Value, twin: ir.Value) -> None:
        twin = self._behind_saturation(value, twin)
        self.pairs[value] = twin
        self.taken.add(twin)

    def _behind_saturation(self, value: ir.Value, twin: ir.Value) -> ir.Value:
        """`twin`, or what a Relu or Clip makes of it that nothing behind `value` stands for."""
        if any(node.op_type in operators.BOUNDED for node, _ in self.result.readers(value)):
            return twin
        while not twin.is_graph_output():
            readers = list(self.reference.readers(twin))
            node, place = readers[0] if len(readers) == 1 else (None, 0)
            if node is None or node.op_type not in operators.BOUNDED or place != 0:
                break
            following = node.outputs[0]
            if following in self.taken or following in self.spoken_for:
                break
            twin = following
        return twin

    # By name --------------------------------------------------------------------------------------

    def _named(self) -> Iterator[tuple[ir.Value, ir.Value]]:
        """Values of the result with the value of the float model that has their name."""
        by_name = {
            value.name: value for value in self.reference.computed() if value.name and _is_number(value)
        }
        given: set[ir.Value] = set()
        for value in self.computed:
            if value.producer() is None:
                continue
            names = list(self.result.names(value))
            twins = [by_name[name] for name in (*names, *map(real_name, names)) if name in by_name]
            free = [twin for twin in twins if twin not in given and twin.producer() is not None]
            if free:
                chosen = next((twin for twin in free if self._agree(value, twin)), free[0])
                given.add(chosen)
                yield value, chosen

    def _agree(self, value: ir.Value, twin: ir.Value) -> bool:
        """Shapes, operators and weights' shapes do not contradict the names."""
        return fit(value, twin) and (
            self._fused(value, self.result, twin, self.reference)
            or self._fused(twin, self.reference, value, self.result)
        )

    def _fused(self, value: ir.Value, graph: Graph, twin: ir.Value, other: Graph) -> bool:
        """The operator that makes `value` makes `twin` too, perhaps with others behind it that are fused."""
        made, node = value.producer(), twin.producer()
        behind = {reader.op_type for reader, _ in graph.readers(value)}
        for _ in range(_FUSED):
            if node is None or made is None:
                break
            if same_kind(made, node):
                return self._shape(made) == self._shape(node)
            sources = [each for each in node.inputs if each is not None and each not in other.constant]
            if len(sources) != 1 or node.op_type in behind:
                break
            root = other.root(sources[0])
            if len(list(other.readers(root))) > 1:
                break
            node = root.producer()
        return False

    def _shape(self, node: ir.Node) -> list[int] | None:
        return (self.weights if node.graph is self.result.graph else self.own_weights).shape(node)

    def _vouched(self, named: dict[ir.Value, ir.Value]) -> bool:
        """The weights of values of one name are alike, so far as a few of them tell."""
        made = [(value.producer(), twin.producer()) for value, twin in named.items()]
        heavy = [(a, b) for a, b in made if a is not None and b is not None and self.weights.shape(a)]
        likeness = [self._likeness(a, b) for a, b in heavy[:: max(1, len(heavy) // _ASKED)]]
        known = [number for number in likeness if number is not None]
        return not known or float(np.median(known)) >= _ALIKE

    def _likeness(self, node: ir.Node, other: ir.Node) -> float | None:
        return cosine(self.weights.direction(node), self.own_weights.direction(other))

    def _take(self, named: dict[ir.Value, ir.Value]) -> None:
        for value, twin in named.items():
            if value not in self.pairs and twin not in self.taken:
                self._join(value, twin)

    # By place -------------------------------------------------------------------------------------

    def _ends(self, reference: Sequence[ir.Value], result: Sequence[ir.Value]) -> None:
        """Inputs by name, the others in order where their number is equal."""
        left = [value for value in reference if value not in self.reference.constant]
        right = [value for value in result if value not in self.result.constant]
        names = {value.name: value for value in left}
        for value in right:
            if value.name in names:
                self._join(value, names[value.name])
        others = [value for value in right if value not in self.pairs]
        free = [value for value in left if value not in self.taken]
        if len(others) == len(free):
            for value, twin in zip(others, free, strict=True):
                self._join(value, twin)

    def _last(self, reference: Sequence[ir.Value], result: Sequence[ir.Value]) -> None:
        """Outputs that nothing else has paired: in order, where their number is equal."""
        if len(reference) != len(result):
            return
        for wanted, got in zip(reference, result, strict=True):
            root, twin = self.result.root(_before_cast(got)), self.reference.root(wanted)
            if root not in self.pairs and twin not in self.taken and fit(root, twin):
                self._join(root, twin)

    # By structure ---------------------------------------------------------------------------------

    def _by_structure(self) -> None:
        """Forward, backward and by weights, until nothing new is found."""
        before = -1
        while before != len(self.pairs):
            before = len(self.pairs)
            for value in self.computed:
                if value not in self.pairs:
                    self._forward(value)
            for value in reversed(self.computed):
                if value in self.pairs:
                    self._backward(value)
            if before == len(self.pairs):
                self._by_weights()

    def _forward(self, value: ir.Value) -> None:
        """`value` is what the same operator makes from the twins of its inputs."""
        node = value.producer()
        sources = [] if node is None else self._sources(self.result, node)
        if node is None or not sources or any(root not in self.pairs for _, root in sources):
            return
        wanted = _spread(node, [(place, self.pairs[root]) for place, root in sources])
        index = node.outputs.index(value)
        found = []
        for reader in dict.fromkeys(reader for reader, _ in self.reference.readers(wanted[0][1])):
            if reader.op_type != node.op_type or index >= len(reader.outputs):
                continue
            twin = reader.outputs[index]
            read = _spread(reader, self._sources(self.reference, reader))
            same = read == wanted and self._shape(reader) == self._shape(node)
            if same and twin not in self.taken and fit(value, twin):
                found.append(twin)
        if found:
            self._join(value, self._most_alike(node, found))

    def _sources(self, graph: Graph, node: ir.Node) -> list[tuple[int, ir.Value]]:
        """Places and roots of the inputs that are computed."""
        return [
            (place, graph.root(value))
            for place, value in enumerate(node.inputs)
            if value is not None and value not in graph.constant
        ]

    def _most_alike(self, node: ir.Node, found: list[ir.Value]) -> ir.Value:
        if len(found) == 1:
            return found[0]

        def likeness(twin: ir.Value) -> tuple[int, float]:
            other = twin.producer()
            assert other is not None
            return same_parameters(node, other), self._likeness(node, other) or -1.0

        return max(found, key=likeness)

    def _backward(self, value: ir.Value) -> None:
        """What makes `value` and its twin reads the same, place by place."""
        node, other = value.producer(), self._maker(value)
        if node is None or other is None or node.op_type != other.op_type:
            return
        mine, theirs = self._sources(self.result, node), self._sources(self.reference, other)
        free = [(place, root) for place, root in mine if root not in self.pairs]
        left = [(place, twin) for place, twin in theirs if twin not in self.taken]
        if len(mine) != len(theirs) or len(free) != len(left):
            return
        if node.op_type in _COMMUTATIVE and len(free) > 1:
            return
        for (_, root), (_, twin) in zip(free, left, strict=True):
            if root not in self.pairs and twin not in self.taken and self._agree(root, twin):
                self._join(root, twin)

    def _maker(self, value: ir.Value) -> ir.Node | None:
        """The operator of the float model that stands for the one that makes `value`."""
        source = self.pairs[value]
        for node in _saturated(self.reference, value, source):
            source = self.reference.root(node.inputs[0])
        return source.producer()

    def _by_weights(self) -> None:
        """Where the inputs tell nothing, the same weights do."""
        heavy: dict[tuple[str, tuple[int, ...]], list[ir.Value]] = {}
        for twin in self.reference.computed():
            node = twin.producer()
            shape = None if node is None else self.own_weights.shape(node)
            if node is not None and shape is not None and twin not in self.taken:
                heavy.setdefault((node.op_type, tuple(shape)), []).append(twin)
        for value in self.computed:
            node = value.producer()
            shape = None if node is None or value in self.pairs else self.weights.shape(node)
            if node is None or shape is None:
                continue
            found = [
                twin
                for twin in heavy.get((node.op_type, tuple(shape)), ())
                if twin not in self.taken and fit(value, twin) and self._surely(node, twin.producer())
            ]
            if len(found) == 1:
                self._join(value, found[0])

    def _surely(self, node: ir.Node, other: ir.Node | None) -> bool:
        number = None if other is None else self._likeness(node, other)
        return number is not None and number >= _SURE


def _saturated(reference: Graph, root: ir.Value, twin: ir.Value) -> Iterator[ir.Node]:
    """What lies between `twin` and the value that the operator of `root` computes, last first."""
    made = root.producer()
    if made is None or made.op_type in operators.BOUNDED:
        return
    while (node := twin.producer()) is not None and node.op_type in operators.BOUNDED:
        yield node
        twin = reference.root(node.inputs[0])


def _spread(node: ir.Node, sources: list[tuple[int, ir.Value]]) -> list[tuple[int, ir.Value]]:
    """Without the places, and in one order, where those do not matter."""
    if node.op_type not in _COMMUTATIVE:
        return sources
    return sorted(((0, value) for _, value in sources), key=lambda each: id(each[1]))


def _before_cast(value: ir.Value) -> ir.Value:
    node = value.producer()
    source = node.inputs[0] if node is not None and node.op_type == "Cast" else None
    return value if source is None else source


def _is_number(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype != ir.DataType.STRING
