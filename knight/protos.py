"""Questions asked of a model in ONNX's own messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
from google.protobuf.message import Message

from knight.errors import shown

Parts = Sequence[tuple[Message, str]]
"""Messages with the words that name them."""


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a control-flow node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def messages(root: Message) -> Iterator[tuple[Message, str]]:
    """`root` and every message in it, bodies and functions too, with the words that name it or what holds it.

    What a tensor holds is not gone into, but for where its file is. The order is no particular one.
    """
    waiting: list[tuple[Message, str]] = [(root, "the model")]
    while waiting:
        message, place = waiting.pop()
        place = _named(message) or place
        yield message, place
        if isinstance(message, onnx.TensorProto):
            waiting += ((entry, place) for entry in message.external_data)
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += ((part, place) for part in ((value,) if isinstance(value, Message) else value))


def _named(message: Message) -> str:
    """What a message with a name is called in an error, empty for others."""
    if isinstance(message, onnx.NodeProto):
        name = message.name or next(iter(message.output), "")
        return f"node {shown(name)} ({message.op_type})"
    word = _WORDS.get(message.DESCRIPTOR.name)
    name = getattr(message, "name", "") if word else ""
    return f"{word} {shown(name)}" if name else ""


_WORDS = {"FunctionProto": "function", "TensorProto": "tensor", "ValueInfoProto": "value"}
