"""Reads the file of ``-mc/--mix-config``: choices for single operators.

A JSON list of entries: ``{"op_names": ["conv1", "stage2*"], "bitwidth": 8, "mode": "mse"}``. An entry names
operators (``op_names``: names of operators, or of values that they make), kinds of operators (``op_types``)
or both; names win over kinds, later entries over earlier ones. ``bitwidth`` is a width, or ``"float"``; what
an entry leaves out follows the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from knight import schema
from knight.calibration import calibrations
from knight.errors import ConfigError
from knight.files import content
from knight.json_keys import parsed
from knight.recipe import FLOAT, Choice, Rule
from knight.schema import Table, wants

_Texts = Annotated[tuple[str, ...], wants('a list of texts such as ["conv1", "stage2*"]')]


class Entry(Table, frozen=True):
    """One entry of the file."""

    op_names: _Texts = ()
    op_types: _Texts = ()
    bitwidth: Annotated[Literal[8, 16, "float"] | None, wants('8, 16 or "float"')] = None
    mode: Annotated[str | None, wants("the name of a calibration method")] = None

    def __post_init__(self) -> None:
        if not self.op_names and not self.op_types:
            raise ValueError("op_names is missing; an entry needs op_names or op_types")
        if self.bitwidth is None and self.mode is None:
            raise ValueError("bitwidth is missing; an entry needs bitwidth or mode")
        if self.bitwidth == FLOAT and self.mode is not None:
            raise ValueError("mode: has no meaning beside bitwidth float; leave it out")


def read_mix_config(path: str | Path) -> tuple[Entry, ...]:
    """The entries of the file. Raises ConfigError naming file and key."""
    origin = _origin(path)
    try:
        text = content(path)
    except OSError as error:
        raise ConfigError(f"{origin}: {error.strerror}; name a JSON file") from None
    document = parsed(text, f"{origin}: ")
    if not isinstance(document, list) or not document:
        raise ConfigError(
            f'{origin}: wants a list of entries such as {{"op_names": ["conv1"], "bitwidth": 8}}'
        )
    return tuple(
        schema.read(values, Entry, before=f"{origin}: ", path=f"[{place}]")
        for place, values in enumerate(document)
    )


def rules_of(entries: Sequence[Entry], default: Choice, path: str | Path) -> tuple[Rule, ...]:
    """The rules that `entries` of a file state; `default` supplies what they leave out.

    Raises ConfigError for methods that do not exist and widths that are not available yet.
    """
    return tuple(_rule(entry, default, f"{_origin(path)}: [{place}]") for place, entry in enumerate(entries))


def _origin(path: str | Path) -> str:
    return f"-mc/--mix-config {path}"


def _rule(entry: Entry, default: Choice, origin: str) -> Rule:
    if entry.bitwidth == FLOAT:
        return Rule(FLOAT, entry.op_names, entry.op_types, origin)
    if entry.bitwidth == 16:
        raise ConfigError(f'{origin}.bitwidth: 16 bits are not available yet; give 8 or "float"')
    choice = default
    if entry.bitwidth is not None:
        choice = replace(choice, weight_bits=entry.bitwidth, activation_bits=entry.bitwidth)
    if entry.mode is not None and entry.mode != default.method:
        try:
            calibrations.get(entry.mode)
        except ConfigError as error:
            raise ConfigError(f"{origin}.mode: {error}") from None
        choice = replace(choice, method=entry.mode, options={})
    return Rule(choice, entry.op_names, entry.op_types, origin)
