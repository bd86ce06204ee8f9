"""By what a file knows the prepared model that it belongs to: names, types, shapes and operators."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import onnx_ir as ir

from knight.errors import ConfigError

_LENGTH = 32  # hex digits: 128 bits


def structure(model: ir.Model) -> str:
    """Hex digits that tell models apart whose plans cannot be exchanged.

    Of inputs, outputs and initializers the names, types and shapes, of nodes the names, operators and edges.
    What the weights hold does not count, nor do attributes and the shapes in between, which follow.
    """
    digest = hashlib.sha256()
    for record in _records(model.graph):
        digest.update(json.dumps(record).encode() + b"\n")
    return digest.hexdigest()[:_LENGTH]


def _records(graph: ir.Graph) -> Iterator[list[object]]:
    initializers = sorted(graph.initializers.values(), key=lambda value: value.name or "")
    for kind, values in (("input", graph.inputs), ("output", graph.outputs), ("constant", initializers)):
        for value in values:
            dims = value.shape if value.shape is not None else ()
            shape = [dim if isinstance(dim, int) else str(dim.value) for dim in dims]
            yield [kind, value.name, str(value.dtype), value.shape is not None, *shape]
    for node in graph.all_nodes():
        inputs = [value.name if value is not None else None for value in node.inputs]
        yield ["node", node.name, node.domain, node.op_type, inputs, [value.name for value in node.outputs]]


def check_structure(model: ir.Model, recorded: str, before: str) -> None:
    """Raises ConfigError, its line beginning with `before`, where a file was written for another model."""
    own = structure(model)
    if recorded != own:
        raise ConfigError(
            f"{before}model: is {recorded[:12]}..., and this model is {own[:12]}...: another, or prepared "
            f"for another target or batch size; make the file again for this model"
        )
