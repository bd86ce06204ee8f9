"""The graph of a SavedModel, checked before TensorFlow loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knight.converters.tensorflow._saved_model import _checked
from scripts.fuzz.mutators.protobuf import Protobuf
from scripts.fuzz.targets import Target, written


def run(data: bytes, folder: Path) -> None:
    """The copy that would be loaded is made."""
    written(folder, "saved_model.pb", data)
    clean = folder / "clean"
    clean.mkdir()
    _checked(folder, clean)


def _message() -> Any:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return SavedModel


target = Target(run, Protobuf(_message), modules=("tensorflow",), model=True)
