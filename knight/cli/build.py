"""``knight build``: every step that a run-config has a section for, one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from knight.cli._run_config import ELSEWHERE, SECTIONS, STEPS, read_document
from knight.errors import ConfigError, did_you_mean

EXAMPLE = """\b
Examples:
  knight build --run-config net.json
  knight build --run-config net.json --quant.bit-width 8 --compare.fail-under-cos 0.98
"""


def run(arguments: tuple[str, ...], run_config: str) -> None:
    """Run what a run-config has sections for: convert, quant, compare, infer, in this order.

    --SECTION.KEY VALUE overrides a value of the file. Compare takes from the quant section what it does not
    say itself: the models, the script and the data. Sections for the vendor's compiler are skipped.
    """
    context = click.get_current_context()
    document = read_document(run_config)
    for section, key, value in _overrides(arguments):
        if section not in SECTIONS:
            raise ConfigError(f"--{section}.{key}: unknown section: {did_you_mean(section, SECTIONS)}")
        document.setdefault(section, {})[key] = value
    for section in ELSEWHERE:
        if section in document:
            click.echo(f"  warning: {section}: needs the vendor's own tools; skipped")
    steps = [step for step in STEPS if step in document]
    if not steps:
        raise ConfigError(f"{run_config}: has no section of {', '.join(STEPS)}; nothing to do")
    if "compare" in steps:
        document["compare"] = {**_from_quant(document.get("quant", {})), **document["compare"]}
    for step in steps:
        _run(context, step, document)


def _overrides(arguments: tuple[str, ...]) -> list[tuple[str, str, Any]]:
    """(section, key, value) of ``--section.key value ...``; a key without a value is true."""
    found: list[tuple[str, str, Any]] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        section, dot, key = word.removeprefix("--").partition(".")
        if not word.startswith("--") or not dot or not key:
            raise ConfigError(f"{word!r}: build takes --SECTION.KEY VALUE, such as --quant.bit-width 8")
        key, equals, value = key.partition("=")
        values = [value] if equals else []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        found.append((section, key, True if not values else values[0] if len(values) == 1 else values))
    return found


def _from_quant(quant: dict[str, Any]) -> dict[str, Any]:
    """What a comparison after a quantization takes from its section."""
    from knight.cli._flags import SAVE_DIR

    values = {key.replace("_", "-"): value for key, value in quant.items()}
    shared = (
        "model",
        "user-defined-script",
        "infer-func",
        "data",
        "iteration",
        "batch-size",
        "input-configs",
    )
    found = {key: values[key] for key in (*shared, "mean", "std") if key in values}
    if "model" in values:
        folder = Path(values.get("save-dir", SAVE_DIR))
        found["quantized"] = str(folder / f"{Path(values['model']).stem}_quantize.onnx")
    return found


def _run(context: click.Context, step: str, document: dict[str, Any]) -> None:
    """One step, as if the merged file had been given to its subcommand."""
    from knight.cli import commands
    from knight.cli._command import FlagCommand

    command = commands.get(step)
    assert isinstance(command, FlagCommand)
    click.echo(f"== {step}")
    with command.make_context(step, ["--run-config", json.dumps(document)], parent=context) as inner:
        command.invoke(inner)


command = click.Command(
    "build",
    params=[
        click.Option(
            ["-rc", "--run-config", "run_config"], required=True, metavar="FILE", help="the run-config (JSON)"
        ),
        click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED),
    ],
    callback=run,
    help=run.__doc__,
    short_help="Run every step of a run-config.",
    epilog=EXAMPLE,
    context_settings={"ignore_unknown_options": True},
    options_metavar="--run-config FILE [--SECTION.KEY VALUE]...",
)
