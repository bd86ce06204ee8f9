"""``knight template``: print a script, run-config or chip file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from knight.errors import ConfigError, OutputError, did_you_mean

KINDS = ("script", "run-config", "chip")

EXAMPLE = """\b
Examples:
  knight template script -m net.onnx > infer_net.py
  knight template run-config -m net.onnx -o net.json
  knight template run-config --schema > run_config.schema.json
  knight template chip -o my_chip.toml
"""


def run(kind: str, model: str | None, output: str | None, schema: bool) -> None:
    """Print a file to adapt: a user script, a run-config or a chip.

    script: an infer function for the model's inputs, commented. run-config: the arguments of all steps, with
    ready-made picture data where the model takes pictures; --schema prints the JSON schema for editors
    instead. chip: a TOML file that extends a known family.
    """
    from knight.cli import _templates

    if kind not in KINDS:
        raise ConfigError(f"unknown template {kind!r}: {did_you_mean(kind, KINDS)}")
    if schema and kind != "run-config":
        raise ConfigError(f"--schema is for run-config; {kind} has none")
    if kind != "chip" and model is None and not schema:
        raise ConfigError("-m/--model is missing: name the ONNX model that the file is for")
    text = _templates.schema() if schema else _templates.TEMPLATES[kind](Path(model) if model else None)
    if output is None:
        click.echo(text, nl=False)
        return
    path = Path(output)
    if path.exists():
        raise OutputError(f"{path} is there already; name another file, or remove it first")
    from knight.files import write_file

    click.echo(f"Written: {write_file(path, text.encode())}")


command = click.Command(
    "template",
    params=[
        click.Argument(["kind"], metavar="|".join(KINDS)),
        click.Option(["-m", "--model", "model"], metavar="FILE", help="the ONNX model that the file is for"),
        click.Option(["-o", "--output", "output"], metavar="FILE", help="write to this new file"),
        click.Option(["--schema", "schema"], is_flag=True, help="run-config: print its JSON schema"),
    ],
    callback=run,
    help=run.__doc__,
    epilog=EXAMPLE,
)
