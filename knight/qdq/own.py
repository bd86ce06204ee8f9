"""Knight's own results: how they are marked, and how they are known again."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Literal

import onnx_ir as ir

from knight.version import __version__

PRODUCER = "knight"
FINGERPRINT = "knight.fingerprint"
"""Metadata key: the graph's `fingerprint` when it was written."""


def mark(model: ir.Model) -> None:
    """Signs `model`, as it is now, as Knight's result; the last thing to do before it is written."""
    model.producer_name, model.producer_version = PRODUCER, __version__
    model.metadata_props[FINGERPRINT] = fingerprint(model)


def is_ours(model: ir.Model) -> Literal["ours", "changed"] | None:
    """Whether Knight made `model`, and nobody changed what it computes since; None for models of others."""
    stored = model.metadata_props.get(FINGERPRINT)
    if stored is None:
        return None
    return "ours" if stored == fingerprint(model) else "changed"


# The fingerprint --------------------------------------------------------------------------------------


def fingerprint(model: ir.Model) -> str:
    """SHA-256 in hex digits of what `model` computes: operator sets, interface, operators with all their
    attributes, and the contents of the initializers.

    The same after saving and loading, also where weights lie in files of their own. Metadata, doc strings,
    the shapes of inner values and the order of initializers do not count. Time is linear in the model's size;
    one initializer at a time is held in memory.
    """
    digest = _Digest()
    imports = {domain or "ai.onnx": version for domain, version in model.opset_imports.items()}
    digest.texts(f"{domain} {version}" for domain, version in sorted(imports.items()))
    digest.graph(model.graph)
    for _, function in sorted(model.functions.items(), key=lambda item: str(item[0])):
        digest.texts((function.domain, function.name, function.overload))
        digest.texts(value.name for value in (*function.inputs, *function.outputs))
        digest.attributes(function.attributes.values())
        digest.nodes(function)
    return digest.hexdigest()


class _Digest:
    """Every part is hashed with its length before it, so that no two models read the same."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def hexdigest(self) -> str:
        return self._sha.hexdigest()

    def data(self, data: bytes) -> None:
        self._sha.update(struct.pack("<q", len(data)))
        self._sha.update(data)

    def text(self, text: str | None) -> None:
        self.data((text or "").encode())

    def texts(self, texts: Iterable[str | None]) -> None:
        found = [(text or "").encode() for text in texts]
        self._sha.update(struct.pack("<q", len(found)))
        for each in found:
            self.data(each)

    def graph(self, graph: ir.Graph) -> None:
        for values in (graph.inputs, graph.outputs):
            self.texts(value.name for value in values)
            self.texts(f"{value.type} {_dims(value.shape)}" for value in values)
        for name, value in sorted(graph.initializers.items()):
            self.text(name)
            self.tensor(value.const_value)
        self.nodes(graph)

    def nodes(self, nodes: Iterable[ir.Node]) -> None:
        for node in nodes:
            domain = "" if node.domain == "ai.onnx" else node.domain
            self.texts((domain, node.op_type, node.overload, node.name))
            self.texts(None if value is None else value.name for value in node.inputs)
            self.texts(value.name for value in node.outputs)
            self.attributes(node.attributes.values())

    def attributes(self, attributes: Iterable[ir.Attr]) -> None:
        for attribute in sorted(attributes, key=lambda attribute: attribute.name):
            self.texts((attribute.name, attribute.type.name, attribute.ref_attr_name))
            if not attribute.is_ref() and attribute.value is not None:
                self._content(attribute)
        self.text("")  # the end, since their number is not said

    def _content(self, attribute: ir.Attr) -> None:
        kind, content = attribute.type.name, attribute.value
        parts = tuple(content) if kind.endswith("S") else (content,)
        self._sha.update(struct.pack("<q", len(parts)))
        for part in parts:
            if isinstance(part, ir.Graph):
                self.graph(part)
            elif kind.startswith("TENSOR"):
                self.tensor(part)
            elif kind.startswith("FLOAT"):  # a float of the file is one of 32 bits
                self._sha.update(struct.pack("<f", part))
            elif kind.startswith("INT"):
                self._sha.update(struct.pack("<q", part))
            else:
                self.data(part if isinstance(part, bytes) else str(part).encode())

    def tensor(self, tensor: ir.TensorProtocol | None) -> None:
        if tensor is None:
            self.text(None)
            return
        self.texts((tensor.dtype.name, _dims(tensor.shape)))
        if tensor.dtype == ir.DataType.STRING:
            for text in tensor.numpy().reshape(-1):
                self.data(text if isinstance(text, bytes) else str(text).encode())
        else:
            self.data(tensor.tobytes())


def _dims(shape: ir.Shape | ir.ShapeProtocol | None) -> str:
    """A shape as text: numbers, names, "?" for what is neither."""
    if shape is None:
        return "unknown"
    dims = (dim if isinstance(dim, int) else dim.value for dim in shape)
    return ",".join("?" if dim is None else str(dim) for dim in dims)
