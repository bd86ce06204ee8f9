"""ONNX itself: the file is read, checked and tidied like every other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knight import model as models
from knight.converters import Conversion, Converter, Feeds, Source
from knight.listener import Listener
from knight.runner import Session


def convert(source: Source, listener: Listener) -> Conversion:
    """The model as it is, with ONNX Runtime on the untouched file as its reference."""
    model = models.load(source.model)
    session = Session(Path(source.model), level="none")

    def reference(feeds: Feeds) -> list[np.ndarray]:
        return session.run(feeds)

    return Conversion(model=model, reference=reference)


converter = Converter(
    title="ONNX", extra="onnx", modules=("onnx",), verb="Onnx", flags=frozenset(), convert=convert
)
