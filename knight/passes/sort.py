"""Puts the nodes in an order in which every value is made before it is read."""

from __future__ import annotations

import onnx_ir as ir

from knight.errors import ModelError
from knight.passes import PassOptions


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns 1 if the order changed. Raises ModelError for a graph with a cycle."""
    before = tuple(model.graph.all_nodes())
    try:
        model.graph.sort()  # stable: nodes that do not depend on each other keep their order
    except ValueError as error:
        raise ModelError("the model's graph has a cycle; export it again") from error
    return int(before != tuple(model.graph.all_nodes()))
