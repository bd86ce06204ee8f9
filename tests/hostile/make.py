"""Writes all hostile files into a folder, to be looked at: ``python -m tests.hostile.make FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.hostile import caffe_files, data_files, onnx_files, paddle_files, pytorch_files, tensorflow_files
from tests.hostile.case import SECRET, Hostile, Place

CASES: tuple[Hostile, ...] = (
    *onnx_files.CASES,
    *pytorch_files.CASES,
    *tensorflow_files.CASES,
    *paddle_files.CASES,
    *caffe_files.CASES,
    *data_files.CASES,
)


def make(case: Hostile, folder: Path) -> Place:
    """The files of `case` in a new folder below `folder`, beside a secret and the place of its marker."""
    base = folder / case.name.replace(" ", "-").replace("'", "")
    place = Place(base / "files", base / "elsewhere" / "marker", base / "elsewhere" / "secret")
    place.folder.mkdir(parents=True)
    place.marker.parent.mkdir()
    place.secret.write_bytes(SECRET)
    case.make(place)
    return place


def main(folder: Path) -> None:
    """Says for each what was made, and the command that opens it."""
    for case in CASES:
        place = make(case, folder)
        print(f"{case.name}: knight {' '.join(map(str, case.words(place.folder)))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
