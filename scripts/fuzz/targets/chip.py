"""Chips in TOML files."""

from __future__ import annotations

from pathlib import Path

from knight.targets import load_target
from scripts.fuzz.mutators.trees import Toml
from scripts.fuzz.targets import Target, written


def run(data: bytes, folder: Path) -> None:
    """With what it extends."""
    chip = load_target(str(written(folder, "chip.toml", data)))
    _ = chip.bits, chip.integer_operators, chip.weight_spec(8, 0), chip.activation_spec(8)


target = Target(run, Toml())
