"""Keras files (.keras, .h5)."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from knight.converters import Source
from knight.converters.tensorflow._graph import Graph, frozen
from knight.converters.tensorflow._keras_files import check_archive, check_hdf5
from knight.converters.tensorflow._operators import check_graph
from knight.converters.tensorflow._scopes import recorded
from knight.errors import ModelError
from knight.executor import described
from knight.formats import hint, opened_archive

_HDF5 = b"\x89HDF"


def load(path: Path, source: Source) -> Graph:
    """Raises ModelError for other files, and where Keras cannot build the model."""
    import tensorflow as tf

    model = _model(path)
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"model {path}: it was saved before it was ever called, so that its inputs are not known; "
            f"call it once on data, then save it"
        )
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=_plain(tensor.name)) for tensor in model.inputs]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def call(*inputs: Any) -> Any:
        return model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    with recorded(model) as scopes:
        graph = frozen(call.get_concrete_function(*specs))
    check_graph(graph.graph.as_graph_def(), str(path))
    inputs = [tensor.name for tensor in graph.inputs]
    outputs = [tensor.name for tensor in graph.outputs]
    shown = {name: spec.name for name, spec in zip(inputs, specs, strict=True)}
    names = [_plain(tensor._keras_history.operation.name) for tensor in model.outputs]
    if len(names) == len(outputs) and len(set(names)) == len(names):
        shown.update(zip(outputs, names, strict=True))
    return Graph(graph.graph.as_graph_def(), inputs, outputs, shown, scopes)


def _plain(name: str) -> str:
    return name.partition(":")[0].replace("/", "_")


def _model(path: Path) -> Any:
    import keras

    if zipfile.is_zipfile(path):
        with opened_archive(path) as archive:
            if "config.json" not in archive.namelist():
                raise ModelError(f"model {path}: not a Keras file{hint(path, 'tensorflow')}")
            check_archive(archive, path)
        if path.suffix != ".keras":
            raise ModelError(f"model {path}: a Keras file has to be called .keras; rename it")
    else:
        check_hdf5(path, path)
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises what its layers raise
        raise ModelError(f"model {path}: {_explained(path, described(error))}") from error


def _explained(path: Path, told: str) -> str:
    """What went wrong and what to do, of Keras's own message."""
    if "No model config found" in told:
        return "it holds weights and no model; save the whole model (model.save) or export a SavedModel"
    if "`Lambda` layer" in told:
        return (
            "it has a Lambda layer, Python code that is not run from a file; export the model as a SavedModel"
        )
    unknown = re.search(r"(?:Could not locate|Unknown) (?:class|layer|object)[^.]*", told)
    unknown = unknown or re.search(r"<class '[^']+'> could not be deserialized", told)
    if unknown:
        own = "a layer of your own is not in the file: export the model as a SavedModel"
        return f"Keras cannot build it: {unknown[0]}; {own}"
    advice = "; an .h5 file cannot hold every layer: save the model as .keras, or export a SavedModel"
    with path.open("rb") as file:
        is_hdf5 = file.read(len(_HDF5)) == _HDF5
    return f"Keras cannot build it: {told[:300].rstrip('.')}{advice if is_hdf5 else ''}"
