"""TFLite files, checked before the interpreter reads them."""

from __future__ import annotations

from pathlib import Path

from knight.converters.tensorflow._tflite import _check
from knight.formats import hint
from scripts.fuzz.mutators.raw import Bytes
from scripts.fuzz.targets import Target, written


def run(data: bytes, folder: Path) -> None:
    """What the file is, and whether its operators are allowed."""
    path = written(folder, "model.tflite", data)
    hint(path, "onnx")
    _check(path)


target = Target(run, Bytes(), modules=("tensorflow",), model=True)
