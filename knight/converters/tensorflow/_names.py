"""The source's layer names, without the wrappers that exporting put around them."""

from __future__ import annotations

import re

import onnx_ir as ir

_MADE_UP = re.compile(r"(^|/)[A-Za-z0-9_]*__\d+(:\d+)?$")
"""What tf2onnx calls the nodes and values that it adds."""


def without_wrappers(model: ir.Model) -> str:
    """Takes the path that all names share from every node and value; gives what was taken, '' for nothing.

    Exporting a Keras model calls its layers ``StatefulPartitionedCall/functional_1/conv1/Conv2D``. Nodes that
    tf2onnx made get the name of what they compute.
    """
    nodes = {node.name for node in model.graph}
    for node in model.graph:
        name = _of_value(node) if _MADE_UP.search(node.name or "") else None
        if name and name not in nodes:
            node.name = name
            nodes.add(name)
    border = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    names = [node.name for node in model.graph if node.name and not _MADE_UP.search(node.name)]
    prefix = _common_path([name for name in names if "/" in name])
    if prefix:
        _without(model, prefix, border)
    _tell_apart(model)
    return prefix


def _without(model: ir.Model, prefix: str, border: set[str | None]) -> None:
    taken = set(model.graph.initializers) | border
    for node in model.graph:
        node.name = (node.name or "").removeprefix(prefix)
        for value in node.outputs:
            short = (value.name or "").removeprefix(prefix)
            if value.name not in border and short and short not in taken:
                value.name = short
            taken.add(value.name)
    for name, value in list(model.graph.initializers.items()):
        short = name.removeprefix(prefix)
        if short != name and short not in taken:
            value.name = short
            taken.add(short)


def _tell_apart(model: ir.Model) -> None:
    """tf2onnx gives two nodes one name where it made both of a separable convolution."""
    taken: set[str] = set()
    for node in model.graph:
        name, number = node.name or node.op_type, 1
        while node.name in taken:
            node.name, number = f"{name}_{number}", number + 1
        taken.add(node.name or "")


def _of_value(node: ir.Node) -> str | None:
    """The TensorFlow node whose result `node` gives, None where that is made up too."""
    name = (node.outputs[0].name or "").partition(":")[0]
    return name if name and not _MADE_UP.search(name) else None


def _common_path(names: list[str]) -> str:
    """The folders that all `names` are in."""
    if len(names) < 2:
        return ""
    shared: list[str] = []
    for parts in zip(*(name.split("/")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared) + "/" if shared else ""


def dimension_names(model: ir.Model) -> None:
    """Names for what tf2onnx calls ``unk__42``: first ``batch``, others after their place."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is None:
            continue
        dims: list[int | str | None] = []
        for axis, dim in enumerate(value.shape):
            dims.append(dim if isinstance(dim, int) else "batch" if axis == 0 else f"{value.name}_{axis}")
        value.shape = ir.Shape(dims)
