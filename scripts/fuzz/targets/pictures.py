"""Pictures and masks: read, and brought to the size of a model's input in each of the ways there are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from knight.tasks._batches import PictureInput, prepare
from knight.tasks._config import Preparation
from knight.tasks._masks import load_mask
from knight.tasks._pictures import find_pictures, load_picture, picture_size
from scripts.fuzz.mutators.raw import Bytes
from scripts.fuzz.targets import Target, each, written

_INPUT = PictureInput("x", (24, 32), 3, False, 1, np.dtype(np.float32))
_WAYS = (
    Preparation("RGB", (1.0,), (2.0,), "squash", interpolation="bicubic"),
    Preparation(resize="crop", shorter=30, interpolation="area"),
    Preparation(resize="letterbox"),
)


def run(data: bytes, folder: Path) -> None:
    """The name says nothing of the content: what a file holds decides."""
    written(folder, "a.png", data)
    (path,) = find_pictures(folder)
    each(
        lambda: picture_size(path),
        lambda: load_picture(path),
        lambda: load_mask(path),
        *(partial(prepare, path, _INPUT, way) for way in _WAYS),
    )


target = Target(run, Bytes(), modules=("PIL",))
