"""Fourth step: which tensors share one scale, and whose statistics decide it.

Operators that move values tie their output to their input; a Concat ties its inputs where the target demands
it. What is tied has the statistics of what it was made of, and so has a Concat, which makes no new numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from knight import operators
from knight.planner._nodes import Nodes
from knight.planner._subject import Subject
from knight.planner._widths import Tensors
from knight.types import Group, QuantSpec


@dataclass(frozen=True)
class Grouping:
    """groups: as in `QuantPlan`, in graph order of their first tensors. roots: key -> key of its group, where
    that is another.
    """

    groups: Mapping[str, Group]
    roots: Mapping[str, str]

    def root(self, key: str) -> str:
        """Key of the group of a tensor."""
        return self.roots.get(key, key)


def grouped(subject: Subject, nodes: Nodes, tensors: Tensors) -> Grouping:
    """The groups of all tensors."""
    return _Grouping(subject, nodes, tensors).run()


class _Grouping:
    def __init__(self, subject: Subject, nodes: Nodes, tensors: Tensors) -> None:
        self.subject = subject
        self.nodes = nodes
        self.tensors = tensors
        self.specs = {key: self._spec(key) for key in tensors.kept}
        self.parent: dict[str, str] = {}
        self.derived: set[str] = set()  # keys of tensors whose numbers are those of the ones they are tied to

    def run(self) -> Grouping:
        for node in self.subject.graph:
            if node in self.nodes.integer:
                self._tie(node)
        sources: dict[str, list[str]] = {}
        for key in self.tensors.kept:
            if key not in self.derived:
                sources.setdefault(self._root(key), []).extend(self._observed_as(key))
        groups = {}
        for root, names in sources.items():
            choice = self.tensors.kept[root].choice
            spans = self._spans(root)
            groups[root] = Group(self.specs[root], choice.method, choice.options, tuple(names), spans)
        roots = {key: self._root(key) for key in self.tensors.kept if self._root(key) != key}
        return Grouping(groups, roots)

    def _spec(self, key: str) -> QuantSpec:
        return self.subject.scheme(self.tensors.kept[key].choice).activation_spec()

    def _tie(self, node: ir.Node) -> None:
        joined = self._joined_by(node)
        if len(joined) < 2:
            return
        bits = self.tensors.choices[node].activation_bits
        made = (self.tensors.key(value, bits) for value in node.outputs)
        self.derived.update(key for key in made if key is not None)
        first = self._root(joined[0])
        for key in joined[1:]:
            other = self._root(key)
            if other != first:
                self.parent[other] = first

    def _joined_by(self, node: ir.Node) -> list[str]:
        """The tensors, inputs first, that `node` ties to one scale."""
        unified = node.op_type == "Concat" and self.subject.target.unify_concat
        if not (self.subject.moves(node) or unified):
            return []
        tied = [value for _, value in operators.data_inputs(node)] + list(node.outputs)
        keys = (self.tensors.read(node, value) for value in tied)
        return [key for key in keys if key is not None]

    def _root(self, key: str) -> str:
        while key in self.parent:
            key = self.parent[key]
        return key

    def _spans(self, root: str) -> tuple[str, ...]:
        """The groups that a Concat's output holds together; empty where it is one of them."""
        parts = tuple(self._root(part) for part in self._parts(root))
        return () if root in parts else parts

    def _parts(self, key: str) -> list[str]:
        """The tensors of its own grid that a Concat makes `key` of; empty for others."""
        node = self.tensors.kept[key].value.producer()
        if node is None or node.op_type != "Concat" or node not in self.nodes.integer:
            return []
        read = [self.tensors.read(node, value) for value in node.inputs if value is not None]
        parts = [part for part in read if part is not None and self.specs[part] == self.specs[key]]
        return parts if len(parts) == len(read) else []

    def _observed_as(self, key: str) -> list[str]:
        """The values whose statistics are those of a tensor: a Concat has the numbers of its inputs and no
        others.
        """
        parts = self._parts(key)
        if parts and all(part not in self.derived for part in parts):
            return [name for part in parts for name in self._observed_as(part)]
        return [self.tensors.kept[key].value.name or ""]
