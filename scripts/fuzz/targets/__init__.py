"""What is fuzzed: one file per reader, which defines ``target``; its seeds lie in ``seeds/`` under its name.

A target's `run` is handed an input and an empty folder; it writes the input down as its reader wants it and
calls the reader. Nothing of it may reach the network, and nothing outside of the folder is written.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from knight.errors import KnightError
from scripts.fuzz.mutators import Mutator

_HERE = Path(__file__).parent
SEEDS = _HERE.parent / "seeds"


@dataclass(frozen=True)
class Target:
    """One reader.

    mutate: how its inputs are changed. seeds: folder of its seeds, where that is another target's. modules:
    packages that have to be installed. model: a model file is read, and no user's script.
    """

    run: Callable[[bytes, Path], object]
    mutator: Mutator
    seeds: str = ""
    modules: tuple[str, ...] = ()
    model: bool = False


def names() -> list[str]:
    """All targets."""
    return sorted(file.stem for file in _HERE.glob("*.py") if not file.stem.startswith("_"))


def load(name: str) -> Target:
    """The target of this name; one with dots names a module of its own."""
    found: Target = importlib.import_module(name if "." in name else f"scripts.fuzz.targets.{name}").target
    return found


def seeds(name: str) -> list[bytes]:
    """Inputs to start from, smallest first."""
    files = sorted((SEEDS / (load(name).seeds or name)).iterdir())
    return sorted((file.read_bytes() for file in files), key=len)


def each(*calls: Callable[[], object]) -> None:
    """Makes all `calls`; then the first KnightError that one of them raised is raised.

    A message that is a finding goes first, so that no other reader's refusal hides it.
    """
    from scripts.fuzz._judge import kind_of

    refused: list[KnightError] = []
    for call in calls:
        try:
            call()
        except KnightError as error:
            refused.append(error)
    if refused:
        raise max(refused, key=lambda error: bool(kind_of(error)))


def written(folder: Path, name: str, data: bytes) -> Path:
    """A file of this content."""
    path = folder / name
    path.write_bytes(data)
    return path
