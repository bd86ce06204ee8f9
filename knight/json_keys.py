"""JSON whose objects have each key once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from knight.errors import ConfigError, printable


def each_once(before: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """What makes an object of the pairs that `json` read (its `object_pairs_hook`).

    A key that is there twice is a ConfigError: json would drop the first without a word.
    """

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise ConfigError(f"{before}{printable(twice)}: the same key is there twice; keep one")
        return found

    return made
