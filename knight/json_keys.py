"""JSON that anybody may have written: each key of an object once, and numbers and texts that are some.

Python's reader alone takes NaN, turns 1e999 to infinity, drops the first of two equal keys, and gives halves
of surrogate pairs that no file can hold.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from knight.errors import ConfigError, KnightError, printable, shown

DEEPEST = 64
"""Lists and objects inside each other that a document may have; what is read here needs a handful."""

_HUGE = re.compile(r"[eE]\+?\d{3}|\d{309}")
"""What every number beyond floats has in it."""
_ODD = re.compile(rf"{_HUGE.pattern}|NaN|Infinity|\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""What every document has in it that holds such a number, or half of a surrogate pair."""
_JSON = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def each_once(
    before: str, kind: type[KnightError] = ConfigError
) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """What makes an object of the pairs that `json` read (its `object_pairs_hook`).

    A key that is there twice is an error: json would drop the first without a word.
    """

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise kind(f"{before}{printable(twice)}: the same key is there twice; keep one")
        return found

    return made


def parsed(
    text: bytes | str,
    before: str,
    kind: type[KnightError] = ConfigError,
    after: str = "",
    *,
    halves: bool = False,
) -> Any:
    """What JSON `text` holds. Raises `kind`: `before`, place and reason, `after`.

    Refused are other encodings than UTF-8 (a byte order mark is passed over), NaN, infinities and numbers
    beyond floats, keys that are there twice, nesting beyond `DEEPEST`, and without `halves` texts with half
    of a surrogate pair, which no file can hold.
    """
    told = text if isinstance(text, str) else decoded(text, before, kind, after)
    once = each_once(before, kind)
    try:
        if _HUGE.search(told):
            document = json.loads(told, object_pairs_hook=once, parse_int=_whole)
        else:
            document = json.loads(told, object_pairs_hook=once)
    except RecursionError:
        raise kind(f"{before}is nested too deep{after}") from None
    except json.JSONDecodeError as error:
        raise kind(f"{before}no JSON: {error}{after}") from None
    _check_depth(document, before, kind, after)
    if _ODD.search(told):
        _check_items(document, before, kind, after, halves=halves)
    return document


def _whole(word: str) -> int | float:
    """What Python's limit of digits would refuse is infinite, as it is with an exponent."""
    return int(word) if math.isfinite(float(word)) else float(word)


def decoded(content: bytes, before: str, kind: type[KnightError] = ConfigError, after: str = "") -> str:
    """The text in `content`, which has to be UTF-8, with or without a byte order mark. Raises `kind`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise kind(f"{before}line {line}: no UTF-8 text; save the file as UTF-8{after}") from None


def check_document(document: Any, before: str, kind: type[KnightError] = ConfigError) -> None:
    """Raises `kind`, as `parsed` does, for what no document may hold, whatever it is written in."""
    _check_depth(document, before, kind, "")
    _check_items(document, before, kind, "", halves=False)


def _check_depth(document: Any, before: str, kind: type[KnightError], after: str) -> None:
    level, depth = [document], 0
    while level:
        if depth > DEEPEST:
            raise kind(f"{before}is nested too deep{after}")
        held = [item for item in level if isinstance(item, (dict, list))]
        level = [inner for item in held for inner in (item.values() if isinstance(item, dict) else item)]
        depth += 1


def _check_items(
    item: Any, before: str, kind: type[KnightError], after: str, path: str = "", *, halves: bool
) -> None:
    where = f"{before}{path}: " if path else before
    if isinstance(item, dict):
        for key, inner in item.items():
            _check_items(key, f"{where}the key ", kind, after, halves=halves)
            at = f"{path}.{printable(key)}" if path else printable(key)
            _check_items(inner, before, kind, after, at, halves=halves)
    elif isinstance(item, list):
        for place, inner in enumerate(item):
            _check_items(inner, before, kind, after, f"{path}[{place}]", halves=halves)
    elif isinstance(item, str):
        if halves or not any("\ud800" <= letter <= "\udfff" for letter in item):
            return
        raise kind(f"{where}{shown(item)} is no valid Unicode{after}")
    elif isinstance(item, (int, float)) and not abs(item) <= sys.float_info.max:
        number = repr(item) if isinstance(item, float) else "beyond all floats"
        raise kind(f"{where}is {_JSON.get(number, number)}, which is no number that can be used{after}")
