"""Run-configs, as every subcommand reads its section, and as ``knight build`` reads them all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from knight.cli._inputs import input_configs
from knight.cli._run_config import STEPS, named, read_document, read_section
from knight.cli.build import _flags, _steps
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target, each, written


def run(data: bytes, folder: Path) -> None:
    """The file whole, then section by section, then the data that the sections name."""
    path = str(written(folder, "run.json", data))
    document = read_document(path)

    def section(step: str) -> None:
        values = read_section(path, step, _flags(step))
        if "input_configs" in values:
            input_configs(values["input_configs"])

    calls = [partial(section, step) for step in STEPS if step in document]
    each(*calls, lambda: _steps(document, f"{named(path)}: "))


target = Target(run, Json())
