"""Names that nothing else of a model has yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir


class Names:
    """Names that are taken; a name stays taken, also when what bore it goes.

    Gathered once: a new name costs no walk over the graph.
    """

    def __init__(self, taken: Iterable[str | None] = ()) -> None:
        self._taken = {name for name in taken if name is not None}
        self._numbers: dict[str, int] = {}  # by base: all smaller ones are taken

    @classmethod
    def of(cls, graph: ir.Graph) -> Names:
        """All names of values and of nodes of `graph`, the bodies of its nodes included."""
        return cls(_names(graph))

    def __contains__(self, name: object) -> bool:
        return name in self._taken

    def add(self, name: str) -> None:
        """Takes `name`, whoever has it."""
        self._taken.add(name)

    def fresh(self, base: str) -> str:
        """`free(base)`, which is taken from now on."""
        name = self.free(base)
        self.add(name)
        return name

    def free(self, base: str) -> str:
        """`base`, or `base_1`, `base_2` ...: the first that is free."""
        name, number = base, self._numbers.get(base, 0)
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._numbers[base] = number
        return name


def _names(graph: ir.Graph) -> Iterator[str | None]:
    yield from (value.name for value in graph.inputs)
    yield from graph.initializers
    for node in graph.all_nodes():
        yield node.name
        yield from (value.name for value in node.outputs)
