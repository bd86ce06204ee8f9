"""Checks of single values in a configuration file; each names the place of a wrong one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from knight.errors import ConfigError, did_you_mean

Check = Callable[[Any, str], Any]
"""(value, where it stands) -> the value as it is used. Raises ConfigError."""


def text(value: Any, where: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise wrong(value, where, "a text")
    return value


def switch(value: Any, where: str) -> bool:
    """true or false, also as a text."""
    lowered = str(value).lower()
    if lowered not in ("true", "false"):
        raise wrong(value, where, "true or false")
    return lowered == "true"


def number(value: Any, where: str) -> float:
    """A finite number, also as a text."""
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
        if not math.isfinite(found):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise wrong(value, where, "a number") from None
    return found


def whole(low: int | None, high: int | None = None) -> Callable[[Any, str], int]:
    """A whole number from `low` to `high`; None: no bound."""
    bounds = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"

    def check(value: Any, where: str) -> int:
        found = number(value, where)
        inside = (low is None or found >= low) and (high is None or found <= high)
        if found != int(found) or not inside:
            raise wrong(value, where, f"a whole number{bounds}")
        return int(found)

    return check


count = whole(1)
pixel = whole(0, 255)


def fraction(value: Any, where: str) -> float:
    """A number from 0 to 1."""
    found = number(value, where)
    if not 0 <= found <= 1:
        raise wrong(value, where, "a number from 0 to 1")
    return found


def numbers(value: Any, where: str) -> tuple[float, ...]:
    """A number, a list of them, or a text with blanks or commas between them."""
    items = value.replace(",", " ").split() if isinstance(value, str) else value
    items = items if isinstance(items, list) else [items]
    return tuple(number(item, where) for item in items)


def anchors(value: Any, where: str) -> tuple[tuple[float, ...], ...]:
    """Rows of w, h, w, h ...; pairs inside rows are taken apart."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) for row in value):
        raise ConfigError(
            f"{where}: has to be a list of rows, one per output map: [[10, 13, 16, 30, 33, 23], ...]"
        )
    rows = [[item for part in row for item in (part if isinstance(part, list) else [part])] for row in value]
    if any(len(row) % 2 or not row for row in rows):
        raise ConfigError(f"{where}: a row holds widths and heights in turn, an even number of them")
    return tuple(tuple(number(item, where) for item in row) for row in rows)


def class_names(value: Any, where: str) -> tuple[str, ...]:
    """A list of the classes' names, or an object of numbers and names."""
    if isinstance(value, Mapping):
        if not all(str(key).isdecimal() for key in value):
            raise ConfigError(f"{where}: an object of names has the classes' numbers for keys: 0, 1, ...")
        value = [value[key] for key in sorted(value, key=int)]
    if not isinstance(value, list):
        raise ConfigError(f"{where}: has to be a list of the classes' names")
    return tuple(map(str, value))


def names(value: Any, where: str) -> tuple[str, ...]:
    """A list of texts, or one text."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise wrong(value, where, "a list of names")
    return tuple(items)


def by_name(value: Any, where: str) -> dict[str, float]:
    """An object of names and numbers."""
    if not isinstance(value, Mapping):
        raise wrong(value, where, "an object of names and numbers")
    return {str(key): number(item, f"{where}.{key}") for key, item in value.items()}


def one_of(known: Sequence[str]) -> Callable[[Any, str], str]:
    """One of `known`, in any case."""
    lowered = {name.lower(): name for name in known}

    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or value.lower() not in lowered:
            raise ConfigError(f"{where}: is {json.dumps(value)}: {did_you_mean(str(value), known)}")
        return lowered[value.lower()]

    return check


def wrong(value: Any, where: str, wanted: str) -> ConfigError:
    """The error for a value that is not what it has to be."""
    return ConfigError(f"{where}: is {json.dumps(value, default=str)}; it has to be {wanted}")
