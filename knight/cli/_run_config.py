"""The arguments of a subcommand from a JSON file: ``{"compare": {"sort": "cos", "index-range": "0-7"}}``.

Keys are the long names of the flags. A value is a number, a boolean, a string or a list; several values may
also be one string, separated by spaces or commas. Paths mean what they mean on the command line: relative
ones start at the current folder, not at that of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from knight.cli._flags import Flag
from knight.errors import ConfigError, did_you_mean, wrong_value
from knight.files import content
from knight.json_keys import parsed

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
JOINED = {"op_type": ",", "index_range": ",", "second_dump": ":"}
"""Flags whose one text is a list, and what stands between its parts."""

STEPS = ("convert", "quant", "compare", "infer")
"""Sections that are steps of Knight, in the order in which `build` runs them."""

ELSEWHERE = ("compile", "run", "profiling", "demo")
"""Sections for tools that only the vendor has."""

SECTIONS = ("chip", *STEPS, *ELSEWHERE, "build")

_KINDS = {int: "a whole number", float: "a number", str: "a text"}


def read_section(source: str, section: str, flags: Sequence[Flag]) -> dict[str, Any]:
    """Parameter -> value, from the object `section` of a file (or of the JSON text itself).

    The document's ``chip`` is among them. Raises ConfigError naming file and key.
    """
    document = read_document(source)
    where = named(source)
    values = document.get(section)
    if not isinstance(values, dict):
        held = f"only {', '.join(document)}" if document else "nothing"
        raise ConfigError(
            f'{where}: has no section {section}, {held}; {section} wants an object {{"{section}": {{...}}}}, '
            f"and knight build runs all steps that there are"
        )
    found = section_values(values, section, flags, f"{where}: ")
    if document.get("chip") is not None:
        found["chip"] = [document["chip"]]
    return found


def section_values(
    values: Mapping[str, Any], section: str, flags: Sequence[Flag], before: str
) -> dict[str, Any]:
    """Parameter -> value, from the keys of one section. `before` begins the place in messages."""
    known = {flag.key: flag for flag in flags if flag.key != "run_config"}
    found: dict[str, Any] = {}
    for key, value in values.items():
        flag = known.get(parameter(key))
        if flag is None:
            near = did_you_mean(key, [key.replace("_", "-") for key in known], list_all=False)
            raise ConfigError(f"{before}{section}.{key}: unknown key: {near}")
        where = f"{before}{section}.{key}"
        if flag.key in found:
            raise ConfigError(f"{where}: the same key is there twice; keep one")
        found[flag.key] = _value(flag, value, where)
    return found


def parameter(key: str) -> str:
    """The parameter that a key of a section names."""
    return key.lstrip("-").replace("-", "_")


def named(source: str) -> str:
    """How messages name a run-config."""
    return f"-rc/--run-config {'run-config' if is_text(source) else source}"


def is_text(source: str) -> bool:
    """Whether it is the JSON itself, and no path."""
    return source.lstrip().startswith("{")


def read_document(source: str) -> dict[str, Any]:
    """The whole of a run-config. Raises ConfigError for what is no JSON object of known sections."""
    where = named(source)
    try:
        text = source if is_text(source) else content(source)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; name a JSON file") from error
    document = parsed(text, f"{where}: ")
    if not isinstance(document, dict):
        raise ConfigError(f'{where}: wants an object such as {{"quant": {{...}}}}')
    for section, values in document.items():
        if section not in SECTIONS:
            raise ConfigError(f"{where}: {section}: unknown section: {did_you_mean(section, SECTIONS)}")
        if section != "chip" and not isinstance(values, dict):
            raise ConfigError(f"{where}: {section}: has to be an object {{...}}")
        if section == "chip" and values is not None and not (isinstance(values, str) and values):
            raise ConfigError(f"{where}: chip: {wrong_value(values, 'a name (see: knight chips)')}")
    return document


def _value(flag: Flag, value: Any, where: str) -> Any:
    if flag.kind is object:  # checked by whoever reads it
        return value
    if flag.kind is bool:
        return _switch(value, where)
    if flag.key in JOINED and isinstance(value, list) and value:
        return JOINED[flag.key].join(_single(flag, item, where) for item in value)
    if not flag.several:
        return _single(flag, value, where)
    if flag.grouped and isinstance(value, list) and any(map(_holds_several, value)):
        return [tuple(_items(flag, item, where)) for item in value]
    items = _items(flag, value, where)
    return [tuple(items)] if flag.grouped else items


def _holds_several(item: Any) -> bool:
    """Whether an item of a list is a group of numbers, and no number of one."""
    return isinstance(item, list) or (isinstance(item, str) and bool(re.search(r"\d[,x\s]+-?\d", item)))


def _items(flag: Flag, value: Any, where: str) -> list[Any]:
    separators = r"[,x\s]+" if flag.grouped else r"[,\s]+"
    items = re.split(separators, value.strip(" \t\r\n,")) if isinstance(value, str) else value
    items = items if isinstance(items, list) else [items]
    if items in ([], [""]):
        raise ConfigError(f"{where}: is empty; give {_KINDS[flag.kind]} or several, or leave the key out")
    return [_single(flag, item, where) for item in items]


def _switch(value: Any, where: str) -> bool:
    text = str(value).lower() if isinstance(value, (bool, int, str)) else ""
    if text not in _TRUE + _FALSE:
        raise ConfigError(f"{where}: {wrong_value(value, 'true or false')}")
    return text in _TRUE


def _single(flag: Flag, value: Any, where: str) -> Any:
    wrong = f"{where}: {wrong_value(value, _KINDS[flag.kind])}"
    if isinstance(value, (list, dict, bool)) or value is None:
        raise ConfigError(wrong)
    try:
        found = flag.kind(value)
    except (ValueError, OverflowError):
        raise ConfigError(wrong) from None
    if isinstance(value, float) and found != value and flag.kind is int:  # 2.5 is not 2
        raise ConfigError(wrong)
    return found
