"""Which value of the quantized model stands for which of the float model: by name, else by structure.

Names come first, with the suffixes that tools add taken off. Where a name leads nowhere, a value is the twin
of the one that the same operator makes from the same (paired) inputs; of several such, the one whose weights
are most alike. A Relu or Clip that a quantizer made superfluous is stepped over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import operators
from knight.compare.comparison import Unpaired
from knight.compare.graph import Graph, evaluate
from knight.compare.lowering import real_name

_CONSTANT_LIMIT = 1 << 16  # elements of a weight that are looked at to tell it from another


@dataclass(frozen=True)
class Pairing:
    """pairs: root of the quantized model -> value of the float model."""

    reference: Graph
    result: Graph
    pairs: dict[ir.Value, ir.Value]

    def unpaired(self) -> Iterator[Unpaired]:
        """What has no twin, of both models: the rows of the quantized, and the float values read by it."""
        for value in self.result.rows():
            if value not in self.pairs:
                yield Unpaired(
                    "quantized", _made_by(value), value.name or "", "no value of the float model matches"
                )

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
    for candidate in candidates:
        found = Pairing(candidate, result, _Pairer(candidate, result).run())
        if best is None or found.share > best.share:
            best = found
        if best.share == 1.0:
            break
    assert best is not None
    return best


def _made_by(value: ir.Value) -> str:
    node = value.producer()
    return "Input" if node is None else node.op_type


class _Pairer:
    def __init__(self, reference: Graph, result: Graph) -> None:
        self.reference = reference
        self.result = result
        self.pairs: dict[ir.Value, ir.Value] = {}
        self.taken: set[ir.Value] = set()
        self.named = {value.name: value for value in reference.computed() if value.name and _is_number(value)}

    def run(self) -> dict[ir.Value, ir.Value]:
        self._ends(self.reference.graph.inputs, self.result.graph.inputs)
        computed = [value for value in self.result.computed() if value not in self.pairs]
        for value in computed:
            self._by_name(value)
        for value in computed:
            if value not in self.pairs:
                self._by_structure(value)
        self._last(self.reference.graph.outputs, self.result.graph.outputs)
        return self.pairs

    def _join(self, value: ir.Value, twin: ir.Value) -> None:
        self.pairs[value] = twin
        self.taken.add(twin)

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
            if root not in self.pairs and twin not in self.taken and _fit(root, twin):
                self._join(root, twin)

    def _by_name(self, value: ir.Value) -> None:
        names = list(self.result.names(value))
        for name in (*names, *map(real_name, names)):
            twin = self.named.get(name)
            if twin is not None and twin not in self.taken and _fit(value, twin) and self._alike(value, twin):
                self._join(value, twin)
                return

    def _alike(self, value: ir.Value, twin: ir.Value) -> bool:
        """The operators that make both compute with weights of one shape, where both have weights."""
        made, wanted = value.producer(), twin.producer()
        if made is None or wanted is None or made.op_type != wanted.op_type:
            return True  # exporters fuse and split: another operator may well make the same value
        return _shapes(self.result, made) == _shapes(self.reference, wanted)

    def _by_structure(self, value: ir.Value) -> None:
        node = value.producer()
        if node is None:
            return
        index = node.outputs.index(value)
        found = self._candidates(node, index, advance=False) or self._candidates(node, index, advance=True)
        if len(found) > 1:
            found = self._most_alike(node, found)
        if found:
            self._join(value, found[0])

    def _candidates(self, node: ir.Node, index: int, *, advance: bool) -> list[ir.Value]:
        """Values that the same operator makes from the twins of `node`'s inputs.

        advance: the twin of an input may also be what a Relu or Clip makes of it.
        """
        sources = [
            (place, self.result.root(value))
            for place, value in enumerate(node.inputs)
            if value is not None and value not in self.result.constant
        ]
        if not sources or any(root not in self.pairs for _, root in sources):
            return []
        first_place, first = sources[0]
        for twin in self._stands_for(first, advance):
            found = []
            for reader, place in self.reference.readers(twin):
                if reader.op_type != node.op_type or place != first_place or index >= len(reader.outputs):
                    continue
                value = reader.outputs[index]
                if (
                    value not in self.taken
                    and self._reads(reader, sources, advance)
                    and _fit(node.outputs[index], value)
                    and _shapes(self.reference, reader) == _shapes(self.result, node)
                ):
                    found.append(value)
            if found:
                if twin is not self.pairs[first]:
                    self._join(first, twin)
                return found
        return []

    def _stands_for(self, root: ir.Value, advance: bool) -> list[ir.Value]:
        twin = self.pairs[root]
        if not advance:
            return [twin]
        readers = list(self.reference.readers(twin))
        return [node.outputs[0] for node, _ in readers if node.op_type in operators.BOUNDED]

    def _reads(self, reader: ir.Node, sources: Sequence[tuple[int, ir.Value]], advance: bool) -> bool:
        for place, root in sources:
            value = reader.inputs[place] if place < len(reader.inputs) else None
            if value is None or value in self.reference.constant:
                return False
            if self.reference.root(value) not in (self.pairs[root], *self._stands_for(root, advance)):
                return False
        return True

    def _most_alike(self, node: ir.Node, found: list[ir.Value]) -> list[ir.Value]:
        weight = _weight(self.result, node)
        if weight is None:
            return found
        numbers = _direction(self.result, weight)

        def likeness(value: ir.Value) -> float:
            other = _weight(self.reference, value.producer())
            return -1.0 if other is None else float(numbers @ _direction(self.reference, other))

        return sorted(found, key=likeness, reverse=True)


def _before_cast(value: ir.Value) -> ir.Value:
    node = value.producer()
    source = node.inputs[0] if node is not None and node.op_type == "Cast" else None
    return value if source is None else source


def _is_number(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype != ir.DataType.STRING


def _fit(value: ir.Value, twin: ir.Value) -> bool:
    """The shapes, as far as they are known, do not contradict each other (a batch may be fixed in one)."""
    if value.shape is None or twin.shape is None:
        return True
    if len(value.shape) != len(twin.shape):
        return False
    sizes = list(zip(value.shape, twin.shape, strict=True))
    return all(not (isinstance(a, int) and isinstance(b, int)) or a == b for a, b in sizes[1:])


def _weight(graph: Graph, node: ir.Node | None) -> ir.Value | None:
    """The first constant input of `node` with more than one element."""
    if node is None or node.op_type in ("Reshape", "Transpose", "Slice", "Pad"):
        return None
    for value in node.inputs:
        if value is not None and value in graph.constant and value.dtype != ir.DataType.INT64:
            return value
    return None


def _shapes(graph: Graph, node: ir.Node) -> tuple[int, ...] | None:
    """The shape of the node's weight, None where it has none or it is not known."""
    value = _weight(graph, node) if node.op_type in operators.ACCUMULATES else None
    if value is None:
        return None
    stored = value
    while stored.producer() is not None and stored.shape is None:
        source = stored.producer().inputs[0]  # type: ignore[union-attr]
        if source is None:
            return None
        stored = source
    shape = stored.shape
    return None if shape is None else tuple(dim for dim in shape if isinstance(dim, int))


def _direction(graph: Graph, value: ir.Value) -> np.ndarray:
    """A weight's first elements as a vector of length one."""
    array = evaluate(graph, [value])[value.name or ""].reshape(-1)[:_CONSTANT_LIMIT].astype(np.float64)
    norm = float(np.linalg.norm(array))
    return array / norm if norm else array
