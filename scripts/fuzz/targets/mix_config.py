"""Files of --mix-config."""

from __future__ import annotations

from pathlib import Path

from knight.mix_config import read_mix_config, rules_of
from knight.recipe import Choice
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target, written


def run(data: bytes, folder: Path) -> None:
    """The entries, and the rules that they state."""
    path = written(folder, "mix.json", data)
    rules_of(read_mix_config(path), Choice(), path)


target = Target(run, Json())
