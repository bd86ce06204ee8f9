"""The JSON schema of a run-config, for editors, made of the tables of flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from knight.cli._command import FlagCommand
from knight.cli._flags import Flag
from knight.cli._run_config import ELSEWHERE, JOINED, STEPS

if TYPE_CHECKING:
    from msgspec import inspect as kinds

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_ANY_TEXT: Schema = {"type": "string"}
_SWITCH: Schema = {"enum": [True, False, "true", "false"]}
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"

_SHAPE: Schema = {"type": "string", "pattern": r"^\s*\d+([,x\s]+\d+)*\s*$"}


def _numeric(kind: str, **bounds: float | None) -> Schema:
    """A number, or a text of one (whose bounds are checked when it is read)."""
    given = {key: bound for key, bound in bounds.items() if bound is not None}
    return {"anyOf": [{"type": kind, **given}, {"type": "string", "pattern": _NUMBER}]}


def _one_of(*values: str) -> Schema:
    return {"enum": list(dict.fromkeys((*values, *(value.lower() for value in values))))}


_NUMBERS: Schema = {
    "anyOf": [{"type": "number"}, _ANY_TEXT, {"type": "array", "items": _numeric("number")}],
}
_UNTYPED: Mapping[str, Schema] = {
    "anchors": {
        "type": "array",
        "minItems": 1,
        "items": {"type": "array", "minItems": 1},
        "description": "pixels: rows of widths and heights in turn, one row per output map",
    },
    "names": {
        "anyOf": [{"type": "array"}, {"type": "object", "propertyNames": {"pattern": r"^\d+$"}}],
        "description": "the classes' names",
    },
}
"""Keys of an entry that no type tells."""


def input_config() -> Schema:
    """One entry of input-configs as infer_default reads it."""
    from msgspec import inspect

    from knight.tasks import _config

    entry = inspect.type_info(_config.Entry)
    assert isinstance(entry, inspect.StructType)
    preset = {"enum": list(_config.presets()), "description": "supplies defaults for the other keys"}
    keys = {field.name: _UNTYPED.get(field.name) or _lenient(field.type) for field in entry.fields}
    return {
        "type": "object",
        "properties": {"preset": preset, **keys},
        "required": [field.name for field in entry.fields if field.required],
        "additionalProperties": False,
    }


def _lenient(kind: kinds.Type) -> Schema:
    """The schema of what knight.schema takes for a type where it is lenient."""
    from msgspec import inspect as kinds

    match kind:
        case kinds.Metadata(type=inner, extra_json_schema=said):
            return _lenient(inner) | (said or {})
        case kinds.UnionType(types=(inner, kinds.NoneType())):
            return _lenient(inner)
        case kinds.BoolType():
            return _SWITCH
        case kinds.IntType(ge=low, le=high):
            return _numeric("integer", minimum=low, maximum=high)
        case kinds.FloatType(ge=low, le=high):
            return _numeric("number", minimum=low, maximum=high)
        case kinds.LiteralType(values=names):
            return _one_of(*map(str, names))
        case kinds.VarTupleType():
            return _NUMBERS
    return _ANY_TEXT


def run_config() -> Schema:
    """The schema of the whole file (JSON Schema 2020-12)."""
    from knight.cli import commands
    from knight.cli.build import OWN

    steps = {name: commands.get(name) for name in STEPS}
    sections = {name: step.flags for name, step in steps.items() if isinstance(step, FlagCommand)}
    sections["build"] = OWN
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "run-config of knight: the arguments of its subcommands",
        "type": "object",
        "properties": {
            "chip": {
                "type": ["string", "null"],
                "minLength": 1,
                "description": "the chip (see: knight chips)",
            },
            **{name: _section(flags) for name, flags in sections.items()},
            **{
                name: {"type": "object", "description": "for the vendor's own tools; knight skips it"}
                for name in ELSEWHERE
            },
        },
        "additionalProperties": False,
        "$defs": {"input-config": input_config()},
    }


def _section(flags: Sequence[Flag]) -> Schema:
    found: Schema = {
        "type": "object",
        "properties": {flag.names[-1].lstrip("-"): _flag(flag) for flag in flags if flag.key != "run_config"},
        "additionalProperties": False,
    }
    if "input-configs" in found["properties"]:
        found |= _ENTRIES
    return found


_BUILT_IN = ("infer_default", "infer_common.infer_default", "infer_auto")
_ENTRIES: Mapping[str, Any] = {
    "if": {"properties": {"infer-func": {"enum": _BUILT_IN}}},  # or where it is not there
    "then": {
        "properties": {"input-configs": {"items": {"$ref": "#/$defs/input-config"}, "minItems": 1}},
    },
}
"""Entries have the keys of infer_default, unless another function reads them."""


def _flag(flag: Flag) -> Schema:
    found: Schema = {"description": flag.text}
    if flag.default not in (None, ()):
        found["default"] = list(flag.default) if isinstance(flag.default, tuple) else flag.default
    if flag.key == "input_configs":
        return found | {"type": ["array", "string"], "items": {"type": "object"}}
    single = _single(flag)
    if flag.grouped:
        shape = {"type": "array", "items": _numeric("integer"), "minItems": 1}
        several = {"type": "array", "items": {"anyOf": [shape, _SHAPE]}, "minItems": 1}
        return found | {"anyOf": [{"type": "integer"}, _SHAPE, shape, several]}
    if flag.several or flag.key in JOINED:
        return found | {"anyOf": [single, _TEXT, {"type": "array", "items": single, "minItems": 1}]}
    return found | single


def _single(flag: Flag) -> Schema:
    if flag.known:
        return {"enum": [*flag.known, *(str(choice) for choice in flag.known if choice != str(choice))]}
    if flag.kind is bool:
        return _SWITCH
    return _ANY_TEXT if flag.kind is str else _numeric("integer" if flag.kind is int else "number")
