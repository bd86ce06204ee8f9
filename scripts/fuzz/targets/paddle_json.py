"""Programs of Paddle 3 (JSON), read as data before Paddle loads them."""

from __future__ import annotations

from pathlib import Path

from knight.converters import Source
from knight.converters.paddle._files import find_files
from knight.converters.paddle._framework import _read
from knight.converters.paddle._shapes import check_shapes
from knight.listener import SILENT
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target, written


def run(data: bytes, folder: Path) -> None:
    """All that is asked of a program before it runs."""
    path = written(folder, "model.json", data)
    files = find_files(Source(str(path)), SILENT)
    if files.kind != "pir":
        return
    program = _read(path, path)
    check_shapes(program, [[max(1, size) for size in shape] for shape in program.inputs.values()], SILENT)
    _ = program.parameters, program.outputs
    program.with_float_attributes().write(folder / "again.json")


target = Target(run, Json(), model=True)
