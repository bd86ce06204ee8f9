"""The entry of ``input-configs`` of a task with keys of its own, checked against its table of keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from knight.errors import ConfigError, DataError, did_you_mean
from knight.executor import Executor
from knight.tasks import _values
from knight.tasks._config import COLOURS, INTERPOLATIONS, InputConfig, Preparation, preset
from knight.tasks._own_labels import given_labels, renews

SOURCE: dict[str, _values.Check] = {
    "data_dir": _values.text,
    "label_dir": _values.text,
    "calculate_acc": _values.switch,
}
"""What every task asks: where the data and labels are, and whether there is a metric (there is)."""

PICTURES: dict[str, _values.Check] = {
    "color_space": _values.one_of(COLOURS),
    "mean": _values.numbers,
    "std": _values.numbers,
    "interpolation": _values.one_of(INTERPOLATIONS),
    "fill": _values.pixel,
}
"""How pictures become the model's numbers, as for infer_default."""

WHERE = "input-configs[0]"


def read_entry(
    entries: Sequence[Mapping[str, Any]], task: str, keys: Mapping[str, _values.Check]
) -> dict[str, Any]:
    """The values of the only entry, by key; what is null is left out.

    Of a preset, what it says of pictures is taken. Raises ConfigError naming the key.
    """
    if len(entries) != 1:
        raise ConfigError(
            f"{task} reads one entry of input-configs, an object of keys and values such as data_dir; "
            f"there are {len(entries)}: name them with --input-configs or in the run-config"
        )
    entry = entries[0]
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{WHERE}: is {json.dumps(entry)}; it has to be an object of keys and values")
    given = {key: value for key, value in entry.items() if key != "preset" and value is not None}
    unknown = sorted(set(given) - set(keys))
    if unknown:
        raise ConfigError(f"{WHERE}.{unknown[0]}: unknown key for {task}: {did_you_mean(unknown[0], keys)}")
    supplied = {}
    if entry.get("preset") is not None:
        known = preset(str(entry["preset"])).items()
        supplied = {key: value for key, value in known if key in PICTURES and key in keys}
    checked = {key: keys[key](value, f"{WHERE}.{key}") for key, value in (supplied | given).items()}
    if "data_dir" not in checked:
        raise ConfigError(f"{WHERE}.data_dir is missing: name the folder of the data")
    return checked


def source(values: Mapping[str, Any], preparation: Preparation | None = None) -> InputConfig:
    """Where data and labels are, as the other parts take it. The metric is wanted unless refused."""
    return InputConfig(
        data_dir=values["data_dir"],
        label_dir=values.get("label_dir") or None,
        measure=values.get("calculate_acc", True),
        preparation=preparation or Preparation(),
    )


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
