"""``knight build``: run every step of a run-config, one after the other."""

from __future__ import annotations

from typing import Any

import click

from knight.cli import _chain
from knight.cli._command import CHIP, FlagCommand
from knight.cli._flags import Flag
from knight.cli._run_config import (
    ELSEWHERE,
    SECTIONS,
    STEPS,
    named,
    parameter,
    read_document,
    section_values,
)
from knight.cli._words import check_dashes
from knight.errors import ConfigError, did_you_mean
from knight.json_keys import parsed

EXAMPLE = """\b
Examples:
  knight build --run-config net.json
  knight build --run-config net.json --quant.quant-mode mse --quant.iteration 200
  knight build --run-config net.json --compare.fail-under-cos 0.98 --quant.mean 123.7 116.3 103.5
"""

OWN = (
    Flag(("--disable-compare",), "", "leave out the compare section", bool, False),
    Flag(
        ("--disable-model-check",), "", "the vendor's check against its simulator; not done here", bool, False
    ),
)
"""Keys of the section `build`."""


def run(arguments: tuple[str, ...], run_config: str, chip: tuple[str, ...]) -> None:
    """Run what a run-config has sections for: convert, quant, compare, infer, in this order.

    --SECTION.KEY VALUE overrides a value of the file, or adds one; lists of objects are JSON text. A step
    takes from those before it what its section does not say: quant the converted model; compare and infer
    the models, the script and the data of quant. The first step that fails ends the build with its exit
    code. Sections for the vendor's compiler are skipped with a warning. Relative paths start at the current
    folder.
    """
    context = click.get_current_context()
    context.obj = (*(context.obj or ()), *chip)
    document = read_document(run_config)
    for section, key, value in _overrides(arguments):
        _override(document, section, key, value)
    for section in ELSEWHERE:
        if section in document:
            click.echo(f"  warning: {section}: needs the vendor's own tools; skipped")
    steps = _steps(document, f"{named(run_config)}: ")
    contexts = [
        _command(step).make_context(step, [], parent=context, default_map=values)
        for step, values in steps.items()
    ]  # all of them before the first runs, so that a mistake costs no time
    for inner in contexts:
        click.echo(f"== {inner.info_name}")
        with inner:
            inner.command.invoke(inner)


def _overrides(arguments: tuple[str, ...]) -> list[tuple[str, str, Any]]:
    """(section, key, value) of ``--section.key value ...``; a key without a value is true."""
    found: list[tuple[str, str, Any]] = []
    words = list(arguments)
    check_dashes(words, ("-rc", "--run-config", "-ch", "--chip"), [f"--{section}." for section in SECTIONS])
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        section, dot, key = name.partition(".")
        if not word.startswith("--") or not dot or not key:
            raise ConfigError(f"{word!r}: build takes --SECTION.KEY VALUE, such as --quant.bit-width 8")
        values = [value] if equals else []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        items = [_json(item, f"--{section}.{key}") for item in values]
        found.append((section, key, True if not items else items[0] if len(items) == 1 else items))
    return found


def _json(text: str, where: str) -> Any:
    """A value of an override: JSON where it begins like a list or an object, else the text."""
    if not text.startswith(("[", "{")):
        return text
    return parsed(text, f"{where}: ", after="; a path may begin with ./")


def _override(document: dict[str, Any], section: str, key: str, value: Any) -> None:
    """Puts the value in, whichever way its key is spelt in the file. Raises ConfigError for a wrong one."""
    known = [name for name in SECTIONS if name != "chip"]
    if section not in known:
        raise ConfigError(f"--{section}.{key}: unknown section: {did_you_mean(section, known)}")
    if section not in ELSEWHERE:
        section_values({key: value}, section, _flags(section), "--")
    values = document.setdefault(section, {})
    for other in [name for name in values if parameter(name) == parameter(key)]:
        del values[other]
    values[key] = value


def _steps(document: dict[str, Any], before: str) -> dict[str, dict[str, Any]]:
    """Step -> its parameters, in the order in which they run. Raises ConfigError for what is wrong in any."""
    own = section_values(document.get("build", {}), "build", OWN, before)
    found = {
        step: section_values(document[step], step, _flags(step), before)
        for step in STEPS
        if step in document and not (step == "compare" and own.get("disable_compare"))
    }
    if not found:
        raise ConfigError(f"{before}has no section of {', '.join(STEPS)} to run")
    _chain.fill(found)
    if document.get("chip") is not None:
        for values in found.values():
            values["chip"] = [document["chip"]]
    return found


def _flags(section: str) -> tuple[Flag, ...]:
    return OWN if section == "build" else _command(section).flags


def _command(step: str) -> FlagCommand:
    from knight.cli import commands

    command = commands.get(step)
    assert isinstance(command, FlagCommand)
    return command


command = click.Command(
    "build",
    params=[
        click.Option(
            ["-rc", "--run-config", "run_config"], required=True, metavar="FILE", help="the run-config (JSON)"
        ),
        CHIP,
        click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[--SECTION.KEY VALUE]..."),
    ],
    callback=run,
    help=run.__doc__,
    epilog=EXAMPLE,
    context_settings={"ignore_unknown_options": True},
    options_metavar="--run-config FILE",
)
