"""New nodes and initializers of a graph, under names that nothing else in it has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.names import Names


class Blocks:
    """Makes them; what it makes is of `graph` once it is inserted."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._names = Names(thing.name for thing in (*models.values(graph), *graph))

    def fresh(self, base: str) -> str:
        """`base`, or `base_1`, `base_2` ..."""
        return self._names.fresh(base)

    def initializer(self, name: str, array: np.ndarray) -> ir.Value:
        """A constant of the graph."""
        value = models.initializer(self.fresh(name), array)
        self.graph.register_initializer(value)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        dtype: ir.DataType | None,
        like: ir.Value,
    ) -> ir.Node:
        """A node of one output, named after `name`, with the shape of `like`; not inserted yet."""
        node = ir.Node("", op_type, inputs, num_outputs=1, name=self.fresh(f"{name}_{op_type}"))
        output = node.outputs[0]
        output.name = self.fresh(f"{name}_{op_type}_output")
        output.shape = like.shape
        if dtype is not None:
            output.dtype = dtype
        return node
