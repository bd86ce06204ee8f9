"""Labels that the float model made itself, because the user has none: where they are, how to know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from knight.errors import OutputError
from knight.executor import Executor
from knight.files import content, write_file
from knight.tasks._config import InputConfig

_MARK = "made_by_the_float_model.txt"
_TEXT = "The float model's own answers, in the files named below. Runs that find this file make them anew."


def place_of(config: InputConfig) -> Path:
    """The folder for labels: `label_dir`, else ``labels`` beside the pictures."""
    return Path(config.label_dir) if config.label_dir else Path(config.data_dir).resolve().parent / "labels"


def is_own(place: Path) -> bool:
    """The labels in `place` were made by a float model."""
    return (place / _MARK).is_file()


def given_labels(config: InputConfig) -> Path | None:
    """Where labels may be: `label_dir`, else ``labels`` beside the pictures if there is such a folder."""
    place = place_of(config)
    return place if config.label_dir or place.is_dir() else None


def renews(executor: Executor, config: InputConfig) -> bool:
    """This pass makes labels anew that an earlier float model left."""
    return executor.is_float and is_own(place_of(config))


def check_place(place: Path) -> None:
    """Raises OutputError where labels must not be written: there is something that no float model made."""
    if is_own(place) or not place.exists():
        return
    if not place.is_dir() or any(path.name[0] != "." for path in place.iterdir()):
        raise OutputError(
            f"{place}: the float model's answers would go there, but there is something else already; "
            f"name an empty folder in label_dir"
        )


def write(place: Path, files: Mapping[str, str | bytes]) -> None:
    """Writes label files by name in place of those of an earlier float model. Raises OutputError."""
    start(place, list(files))
    for name, made in files.items():
        write_file(place / name, made if isinstance(made, bytes) else made.encode())


def start(place: Path, names: Sequence[str]) -> None:
    """Removes what an earlier float model left and says that files of `names` will be this one's.

    Raises OutputError. For labels too large to be held together: each is then written when it is made.
    """
    check_place(place)
    for name in _earlier(place):
        (place / name).unlink(missing_ok=True)
    write_file(place / _MARK, "\n".join([_TEXT, *names, ""]).encode())


def _earlier(place: Path) -> list[str]:
    """Names of the files that an earlier float model left."""
    if not is_own(place):
        return []
    try:
        names = content(place / _MARK).decode("utf-8", "replace").split("\n")[1:]
    except OSError as error:
        raise OutputError(f"{place / _MARK}: cannot be read ({error.strerror}); remove it") from error
    return [name for name in names if name and Path(name).name == name]


def say_none(executor: Executor, config: InputConfig) -> None:
    """Tells the user that there is nothing to measure against."""
    executor.say(
        f"no labels in {config.label_dir or config.data_dir}, so there is no metric; "
        f"knight quant makes labels of the float model's answers"
    )
