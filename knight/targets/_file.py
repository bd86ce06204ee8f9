"""Reads a target file: TOML to checked field values of `Target`, with ``extends`` resolved.

Keys are grouped in tables for the reader's sake (``[activation] signed``); `KEYS` is the whole map from
a key's path to the field that it sets and to the check of its value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from knight.errors import ConfigError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RUNTIMES = ("", "onnxruntime")
OWN_KEYS = ("extends", "description", "source", "chips")
"""What a file says of itself alone: not inherited from the family that it extends."""


class Readable(Protocol):
    """A file on disk or inside a package: what `Path` and `importlib.resources` have in common."""

    def read_bytes(self) -> bytes: ...


class _Wrong(Exception):
    """A value that a key does not take; the text says what it takes."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong("wants a text")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("wants true or false")
    return value


def _integer(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _Wrong(f"wants an integer from {low} to {high}")
        return value

    return check


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _Wrong('wants a list of texts such as ["a", "b"]')
    if len(set(value)) < len(value):
        twice = sorted({item for item in value if value.count(item) > 1})
        raise _Wrong(f"names {', '.join(twice)} twice")
    return tuple(value)


def _operators(value: object) -> frozenset[str]:
    return frozenset(_texts(value))


def _bits(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or any(item not in (8, 16) for item in value):
        raise _Wrong("wants a list of 8 and 16")
    return tuple(sorted(set(value)))


def _range(value: object) -> tuple[int, int]:
    match value:
        case [int(low), int(high)] if 0 <= low <= high and bool not in (type(low), type(high)):
            return low, high
    raise _Wrong("wants two integers [low, high], 0 <= low <= high")


def _runtime(value: object) -> str:
    if value not in RUNTIMES:
        raise _Wrong('wants "onnxruntime", or "" where the chip itself runs the model')
    return str(value)


KEYS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "extends": ("extends", _text),
    "description": ("description", _text),
    "source": ("source", _text),
    "chips": ("chips", _texts),
    "bits": ("bits", _bits),
    "runtime": ("runtime", _runtime),
    "model.opset": ("opset", _integer(13, 26)),
    "model.static_shapes": ("static_shapes", _flag),
    "model.fixed_point_outputs": ("fixed_point_outputs", _flag),
    "activation.signed": ("activation_signed", _flag),
    "activation.symmetric": ("activation_symmetric", _flag),
    "weight.signed": ("weight_signed", _flag),
    "weight.symmetric": ("weight_symmetric", _flag),
    "weight.narrow": ("weight_narrow", _flag),
    "weight.per_channel": ("weight_per_channel", _flag),
    "requantization.multiplier_bits": ("multiplier_bits", _integer(0, 31)),
    "requantization.shift_range": ("shift_range", _range),
    "operators.anchors": ("anchors", _operators),
    "operators.followers": ("followers", _operators),
    "operators.keep_scale": ("keep_scale", _operators),
    "operators.on_integers": ("on_integers", _operators),
    "operators.float_result": ("float_result", _operators),
    "operators.software": ("software", _operators),
    "operators.recognise": ("recognise", _operators),
    "operators.unify_concat": ("unify_concat", _flag),
    "operators.constant_matmul_only": ("constant_matmul_only", _flag),
}
"""Key path in the file -> field of `Target`, check of the value."""

_TABLES = frozenset(key.split(".")[0] for key in KEYS if "." in key)


def read(file: Readable, label: str) -> dict[str, Any]:
    """Field values stated in `file` (called `label` in messages), checked one by one.

    Raises ConfigError naming file and key: not TOML, unknown key, wrong type, value out of range.
    """
    try:
        document = tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"target file {label}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"target file {label}: not a text file in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"target file {label}: not valid TOML: {error}") from None
    values: dict[str, Any] = {}
    for key, value in _flatten(document):
        if key not in KEYS:
            raise ConfigError(f"target file {label}: unknown key {key!r}: {did_you_mean(key, KEYS)}")
        name, check = KEYS[key]
        try:
            values[name] = check(value)
        except _Wrong as error:
            raise ConfigError(f"target file {label}: {key} = {value!r}: {error}") from None
    return values


def _flatten(document: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Key paths and values. A table that is none of ours counts as one unknown key."""
    for key, value in document.items():
        if key in _TABLES and isinstance(value, dict):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def check_together(values: Mapping[str, Any], label: str) -> None:
    """What one key alone cannot tell, on the values with ``extends`` resolved. Raises ConfigError."""
    lists = {key: values.get(key, frozenset()) for key in ("anchors", "followers", "keep_scale", "software")}
    names = list(lists)
    for first, one in enumerate(names):
        for other in names[first + 1 :]:
            if both := lists[one] & lists[other]:
                raise ConfigError(
                    f"target file {label}: {', '.join(sorted(both))} stands in operators.{one} and in "
                    f"operators.{other}; an operator has one place"
                )
    if loose := values.get("float_result", frozenset()) - lists["anchors"] - lists["followers"]:
        raise ConfigError(
            f"target file {label}: operators.float_result names {', '.join(sorted(loose))}, which is "
            f"neither an anchor nor a follower"
        )
    if not lists["anchors"]:
        raise ConfigError(f"target file {label}: operators.anchors is empty, nothing would run as integers")
