"""Texts of labels: classes and boxes of pictures, labels of samples, vocabularies, own label files."""

from __future__ import annotations

from pathlib import Path

from knight.tasks._config import InputConfig
from knight.tasks._labels import box_labels, class_labels
from knight.tasks._named_labels import class_of, read_labels
from knight.tasks._own_labels import _earlier, given_labels
from knight.tasks._samples import Sample
from knight.tasks._transcripts import error_rates, read_vocabulary
from scripts.fuzz.mutators.raw import Text
from scripts.fuzz.targets import Target, each, written
from scripts.fuzz.targets._pictures import SIZE, pictures


def run(data: bytes, folder: Path) -> None:
    """As each kind of text."""
    shown = pictures(folder)
    file = written(folder, "labels.txt", data)
    boxes, own = folder / "boxes", folder / "own"
    boxes.mkdir()
    own.mkdir()
    for name in ("a.txt", "classes.txt"):
        written(boxes, name, data)
    written(own, "made_by_the_float_model.txt", data)
    samples = [Sample(path.name, {}) for path in shown]
    sizes = dict.fromkeys(shown, SIZE)

    def classes() -> None:
        for label, where in read_labels(file, samples, texts=False).values():
            class_of(label, where, ("cat", "dog"))

    def texts() -> None:
        truth = [text for text, _ in read_labels(file, samples, texts=True).values()]
        if any(text.split() for text in truth):
            error_rates(truth, truth[::-1])

    each(
        lambda: class_labels(shown[0].parent, file, shown, 10),
        lambda: class_labels(shown[0].parent, file, shown),
        lambda: box_labels(boxes, shown, sizes, 10),
        lambda: box_labels(boxes, shown, sizes, None),
        classes,
        texts,
        lambda: read_vocabulary(str(file), "input-configs[0].vocabulary"),
        lambda: (_earlier(own), given_labels(InputConfig(str(folder), label_dir=str(own)))),
    )


target = Target(run, Text())
