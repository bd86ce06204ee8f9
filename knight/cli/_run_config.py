"""The arguments of a subcommand from a JSON file: ``{"compare": {"sort": "cos", "index-range": "0-7"}}``.

Keys are the long names of the flags. A value is a number, a boolean, a string or a list; several values may
also be one string, separated by spaces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knight.cli._flags import Flag
from knight.errors import ConfigError, did_you_mean

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def read_section(path: Path, section: str, flags: Sequence[Flag]) -> dict[str, Any]:
    """Parameter -> value, from the object `section` of the file. Raises ConfigError naming file and key."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"-rc/--run-config {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"-rc/--run-config {path}: no JSON: {error}") from error
    values = document.get(section) if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise ConfigError(f'-rc/--run-config {path}: wants an object {{"{section}": {{...}}}}')
    known = {flag.key: flag for flag in flags if flag.key != "run_config"}
    found = {}
    for key, value in values.items():
        flag = known.get(key.lstrip("-").replace("-", "_"))
        if flag is None:
            near = did_you_mean(key, [key.replace("_", "-") for key in known], list_all=False)
            raise ConfigError(f"{path}: {section}.{key}: unknown key: {near}")
        found[flag.key] = _value(flag, value, f"{path}: {section}.{key}")
    return found


def _value(flag: Flag, value: Any, where: str) -> Any:
    if flag.kind is bool:
        return _switch(value, where)
    if flag.several:
        items = value if isinstance(value, list) else str(value).split()
        return [_single(flag, item, where) for item in items]
    return _single(flag, value, where)


def _switch(value: Any, where: str) -> bool:
    text = str(value).lower()
    if text not in _TRUE + _FALSE:
        raise ConfigError(f"{where}: is {value!r}; it has to be true or false")
    return text in _TRUE


def _single(flag: Flag, value: Any, where: str) -> Any:
    if isinstance(value, (list, dict, bool)) or value is None:
        raise ConfigError(f"{where}: is {json.dumps(value)}; it has to be a {flag.kind.__name__}")
    try:
        return flag.kind(value)
    except ValueError:
        raise ConfigError(f"{where}: is {value!r}; it has to be a {flag.kind.__name__}") from None
