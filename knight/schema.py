"""What users write in files, read into typed structs: a mistake is one line that names key, value and remedy.

msgspec checks and converts; only when it refuses is the value walked again beside its type, to name the first
thing that does not fit by its keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import inspect as kinds

from knight.errors import ConfigError, did_you_mean, printable, wrong_value

T = TypeVar("T")

_REFUSALS = (msgspec.ValidationError, UnicodeEncodeError)  # the second for half of a surrogate pair


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the structs: their fields are the keys of an object, and there are no others.

    A `__post_init__` raises ValueError for keys that do not go together; its text begins with a key.
    reader: what reads such an object, where messages about unknown keys should say so.
    """

    reader: ClassVar[str] = ""


def wants(words: str) -> Any:
    """Annotates a type with what a message says that it has to be."""
    return msgspec.Meta(extra={"wants": words})


def read(values: object, kind: type[T], *, before: str = "", path: str = "", lenient: bool = False) -> T:
    """`values` as a `kind`. Raises ConfigError: `before`, the path of a key (from `path` on), what is wrong.

    lenient: numbers and switches may be texts, a list one text or its only item, and names in any case.
    """
    if lenient:
        values = _loosened(values, kinds.type_info(kind))
    try:
        return msgspec.convert(values, kind)
    except _REFUSALS:
        raise ConfigError(before + _mistake(values, kind, path)) from None


def _refusal(value: object, kind: Any) -> Exception | None:
    try:
        msgspec.convert(value, kind)
    except _REFUSALS as error:
        return error
    return None


def _mistake(value: object, kind: Any, path: str) -> str:
    """The first thing in `value`, which `kind` refuses, that it does not take."""
    bare = _bare(kind)
    if isinstance(value, Mapping) and isinstance(bare, type) and issubclass(bare, Table):
        return _mistake_in_table(value, bare, path)
    parts: list[tuple[str, object, Any]] = []
    if isinstance(value, Mapping) and get_origin(bare) is dict:
        parts = [(_at(path, key), item, get_args(bare)[1]) for key, item in value.items()]
    elif isinstance(value, list) and get_args(bare)[1:] == (...,):
        parts = [(f"{path}[{place}]", item, get_args(bare)[0]) for place, item in enumerate(value)]
    for where, item, inner in parts:
        if _refusal(item, inner) is not None:
            return _mistake(item, inner, where)
    words = _words(kinds.type_info(kind))
    if not words:
        return f"{path}: {wrong_value(value)}: {did_you_mean(str(value), map(str, get_args(bare)))}"
    return f"{path}: {wrong_value(value, words)}"


def _mistake_in_table(values: Mapping[str, object], kind: type[Table], path: str) -> str:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key in sorted(values.keys() - fields.keys(), key=str):
        whose = f" for {kind.reader}" if kind.reader else ""
        return f"{_at(path, key)}: unknown key{whose}: {did_you_mean(str(key), _keys(kind))}"
    for name, field in fields.items():
        if name in values and _refusal(values[name], field.type) is not None:
            return _mistake(values[name], field.type, _at(path, name))
        if name not in values and field.required:
            return f"{_at(path, name)} is missing; it has to be {_words(kinds.type_info(field.type))}"
    refusal = _refusal(values, kind)
    assert refusal is not None
    return _at(path, str(refusal.__cause__))


def _at(path: str, key: object) -> str:
    text = printable(str(key))
    return f"{path}.{text}" if path else text


def _bare(kind: Any) -> Any:
    """`kind` without its annotations and without None."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        others = [part for part in get_args(kind) if part is not NoneType]
        return _bare(others[0]) if len(others) == 1 else kind
    return kind


def _keys(kind: type[Table]) -> list[str]:
    """The keys of a table, and the paths of those in the tables inside."""
    found: list[str] = []
    for field in msgspec.structs.fields(kind):
        inner = _bare(field.type)
        found.append(field.name)
        if isinstance(inner, type) and issubclass(inner, Table):
            found += [f"{field.name}.{key}" for key in _keys(inner)]
    return found


def _words(kind: kinds.Type) -> str:
    """What a value of `kind` is, in the words of a message; nothing for a Literal, whose names say it."""
    match kind:
        case kinds.Metadata(extra={"wants": str(words)}):
            return words
        case kinds.Metadata(type=inner):
            return _words(inner)
        case kinds.UnionType(types=types):
            return " or ".join(_words(part) for part in types if not isinstance(part, kinds.NoneType))
        case kinds.BoolType():
            return "true or false"
        case kinds.IntType(ge=low, le=high):
            return f"a whole number{_bounds(low, high)}"
        case kinds.FloatType(ge=low, le=high):
            return f"a number{_bounds(low, high)}"
        case kinds.VarTupleType(item_type=kinds.StrType()):
            return 'a list of texts such as ["a", "b"]'
        case kinds.VarTupleType(item_type=inner):
            return f"a list, each item {_words(inner)}"
        case kinds.StructType() | kinds.DictType():
            return "an object of keys and values"
        case kinds.LiteralType():
            return ""
    return "a text"


def _bounds(low: float | None, high: float | None) -> str:
    if high is not None:
        return f" from {low} to {high}"
    return "" if low is None else f" of at least {low}"


def _loosened(value: object, kind: kinds.Type) -> object:
    """`value` as the strict type has it, where it is only written in another way."""
    match kind:
        case kinds.Metadata(type=inner):
            return _loosened(value, inner)
        case kinds.UnionType(types=(inner, kinds.NoneType())):
            return _loosened(value, inner)
        case kinds.StructType(fields=fields) if isinstance(value, Mapping):
            inside = {field.name: field.type for field in fields}
            return {key: _loosened(item, inside.get(key, kinds.AnyType())) for key, item in value.items()}
        case kinds.DictType(value_type=inner) if isinstance(value, Mapping):
            return {key: _loosened(item, inner) for key, item in value.items()}
        case kinds.VarTupleType(item_type=inner) if not isinstance(value, (Mapping, bool)):
            return [_loosened(item, inner) for item in _items(value, inner)]
        case kinds.LiteralType(values=known) if isinstance(value, str):
            return next((name for name in known if str(name).lower() == value.lower()), value)
        case kinds.BoolType() if isinstance(value, str):
            return {"true": True, "false": False}.get(value.lower(), value)
        case kinds.IntType() | kinds.FloatType():
            return _number(value)
    return value


def _items(value: object, kind: kinds.Type) -> list[object]:
    """The items of a list that may be one text, numbers with blanks or commas between them, or one item."""
    while isinstance(kind, kinds.Metadata):
        kind = kind.type
    if isinstance(value, str) and isinstance(kind, (kinds.IntType, kinds.FloatType)):
        return [*value.replace(",", " ").split()]
    return value if isinstance(value, list) else [value]


def _number(value: object) -> object:
    """The number that a text holds; whole ones as int. What holds none stays as it is."""
    if isinstance(value, str):
        try:
            found = float(value)
        except ValueError:
            return value
        if not math.isfinite(found):
            return value
        value = found
    return int(value) if isinstance(value, float) and value.is_integer() else value
