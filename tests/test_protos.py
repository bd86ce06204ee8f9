"""Questions asked of ONNX's own messages."""

from __future__ import annotations

from knight.protos import bodies
from tests.passes.zoo import ZOO


def test_bodies_of_an_if_are_its_branches() -> None:
    graph = ZOO["if reads outer values"].proto().graph
    found = {node.op_type: [body.name for body in bodies(node)] for node in graph.node}
    assert len(found["If"]) == 2
    assert not any(names for kind, names in found.items() if kind != "If")
