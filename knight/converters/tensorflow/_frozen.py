"""Frozen graphs (.pb), cut out between the nodes that -snn and -enn name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knight.converters import Source
from knight.converters.tensorflow._graph import Graph
from knight.converters.tensorflow._operators import check_graph
from knight.errors import ConfigError, ModelError, did_you_mean
from knight.formats import hint

VARIABLES = ("Variable", "VariableV2", "VarHandleOp", "ReadVariableOp")
_SHOWN = 8


def load(path: Path, source: Source) -> Graph:
    """Raises ModelError for what is no frozen graph, ConfigError for nodes that it has not."""
    definition = _parsed(path)
    check_graph(definition, str(path))
    variables = [node.name for node in definition.node if node.op in VARIABLES]
    if variables:
        raise ModelError(
            f"model {path}: not frozen: it holds no values for {len(variables)} variables "
            f"({variables[0]}, ...); "
            f"freeze it (convert_variables_to_constants_v2), or give the SavedModel folder"
        )
    starts = _tensors(path, definition, source.start_nodes, "-snn", _placeholders(definition))
    ends = _tensors(path, definition, source.end_nodes, "-enn", _unread(definition))
    return Graph(definition, starts, ends)


def _parsed(path: Path) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    definition = GraphDef()
    content = path.read_bytes()
    try:
        definition.ParseFromString(content)
        readable = bool(definition.node) and all(node.op and node.name for node in definition.node)
    except DecodeError:
        readable = False
    if readable:
        return definition
    if path.name == "saved_model.pb" or _is_saved_model(content, SavedModel()):
        raise ModelError(f"model {path}: part of a SavedModel; give its folder, {path.parent}")
    raise ModelError(
        f"model {path}: not a frozen TensorFlow graph, or cut short; copy or freeze it again"
        + hint(path, "tensorflow")
    )


def _is_saved_model(content: bytes, message: Any) -> bool:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(content)
    except DecodeError:
        return False
    return bool(message.meta_graphs)


def _placeholders(definition: Any) -> list[str]:
    return [node.name for node in definition.node if node.op == "Placeholder"]


def _unread(definition: Any) -> list[str]:
    """Nodes whose results nobody reads."""
    read = {name.lstrip("^").partition(":")[0] for node in definition.node for name in node.input}
    silent = ("Const", "NoOp", "Placeholder", "Assert")
    return [node.name for node in definition.node if node.name not in read and node.op not in silent]


def _tensors(
    path: Path, definition: Any, given: Sequence[str], flag: str, candidates: list[str]
) -> list[str]:
    """`given` as tensor names, checked."""
    if not given:
        listed = " ".join(f"{name}:0" for name in candidates[:_SHOWN]) or "none found"
        what = "where it begins" if flag == "-snn" else "where it ends"
        raise ConfigError(
            f"model {path}: a frozen graph does not tell {what}; name it with {flag}; candidates: {listed}"
        )
    known = {node.name for node in definition.node}
    tensors = []
    for name in given:
        node, _, port = name.partition(":")
        if node not in known:
            near = did_you_mean(node, candidates if candidates else known, list_all=False)
            raise ConfigError(f"{flag} {name}: model {path} has no such node: {near}")
        tensors.append(f"{node}:{port or 0}")
    return tensors
