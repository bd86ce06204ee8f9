"""JSON files of Knight's own: readable, floats exact, a header with format and version; read strictly.

A file is checked as what a stranger wrote: every mistake is one line that names file, key and remedy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from knight import files, schema
from knight.errors import ConfigError, OutputError, wrong_value
from knight.files import write_file
from knight.json_keys import parsed
from knight.schema import wants

LARGEST = 1 << 28
"""Bytes that a JSON file may have: some 20 million scales. Python needs several times that to read it."""


_WIDTH = 140


class Document(schema.Table, frozen=True):
    """The keys that all files have.

    format: what the file holds, as ``knight.plan``. version: of its keys; another number means that an older
    Knight cannot read it.
    """

    format: str
    version: int


class ModelDocument(Document, frozen=True):
    """Of a file that belongs to one prepared model. model: its `structure`."""

    model: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$"), wants("32 hex digits")]


T = TypeVar("T", bound=Document)


@dataclass(frozen=True)
class Format(Generic[T]):
    """One kind of file. what: in messages, and in the name of the format. table: its keys."""

    what: str
    version: int
    table: type[T]

    @property
    def name(self) -> str:
        """As it stands in the file."""
        return f"knight.{self.what.replace(' ', '_')}"

    def before(self, path: Path) -> str:
        """Begins a message about the file in `path`."""
        return f"{self.what} {path}: "

    def write(self, path: Path, fields: Mapping[str, Any]) -> Path:
        """Writes `fields` behind the header, whole or not at all.

        Raises ConfigError for what could not be read again, OutputError where the file cannot be written.
        """
        return write_file(path, self.encode(path, fields))

    def encode(self, path: Path, fields: Mapping[str, Any]) -> bytes:
        """The file's content. Raises as `write` does; `path` is for messages."""
        document = plain({"format": self.name, "version": self.version, **fields})
        schema.read(document, self.table, before=self.before(path))
        try:
            content = laid_out(document).encode("utf-8")
        except UnicodeEncodeError:
            raise ConfigError(f"{self.before(path)}a name in it is no valid Unicode; rename it") from None
        if len(content) > LARGEST:
            raise OutputError(f"{self.before(path)}would have more than {LARGEST >> 20} MB, which none reads")
        return content

    def read(self, path: Path) -> T:
        """The file in `path`, checked but for what only its model can tell. Raises ConfigError."""
        return self.decode(path, content(path, self.what, LARGEST))

    def decode(self, path: Path, text: bytes | memoryview) -> T:
        """The file's content. Raises as `read` does; `path` is for messages."""
        before = self.before(path)
        document = _parsed(bytes(text), before)
        if not isinstance(document, Mapping) or document.get("format") != self.name:
            found = document.get("format") if isinstance(document, Mapping) else document
            raise ConfigError(f"{before}format: {wrong_value(found, json.dumps(self.name))}")
        if document.get("version") != self.version or document.get("version") is True:
            told = f"{self.version}, the only one that this Knight reads; write the file again"
            raise ConfigError(f"{before}version: {wrong_value(document.get('version'), told)}")
        return schema.read(document, self.table, before=before)


def content(path: Path, what: str, largest: int) -> bytes:
    """The bytes of the file in `path`. Raises ConfigError, also for more than `largest` of them."""
    try:
        return files.content(path, largest)
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror or error}; name a file that can be read") from None


# JSON as it is written and read ---------------------------------------------------------------------------


def plain(item: Any) -> Any:
    """`item` with dictionaries for its dataclasses and structs, as JSON takes it."""
    return msgspec.to_builtins(item)


def laid_out(document: Mapping[str, Any]) -> str:
    """JSON of lines: what fits on one stays on it, and so does every list of numbers."""
    return _laid_out(document, 0) + "\n"


def _laid_out(value: Any, depth: int) -> str:
    text = _text(value)
    if depth and len(text) <= _WIDTH - 2 * depth:
        return text
    if isinstance(value, Mapping) and value:
        parts = [f"{_text(key)}: {_laid_out(item, depth + 1)}" for key, item in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str) and not all(map(_is_number, value)):
        parts = [_laid_out(item, depth + 1) for item in value]
    else:
        return text
    indent = "\n" + "  " * depth
    return text[0] + f"{indent}  " + f",{indent}  ".join(parts) + indent + text[-1]


def _is_number(item: Any) -> bool:
    return isinstance(item, (int, float))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _parsed(text: bytes, before: str) -> Any:
    """The JSON of a file, each key of an object once, its numbers finite. Raises ConfigError."""
    return parsed(text, before, after="; write the file again")
