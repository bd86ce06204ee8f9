"""Classification: top-1 and top-5 over a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knight.errors import DataError
from knight.executor import Executor
from knight.tasks._batches import batches, picture_input
from knight.tasks._config import InputConfig
from knight.tasks._labels import class_labels
from knight.tasks._own_labels import is_own, mark, place_of
from knight.tasks._pictures import find_pictures

_FILE = "labels.txt"


def classify(executor: Executor, config: InputConfig) -> float | None:
    """Top-1 accuracy as a fraction, None without `calculate_acc`. Top-5 is said as well.

    Without labels the float model's answers become the labels, in ``labels`` beside the pictures.
    """
    folder = Path(config.data_dir)
    pictures = find_pictures(folder)
    wanted = picture_input(executor)
    labels = _labels(config, folder, pictures, executor) if config.measure else None
    answers: dict[Path, int] = {}
    first = fifth = seen = 0
    for group, numbers in batches(executor, pictures, wanted, config.preparation):
        scores = _scores(executor.forward(numbers)[0], numbers.shape[0])[: len(group)]
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        for one, row in zip(group, ranked, strict=True):
            answers[one.path] = int(row[0])
            if labels:
                label = labels[one.path]
                first += int(row[0]) == label
                fifth += label in row
                seen += 1
        if executor.early_stop_flag and not config.measure:
            break
    if not config.measure:
        return None
    if labels is None:
        _write(config, folder, answers, executor)
        return 1.0
    executor.say(f"top-1 {first / seen:.2%}, top-5 {fifth / seen:.2%} of {seen} pictures")
    return first / seen


def _scores(output: np.ndarray, batch: int) -> np.ndarray:
    """[batch, classes]"""
    scores = np.asarray(output).reshape(batch, -1)
    if scores.shape[1] < 2:
        raise DataError(
            f"the first output has {scores.shape[1]} number per picture; a classifier has one per class"
        )
    return scores


def _labels(
    config: InputConfig, folder: Path, pictures: list[Path], executor: Executor
) -> dict[Path, int] | None:
    """The labels that are there; None where the float model's answers are to become them."""
    place = place_of(config)
    if executor.is_float and is_own(place):
        return None
    if is_own(place):
        return class_labels(folder, place, pictures)
    return class_labels(folder, None if config.label_dir is None else Path(config.label_dir), pictures)


def _write(config: InputConfig, folder: Path, answers: dict[Path, int], executor: Executor) -> None:
    place = place_of(config)
    lines = [f"{path.relative_to(folder).as_posix()} {label}" for path, label in answers.items()]
    mark(place, {_FILE: "\n".join(lines) + "\n"})
    executor.say(f"no labels: the float model's answers are taken for them, kept in {place / _FILE}")
