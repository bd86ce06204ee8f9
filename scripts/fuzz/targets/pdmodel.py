"""Programs of Paddle 2 (protobuf), read as data before Paddle loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knight.converters import Source
from knight.converters.paddle._files import find_files
from knight.converters.paddle._framework import _read_description
from knight.listener import SILENT
from scripts.fuzz.mutators.protobuf import Protobuf
from scripts.fuzz.targets import Target, written


def run(data: bytes, folder: Path) -> None:
    """Finds out what the file is, and what its parameters and outputs are."""
    path = written(folder, "model.pdmodel", data)
    find_files(Source(str(path)), SILENT)
    _read_description(path)


def _program() -> Any:
    from paddle.base.proto import framework_pb2

    return framework_pb2.ProgramDesc  # type: ignore[attr-defined]


target = Target(run, Protobuf(_program), modules=("paddle",), model=True)
