"""Trees of objects, lists and values, in JSON and in TOML."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from scripts.fuzz.mutators import LARGEST
from scripts.fuzz.mutators.raw import Bytes, Text

Place = tuple[Any, Any]
"""An object or a list, and a key or an index in it."""

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
)
_VALUES += (float("inf"), float("nan"), "", "x", "1", "1e400", "a\nb", "\x1b[31m", "=1+1", "\ud800", "\u2028")
_VALUES += (
    "../../x",
    "/dev/zero",
    "\0",
    "9" * 5000,
    "w8a8",
    [],
    {},
    [[]],
    [0],
    ["x"],
    {"x": {}},
    [1, "x", None],
)


class Json:
    """JSON documents. What cannot be parsed is changed as text."""

    def parsed(self, data: bytes) -> Any:
        """Raises ValueError or RecursionError."""
        return json.loads(data)

    def written(self, tree: Any, random: Random | None = None) -> bytes:
        """The inverse of `parsed`."""
        ascii_only = random is None or random.random() < 0.5
        return json.dumps(tree, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    def mutate(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        if random.random() < 0.15:
            return Text().mutate(data, others, random)
        try:
            holder = [self.parsed(data)]
            for _ in range(random.choice((1, 1, 2, 4))):
                self._change(holder, others, random)
            found = self.written(holder[0], random)
        except (ValueError, RecursionError, TypeError):
            return Text().mutate(data, others, random)
        if random.random() < 0.03:
            found = _too_much(found, random)
        return found if len(found) < LARGEST else data

    def _change(self, holder: list[Any], others: Sequence[bytes], random: Random) -> None:
        places = list(_places(holder))
        parent, key = random.choice(places)
        choice = random.randrange(8)
        if choice <= 1:
            parent[key] = copy.deepcopy(random.choice(_VALUES))
        elif choice == 2 and parent is not holder:
            del parent[key]
        elif choice == 3:
            other, place = random.choice(places)
            parent[key] = copy.deepcopy(other[place])
        elif choice == 4:
            try:
                tree = [self.parsed(random.choice(others))]
            except (ValueError, RecursionError):
                return
            other, place = random.choice(list(_places(tree)))
            parent[key] = copy.deepcopy(other[place])
        elif choice == 5 and isinstance(parent, dict):
            name = random.choice((*parent, "", "x", "\ud800", "a\nb", "__proto__", "preset", "n" * 300))
            parent[name] = parent.pop(key)
        elif choice == 6 and isinstance(parent, list) and parent is not holder:
            parent[key:key] = [copy.deepcopy(parent[key])] * random.choice((1, 2, 100))
        else:
            parent[key] = _nudged(parent[key], random)

    def smaller(self, data: bytes) -> Iterator[bytes]:
        try:
            holder = [self.parsed(data)]
            places = list(_places(holder))
        except (ValueError, RecursionError):
            yield from Text().smaller(data)
            return
        for number in range(len(places)):
            twin = copy.deepcopy(holder)
            parent, key = list(_places(twin))[number]
            if parent is twin:
                continue
            del parent[key]
            try:
                yield self.written(twin[0])
            except ValueError:
                continue


class Toml(Json):
    """TOML documents: every top-level key on a line, with what is below it inline."""

    def parsed(self, data: bytes) -> Any:
        import tomllib

        return tomllib.loads(data.decode("utf-8"))

    def written(self, tree: Any, random: Random | None = None) -> bytes:
        if not isinstance(tree, dict):
            return _inline(tree).encode("utf-8", "surrogatepass")
        lines = [f"{_quoted(key)} = {_inline(value)}\n" for key, value in tree.items()]
        return "".join(lines).encode("utf-8", "surrogatepass")


def _places(holder: list[Any]) -> Iterator[Place]:
    ahead: list[Any] = [holder]
    while ahead:
        parent = ahead.pop()
        for key in list(parent) if isinstance(parent, dict) else range(len(parent)):
            yield parent, key
            if isinstance(parent[key], (dict, list)):
                ahead.append(parent[key])


def _nudged(value: Any, random: Random) -> Any:
    """Something of another type that says nearly the same, or nearly the same of one type."""
    if isinstance(value, str):
        return random.choice((value.upper(), f" {value} ", value[:-1], value * 2, [value]))
    if isinstance(value, (int, float)):
        return random.choice((str(value), -value, [value], {"x": value}, value + 1))
    if isinstance(value, dict):
        return random.choice((list(value.items()), list(value), str(value)[:500]))
    return random.choice((str(value)[:500], {"x": value}, [value]))


def _too_much(data: bytes, random: Random) -> bytes:
    """Deeper, or with longer numbers, than a reader may be ready for; or one key twice."""
    deep = random.choice((500, 50_000))
    choices = (b"[" * deep + data + b"]" * deep, b'{"a":' * deep + data, data.replace(b"1", b"1" * 6000, 1))
    return random.choice(
        (*choices, data.replace(b"{", b'{"x": 1, "x": 2,', 1), Bytes().mutate(data, [data], random))
    )


def _quoted(text: Any) -> str:
    return json.dumps(str(text), ensure_ascii=False)


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, (int, float)):
        return repr(value)
    return '""' if value is None else _quoted(value)
