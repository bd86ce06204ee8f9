"""Which chip the user means: the first one named, else the remembered one, else Knight's default."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from knight.errors import ConfigError, OutputError
from knight.files import content
from knight.json_keys import parsed

_KEY = "default_chip"


def settings_file() -> Path:
    """Where the user's choices are remembered."""
    return Path(click.get_app_dir("knight")) / "settings.json"


def chosen_chip(context: click.Context, own: tuple[str, ...]) -> str:
    """The chip for a subcommand that was given `own`; those given before the subcommand come first."""
    from knight.targets import DEFAULT_CHIP

    before: tuple[str, ...] = context.obj or ()
    return next(iter((*before, *own)), None) or remembered_chip() or DEFAULT_CHIP


def remembered_chip() -> str | None:
    """The user's default chip. Raises ConfigError when the file that holds it cannot be used."""
    path = settings_file()
    if not path.exists():
        return None
    again = "; choose again with --default-chip"
    try:
        document = parsed(content(path), f"{path}: ", after=again)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}){again}") from error
    chip = document.get(_KEY) if isinstance(document, dict) else None
    if not isinstance(chip, str):
        raise ConfigError(f"{path}: cannot be read (it names no {_KEY}){again}")
    return chip


def remember_chip(name: str) -> str:
    """Makes `name` the user's default; returns it as it is spelt. Raises ConfigError for an unknown chip."""
    from knight.targets import load_target

    target = load_target(name)
    chip = str(Path(name).resolve()) if name.lower().endswith(".toml") else target.chip
    path = settings_file()
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps({_KEY: chip}) + "\n", "utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"cannot remember the chip in {path}: {error.strerror}") from error
    return chip
