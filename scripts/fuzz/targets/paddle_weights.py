"""Parameter files of Paddle (.pdiparams), checked before Paddle reads them."""

from __future__ import annotations

from pathlib import Path

from knight.converters.paddle._parameters import check_parameters
from scripts.fuzz.mutators.raw import Bytes
from scripts.fuzz.targets import Target, written

WANTED = {"b": (3,), "w": (3, 4)}
"""What the seed holds."""


def run(data: bytes, folder: Path) -> None:
    """As those of a program with two parameters."""
    check_parameters(written(folder, "model.pdiparams", data), WANTED)


target = Target(run, Bytes(), model=True)
