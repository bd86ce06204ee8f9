"""The entry of ``input-configs`` of a task with keys of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from knight import schema
from knight.errors import ConfigError, DataError, did_you_mean
from knight.executor import Executor
from knight.tasks._config import InputConfig, Pictures, Source, preset
from knight.tasks._own_labels import given_labels, renews

WHERE = "input-configs[0]"
E = TypeVar("E", bound=Source)


def read_entry(entries: Sequence[Mapping[str, Any]], kind: type[E]) -> E:
    """The only entry, as a `kind`; what is null is left out.

    Of a preset, what it says of pictures is taken. Raises ConfigError naming the key.
    """
    if len(entries) != 1:
        raise ConfigError(
            f"{kind.reader} reads one entry of input-configs, an object of keys and values such as data_dir; "
            f"there are {len(entries)}: name them with --input-configs or in the run-config"
        )
    entry: Any = entries[0]
    if isinstance(entry, Mapping):
        known = {} if entry.get("preset") is None else preset(str(entry["preset"]))
        pictures = set(Pictures.__struct_fields__) - set(Source.__struct_fields__)
        supplied = {key: known[key] for key in pictures & known.keys() & set(kind.__struct_fields__)}
        given = {key: value for key, value in entry.items() if key != "preset" and value is not None}
        entry = supplied | given
    return schema.read(entry, kind, path=WHERE, lenient=True)


def output_of(executor: Executor, name: str | None) -> int:
    """The place of the output called `name`, the first by default. Raises ConfigError for another name."""
    if name is None:
        return 0
    if name not in executor.output_node_list:
        known = did_you_mean(name, executor.output_node_list)
        raise ConfigError(f"{WHERE}.output: the model has no output {name!r}: {known}")
    return executor.output_node_list.index(name)


def without_nan(output: np.ndarray, name: str) -> np.ndarray:
    """`output`, of the forward call on the sample called `name` and those after it.

    Raises DataError where it holds NaN: the greatest number of NaN and others is no answer.
    """
    if output.dtype.kind == "f" and np.isnan(output).any():
        raise DataError(
            f"{name}: the output holds {int(np.isnan(output).sum())} NaN of {output.size} numbers for this "
            f"sample or one in its batch, so there is no metric"
        )
    return output


def label_folder(executor: Executor, config: InputConfig) -> Path | None:
    """The folder of labels; None where there are none, or where this pass makes them anew.

    Raises DataError where `label_dir` is not there.
    """
    place = given_labels(config)
    if place is None or renews(executor, config):
        return None
    if not place.is_dir():
        raise DataError(f"{place}: there is no such folder of labels; label_dir names it")
    return place if any(path.name[0] != "." for path in place.iterdir()) else None


def paired(pictures: Sequence[Path], labels: Sequence[Path], folder: Path, what: str) -> dict[Path, Path]:
    """The file among `labels`, which are in `folder`, that has the stem of each of `pictures`.

    Raises DataError naming a picture without one, and labels that share a stem.
    """
    found: dict[str, Path] = {}
    for path in labels:
        if path.stem in found:
            raise DataError(f"{path}: {found[path.stem].name} has the same stem; keep one {what} per stem")
        found[path.stem] = path
    missing = [path for path in pictures if path.stem not in found]
    if missing:
        raise DataError(
            f"{folder}: no {what} called {missing[0].stem} for {missing[0].name} "
            f"({len(missing)} of {len(pictures)} pictures have none)"
        )
    return {path: found[path.stem] for path in pictures}
