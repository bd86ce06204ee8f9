"""A frozen graph between named tensors, and TensorFlow running any part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_IN_PARTS = {"Rsqrt", "SquaredDifference", "NotEqual", "MirrorPad"}
"""Operators that tf2onnx writes as several, the first of which gets the name of the result."""


@dataclass(frozen=True)
class Graph:
    """A GraphDef without variables.

    inputs, outputs: tensor names (``data:0``), in order. shown: names for the ONNX model, where they differ.
    scopes: what layers are called, by the path of their nodes.
    """

    definition: Any
    inputs: Sequence[str]
    outputs: Sequence[str]
    shown: Mapping[str, str] = field(default_factory=dict)
    scopes: Mapping[str, str] = field(default_factory=dict)
    _functions: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False)

    def name_of(self, tensor: str) -> str:
        """What the ONNX model calls `tensor`."""
        return self.shown.get(tensor, tensor)

    def function(self, outputs: Sequence[str]) -> Any:
        """A callable from the inputs' arrays to those of `outputs`; TensorFlow cuts the graph to fit."""
        import tensorflow as tf

        wrapped = tf.compat.v1.wrap_function(
            lambda: tf.graph_util.import_graph_def(self.definition, name=""), []
        )
        graph = wrapped.graph
        return wrapped.prune(
            [graph.as_graph_element(name) for name in self.inputs],
            [graph.as_graph_element(name) for name in outputs],
        )

    def run(self, arrays: Sequence[np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The tensors `outputs` for the inputs `arrays`, in TensorFlow's own layout."""
        import tensorflow as tf

        key = tuple(outputs)
        if key not in self._functions:
            self._functions[key] = self.function(outputs)
        found = self._functions[key](*(tf.constant(array) for array in arrays))
        return [value.numpy() for value in (found if isinstance(found, (list, tuple)) else [found])]

    def shape(self, tensor: str) -> list[int | None] | None:
        """The shape that the graph tells of `tensor`, None for an unknown rank."""
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(self.definition, name="")
        shape = graph.get_tensor_by_name(tensor).shape
        return None if shape.rank is None else shape.as_list()

    def tensors(self) -> set[str]:
        """Names of the first output of every node that has one value of that name in ONNX too."""
        return {f"{node.name}:0" for node in self.definition.node if node.op not in _IN_PARTS}


def frozen(function: Any) -> Any:
    """A concrete function with its variables made constants; loops stay loops."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = convert_variables_to_constants_v2(function, lower_control_flow=False)
    if not any(node.op.endswith("PartitionedCall") for node in graph.graph.as_graph_def().node):
        return graph
    return convert_variables_to_constants_v2(_without_xla(graph), lower_control_flow=False)


def _without_xla(function: Any) -> Any:
    """`function` without the marks that keep calls from being inlined (Keras's grouped convolutions)."""
    import tensorflow as tf

    definition = function.graph.as_graph_def()
    holders = [*definition.library.function, *definition.node]
    holders += [node for inner in definition.library.function for node in inner.node_def]
    names = {inner.signature.name: f"{inner.signature.name}_inlined" for inner in definition.library.function}
    for holder in holders:
        holder.attr.pop("_XlaMustCompile", None)
        holder.attr.pop("_noinline", None)
        for value in holder.attr.values():
            if value.HasField("func"):
                value.func.name = names.get(value.func.name, value.func.name)
    for inner in definition.library.function:  # TensorFlow remembers the old ones
        inner.signature.name = names[inner.signature.name]
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    ends = [[tensor.name for tensor in tensors] for tensors in (function.inputs, function.outputs)]
    return wrapped.prune(*([wrapped.graph.as_graph_element(name) for name in names] for names in ends))
