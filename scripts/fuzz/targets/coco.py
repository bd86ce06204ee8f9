"""JSON of labels: COCO's boxes, and vocabularies."""

from __future__ import annotations

from pathlib import Path

from knight.tasks._labels import box_labels
from knight.tasks._transcripts import read_vocabulary
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target, each, written
from scripts.fuzz.targets._pictures import SIZE, pictures


def run(data: bytes, folder: Path) -> None:
    """As both."""
    shown = pictures(folder)
    file = written(folder, "labels.json", data)
    sizes = dict.fromkeys(shown, SIZE)
    each(
        lambda: box_labels(file, shown, sizes, None),
        lambda: box_labels(file, shown, sizes, 2),
        lambda: read_vocabulary(str(file), "input-configs[0].vocabulary"),
    )


target = Target(run, Json())
