"""Labels that the float model made itself, because the user has none: where they are, how to know them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from knight.files import write_file
from knight.tasks._config import InputConfig

_MARK = "made_by_the_float_model.txt"
_TEXT = (
    "The labels in this folder are the float model's own answers. Runs that find this file make them anew.\n"
)


def place_of(config: InputConfig) -> Path:
    """The folder for labels: `label_dir`, else ``labels`` beside the pictures."""
    return Path(config.label_dir) if config.label_dir else Path(config.data_dir).resolve().parent / "labels"


def is_own(place: Path) -> bool:
    """The labels in `place` were made by a float model."""
    return (place / _MARK).is_file()


def mark(place: Path, files: Mapping[str, str]) -> None:
    """Writes label files by name, and says whose they are. Raises OutputError."""
    for name, text in files.items():
        write_file(place / name, text.encode())
    write_file(place / _MARK, _TEXT.encode())
