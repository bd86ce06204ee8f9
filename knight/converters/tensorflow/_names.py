"""The source's layer names, without the wrappers that exporting put around them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

from knight.converters.tensorflow._scopes import renamed

_MADE_UP = re.compile(r"(^|/)[A-Za-z0-9_]*__\d+(:\d+)?$")
"""What tf2onnx calls the nodes and values that it adds."""
_INLINED = re.compile(r"^\w*_(?:cond|body)\w*?_frozen_\d+_")
"""What tf2onnx puts before the names of nodes from the condition or the body of a loop."""
_INITIAL_STATES = (5, 6)


def without_wrappers(model: ir.Model, scopes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Takes the path that all names share from every node and value; gives the values' former names.

    Exporting a Keras model calls its layers ``StatefulPartitionedCall/functional_1/conv1/Conv2D``. Nodes that
    tf2onnx made get the name of what they compute. scopes: names of layers by the path in the source.
    """
    scopes = scopes or {}
    _name_made_up(model)
    border = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    names = [node.name for node in model.graph if node.name and not _MADE_UP.search(node.name)]
    prefix = "" if "" in scopes.values() else _common_path(names, scopes)
    former: dict[str, str] = {}
    taken = set(model.graph.initializers) | {name for name in border if name}
    for node in model.graph:
        node.name = _plain(node.name or "", scopes, prefix)
        for value in node.outputs:
            if value.name not in border:
                _rename(value, _plain(value.name or "", scopes, prefix), taken, former)
    for name, value in list(model.graph.initializers.items()):
        _rename(value, _plain(name, scopes, prefix), taken, {})
    _tell_apart(model)
    return former


def _plain(name: str, scopes: Mapping[str, str], prefix: str) -> str:
    """`name` as layers are called, without the path `prefix`, of which nodes of loops have the end only."""
    name = renamed(_INLINED.sub("", name), scopes)
    while prefix and not name.startswith(prefix):
        prefix = prefix.partition("/")[2]
    return name.removeprefix(prefix)


def _rename(value: ir.Value, name: str, taken: set[str], former: dict[str, str]) -> None:
    """Names `value` so, unless the name is taken; notes what it was called."""
    old = value.name or ""
    if name != old and name and name not in taken:
        value.name = name
    taken.add(value.name or "")
    former[value.name or ""] = old


def _name_made_up(model: ir.Model) -> None:
    nodes = {node.name for node in model.graph}
    for node in model.graph:
        if not _MADE_UP.search(node.name or ""):
            continue
        name = _of_value(node) or _of_layer(node)
        if name and name not in nodes:
            node.name = name
            nodes.add(name)


def _of_value(node: ir.Node) -> str | None:
    """The TensorFlow node whose result `node` gives, None where that is made up too."""
    name = (node.outputs[0].name or "").partition(":")[0]
    return name if name and not _MADE_UP.search(name) else None


def _of_layer(node: ir.Node) -> str | None:
    """A recurrent node gets the name of the layer that its first state is made in."""
    if node.op_type not in ("LSTM", "GRU", "RNN"):
        return None
    for place in (*_INITIAL_STATES, 0):
        folder = _folder(node.inputs[place]) if place < len(node.inputs) else ""
        if folder:
            both = node.attributes.get("direction")
            if both is not None and both.as_string() == "bidirectional":
                folder = folder.rpartition("/")[0] or folder
            return f"{folder}/{node.op_type}"
    return None


def _folder(value: ir.Value | None) -> str:
    """The path of the first node above `value` that the source knows."""
    while value is not None:
        if not _MADE_UP.search(value.name or ""):
            return (value.name or "").rpartition("/")[0]
        node = value.producer()
        value = node.inputs[0] if node is not None and node.inputs else None
    return ""


def _tell_apart(model: ir.Model) -> None:
    """tf2onnx gives two nodes one name where it made both of a separable convolution."""
    taken: set[str] = set()
    for node in model.graph:
        name, number = node.name or node.op_type, 1
        while node.name in taken:
            node.name, number = f"{name}_{number}", number + 1
        taken.add(node.name or "")


def _common_path(names: list[str], scopes: Mapping[str, str]) -> str:
    """The folders that all `names` are in, but for those without any and those that a loop was read from."""
    names = [renamed(name, scopes) for name in names if "/" in name and not _INLINED.match(name)]
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
