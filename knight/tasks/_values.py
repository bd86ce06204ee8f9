"""Types of the values in entries of ``input-configs``, and readers of those that no type tells."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from knight import schema
from knight.errors import ConfigError
from knight.schema import wants

Number = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max), wants("a number")]
"""A finite number."""
Numbers = Annotated[
    tuple[Number, ...], wants("a number or a list of numbers"), Meta(description="one, or one per channel")
]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Pixel = Annotated[int, Meta(ge=0, le=255)]
Names = Annotated[tuple[str, ...], wants("a list of names")]
Colour = Literal["RGB", "BGR", "GRAY"]
Interpolation = Literal["bilinear", "bicubic", "area"]


def anchors(value: Any, where: str) -> tuple[tuple[float, ...], ...]:
    """Rows of w, h, w, h ...; pairs inside rows are taken apart."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) for row in value):
        raise ConfigError(
            f"{where}: has to be a list of rows, one per output map: [[10, 13, 16, 30, 33, 23], ...]"
        )
    rows = [[item for part in row for item in (part if isinstance(part, list) else [part])] for row in value]
    if any(len(row) % 2 or not row for row in rows):
        raise ConfigError(f"{where}: a row holds widths and heights in turn, an even number of them")
    return tuple(schema.read(row, tuple[Number, ...], path=where, lenient=True) for row in rows)


def class_names(value: Any, where: str) -> tuple[str, ...]:
    """A list of the classes' names, or an object of numbers and names."""
    if isinstance(value, Mapping):
        if not all(str(key).isdecimal() and len(key) < 10 for key in value):
            raise ConfigError(f"{where}: an object of names has the classes' numbers for keys: 0, 1, ...")
        value = [value[key] for key in sorted(value, key=int)]
    if not isinstance(value, list):
        raise ConfigError(f"{where}: has to be a list of the classes' names")
    return tuple(map(str, value))
