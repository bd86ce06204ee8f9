"""What a hostile file is: how it is made, which command opens it, and what the one line says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SECRET = b"secret-of-the-user " * 8
"""What no result may hold: the content of a file beside."""


@dataclass(frozen=True)
class Place:
    """Where a case is made. folder: its own, for its files. marker: what its code touches, or writes to.
    secret: a file that is none of its business.
    """

    folder: Path
    marker: Path
    secret: Path


Words = Callable[[Path], Sequence[object]]


@dataclass(frozen=True)
class Hostile:
    """name: also of its folder. words: of the command, given the folder; where results go comes behind them.
    said: a part of the one line of the refusal; empty where the file does no harm, and is read.
    """

    name: str
    make: Callable[[Place], None]
    words: Words
    said: str


def converting(framework: str, model: str, *words: str) -> Words:
    """The words of ``knight convert``; what begins with @ is a file of the case."""

    def made(folder: Path) -> Sequence[object]:
        others = (folder / word[1:] if word.startswith("@") else word for word in words)
        return ("convert", "-f", framework, "-m", folder / model, *others)

    return made


def message(*fields: tuple[int, object]) -> bytes:
    """A protobuf message: (number, value) of bytes, text or whole numbers, in this order."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number << 3) + _varint(value))
        else:
            content = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
            parts.append(_varint(number << 3 | 2) + _varint(len(content)) + content)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
