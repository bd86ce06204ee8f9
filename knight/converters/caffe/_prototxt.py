"""Reads a prototxt: protobuf's text form of a NetParameter, with whatever fields a fork of Caffe adds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from knight.converters.caffe._schema import QUIET, message_class
from knight.errors import ModelError
from knight.formats import hint
from knight.listener import Listener

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<mark>[{}<>\[\]:,;])"""
    r"""|(?P<word>[^\s{}<>\[\]:,;#"']+)|(?P<other>.)"""
)
_OPEN, _CLOSE = "{<", "}>"


def read_prototxt(path: Path, listener: Listener) -> Any:
    """The NetParameter in `path`. Fields that are not known here are named to `listener` and left out.

    Raises ModelError where the file is missing, is no prototxt, or holds no layers.
    """
    text = _text(path)
    net = message_class("NetParameter")()
    try:
        text_format.Parse(text, net, allow_unknown_field=True)
    except text_format.ParseError as error:
        line = error.GetLine()
        reason = re.sub(r"^\d+:\d+ : ", "", str(error).splitlines()[0]).strip()
        where = f"{path}:{line}" if line else str(path)
        raise ModelError(f"model {where}: not a valid prototxt: {reason}{hint(path, 'caffe')}") from None
    except RecursionError:
        raise ModelError(f"model {path}: not a valid prototxt: its messages are nested too deep") from None
    if not net.layer and not net.layers:
        raise ModelError(
            f"model {path}: holds no layers; name the prototxt that describes the net "
            f"(deploy.prototxt, not the solver's) with -m{hint(path, 'caffe')}"
        )
    for line, message, field in _unknown_fields(text, net.DESCRIPTOR):
        listener.warn(f"{path}:{line}: field {field!r} of {message} is not known here and is ignored")
    return net


def _text(path: Path) -> str:
    if not path.exists():
        raise ModelError(f"model {path}: no such file")
    if path.is_dir():
        raise ModelError(f"model {path}: is a folder; name the .prototxt file in it")
    content = path.read_bytes()
    if not content.strip():
        raise ModelError(f"model {path}: the file is empty")
    if b"\0" in content:
        if _is_caffemodel(content):
            raise ModelError(
                f"model {path}: is a caffemodel; name the prototxt with -m and the caffemodel with -w"
            )
        raise ModelError(f"model {path}: not a prototxt{hint(path, 'caffe')}")
    return content.decode("utf-8-sig", errors="replace")


def _is_caffemodel(content: bytes) -> bool:
    try:
        stored = message_class("StoredNet").FromString(content)
    except DecodeError:
        return False
    return any(layer.name and layer.type for layer in (*stored.layer, *stored.layers))


def _unknown_fields(text: str, net: Any) -> Iterator[tuple[int, str, str]]:
    """Line, message and name of every field that the schema lacks and that may matter, once each.

    text: a prototxt that has been parsed already, so its braces fit.
    """
    inside: list[Any] = [net]  # descriptors; None within a message that is itself unknown
    seen: set[tuple[str, str]] = set()
    tokens = list(_tokens(text))
    position = 0
    while position < len(tokens):
        line, token = tokens[position]
        position += 1
        if token in _CLOSE:
            inside.pop()
        elif token not in ",;":
            message = inside[-1]
            field = message.fields_by_name.get(token) if message is not None else None
            if message is not None and field is None and token not in QUIET:
                if (message.name, token) not in seen:
                    yield line, message.name, token
                seen.add((message.name, token))
            position, opened = _after_value(tokens, position)
            if opened:
                inside.append(None if field is None else field.message_type)


def _after_value(tokens: list[tuple[int, str]], position: int) -> tuple[int, bool]:
    """Where the value of a field ends, or that it is a message, and where its content begins."""
    if tokens[position][1] == ":":
        position += 1
    first = tokens[position][1]
    if first in _OPEN:
        return position + 1, True
    if first == "[":
        while tokens[position][1] != "]":
            position += 1
        return position + 1, False
    position += 1
    while first[0] in "\"'" and position < len(tokens) and tokens[position][1][0] in "\"'":
        position += 1  # strings side by side are one
    return position, False


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of every token but blanks and comments."""
    line = 1
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.lastgroup != "skip":
            yield line, token
        line += token.count("\n")
