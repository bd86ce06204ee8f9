"""Classification: top-1 and top-5 over a folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from knight.errors import DataError
from knight.executor import Executor
from knight.tasks import _own_labels
from knight.tasks._batches import batches, chosen, picture_input
from knight.tasks._config import InputConfig
from knight.tasks._labels import class_labels
from knight.tasks._pictures import find_pictures

_FILE = "labels.txt"


def classify(executor: Executor, config: InputConfig) -> float | None:
    """Top-1 accuracy as a fraction, None without `calculate_acc`. Top-5 is said as well.

    Without labels the float model's answers become the labels, in ``labels`` beside the pictures.
    """
    wanted = picture_input(executor)
    pictures = chosen(executor, find_pictures(Path(config.data_dir)), wanted)
    labels: dict[Path, int] | None = None
    answers: dict[Path, list[int]] = {}
    for group, numbers in batches(pictures, wanted, config.preparation):
        scores = _scores(executor.forward(numbers)[0], numbers.shape[0])
        if config.measure and not answers:  # before the long way through the pictures
            labels = _labels(executor, config, pictures, scores.shape[1])
        for one, best in zip(group, _best(scores), strict=False):
            answers[one.path] = best
        if executor.early_stop_flag and not config.measure:
            break
    if not config.measure:
        return None
    if labels is not None:
        return _measured(executor, answers, labels)
    if executor.is_float:
        return _become_labels(executor, config, answers)
    _own_labels.say_none(executor, config)
    return None


def _scores(output: np.ndarray, batch: int) -> np.ndarray:
    """[batch, classes]"""
    shape = np.shape(output)
    if int(np.prod(shape)) % batch or int(np.prod(shape)) // batch < 2:
        raise DataError(
            f"the first output is {list(shape)} for {batch} picture(s); a classifier has a number per class"
        )
    return np.asarray(output).reshape(batch, -1)


def _best(scores: np.ndarray) -> list[list[int]]:
    """The five best classes of each row, best first; -1, which is no class, where the score is no number."""
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    known = ~np.isnan(np.take_along_axis(scores, ranked, axis=1))
    best: list[list[int]] = np.where(known, ranked, -1).tolist()
    return best


def _labels(
    executor: Executor, config: InputConfig, pictures: Sequence[Path], classes: int
) -> dict[Path, int] | None:
    """The labels that are there; None where the float model's answers are to become them."""
    folder = Path(config.data_dir)
    if config.label_dir is None:
        found = class_labels(folder, None, pictures, classes)
        if found is not None:
            return found
    place = _own_labels.given_labels(config)
    found = None
    if place is not None and not _own_labels.renews(executor, config):
        found = class_labels(folder, place, pictures, classes)
    if found is None and executor.is_float:
        _own_labels.check_place(_own_labels.place_of(config))
    return found


def _measured(executor: Executor, answers: dict[Path, list[int]], labels: dict[Path, int]) -> float:
    first = sum(best[0] == labels[path] for path, best in answers.items()) / len(answers)
    fifth = sum(labels[path] in best for path, best in answers.items()) / len(answers)
    executor.say(f"top-1 {first:.2%}, top-5 {fifth:.2%} of {len(answers)} pictures")
    return first


def _become_labels(executor: Executor, config: InputConfig, answers: dict[Path, list[int]]) -> float:
    place, folder = _own_labels.place_of(config), Path(config.data_dir)
    lines = [f"{path.relative_to(folder).as_posix()} {best[0]}\n" for path, best in answers.items()]
    _own_labels.write(place, {_FILE: "".join(lines)})
    executor.say(f"no labels: the float model's answers are taken for them, kept in {place / _FILE}")
    return 1.0
