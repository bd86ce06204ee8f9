"""TensorFlow: frozen graphs, SavedModels, Keras files and TFLite, by tf2onnx under the source's names.

Everything but TFLite is brought to one form, a frozen GraphDef between named tensors, which TensorFlow itself
runs beside the result.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from knight.converters import Conversion, Converter, Source
from knight.errors import ModelError
from knight.listener import Listener

if TYPE_CHECKING:
    from knight.converters.tensorflow._graph import Graph

_TFLITE = b"TFL3"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK"


def convert(source: Source, listener: Listener) -> Conversion:
    """Raises KnightError naming the file, tensor, layer or operator that does not fit."""
    path = Path(source.model)
    if not path.exists():
        raise ModelError(f"model {path}: no such file or folder")
    _quiet()
    head = path.read_bytes()[:8] if path.is_file() else b""
    if head[4:8] == _TFLITE:
        from knight.converters.tensorflow._tflite import convert_tflite

        return convert_tflite(path, source, listener)
    from knight.converters.tensorflow._export import convert_graph

    return convert_graph(_load(path, head, source, listener), source, listener)


def _load(path: Path, head: bytes, source: Source, listener: Listener) -> Graph:
    from knight.converters.tensorflow import _frozen, _keras, _saved_model

    if path.is_dir():
        return _saved_model.load(path, source, listener)
    if head.startswith(_HDF5) or head.startswith(_ZIP):
        return _keras.load(path, source)
    return _frozen.load(path, source)


def _quiet() -> None:
    """TensorFlow's own log goes no further than errors; its switch is an environment variable."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    for name in ("tensorflow", "absl", "tf2onnx", "h5py"):
        logging.getLogger(name).setLevel(logging.ERROR)


converter = Converter(
    title="TensorFlow",
    extra="tensorflow",
    modules=("tensorflow", "tf2onnx"),
    verb="Tensorflow",
    flags=frozenset({"start_nodes", "end_nodes", "nchw", "input_shapes"}),
    convert=convert,
)
