"""OpenCV as the source framework: up to version 4 it reads Caffe's files by itself, and computes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters import Conversion, Feeds, Source
from knight.converters.caffe._net import Net
from knight.errors import ModelError

_INSTALL = 'pip install "opencv-python-headless<5"'


def with_reference(
    model: ir.Model, net: Net, places: Mapping[str, tuple[str, int]], source: Source
) -> Conversion:
    """`model` with OpenCV beside it, or why not.

    places: the layer's name and the number of its top, by the name of the value in `model`.
    """
    try:
        import cv2
    except ImportError:
        return Conversion(
            model, None, unproven=f"OpenCV, which runs Caffe's files, is not installed: {_INSTALL}"
        )
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        return Conversion(
            model, None, unproven=f"OpenCV {cv2.__version__} no longer reads Caffe's files: {_INSTALL}"
        )
    runner = _Runner(cv2, source, net, places)
    outputs = [str(value.name) for value in model.graph.outputs]
    try:
        zeros = {name: np.zeros(shape, np.float32) for name, shape in net.inputs.items()}
        runner.run(zeros, outputs)
    except cv2.error as error:
        return Conversion(model, None, unproven=f"OpenCV cannot run this net: {_reason(error)}")

    detectors = {layer.name for layer in net.layers if layer.type == "DetectionOutput"}
    detections = {name for name, (layer, _) in places.items() if layer in detectors}

    def run(feeds: Feeds, names: Sequence[str]) -> list[np.ndarray]:
        try:
            found = runner.run(feeds, names)
            batch = len(next(iter(feeds.values())))
            return [
                _as_caffe_orders(array, batch) if name in detections else array
                for name, array in zip(names, found, strict=True)
            ]
        except cv2.error as error:
            raise ModelError(f"OpenCV cannot run this net on these inputs: {_reason(error)}") from error

    def reference(feeds: Feeds) -> list[np.ndarray]:
        return run(feeds, outputs)

    def probe(feeds: Feeds, names: Sequence[str]) -> dict[str, np.ndarray]:
        known = [name for name in names if name in places]
        return dict(zip(known, run(feeds, known), strict=True)) if known else {}

    return Conversion(model, reference, probe=probe)


def _as_caffe_orders(rows: np.ndarray, batch: int) -> np.ndarray:
    """Detections [1, 1, rows, 7] by picture, label and falling score, without OpenCV's empty rows."""
    found = rows.reshape(-1, 7)
    found = found[found.any(axis=1)]
    if not len(found):
        found = np.full((batch, 7), -1, np.float32)
        found[:, 0] = np.arange(batch)
    order = np.lexsort((-found[:, 2], found[:, 1], found[:, 0]))
    return found[order][None, None]


class _Runner:
    """The net in OpenCV, layers unfused so that each blob can be asked for."""

    def __init__(self, cv2: Any, source: Source, net: Net, places: Mapping[str, tuple[str, int]]) -> None:
        self._cv2 = cv2
        self._files = (source.model, source.weights)
        self._prototxt = net.prototxt
        self._inputs = list(net.inputs)
        self._places = places
        self._net: Any = None

    def run(self, feeds: Feeds, names: Sequence[str]) -> list[np.ndarray]:
        """The values `names` for `feeds`. Raises cv2.error."""
        level = self._cv2.utils.logging.setLogLevel(self._cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            if self._net is None:
                self._net = self._read()
                self._net.enableFusion(False)
            for name in self._inputs:
                self._net.setInput(np.ascontiguousarray(feeds[name], np.float32), name)
            pins = [_pin(*self._places[name]) for name in names]
            return [np.array(array) for array in self._net.forward(pins)]
        finally:
            self._cv2.utils.logging.setLogLevel(level)

    def _read(self) -> Any:
        """The files as they are, unless they have layers of other phases: OpenCV would keep those."""
        if self._prototxt is None:
            return self._cv2.dnn.readNetFromCaffe(*self._files)
        contents = (self._prototxt.encode(), Path(str(self._files[1])).read_bytes())
        return self._cv2.dnn.readNetFromCaffe(*(np.frombuffer(content, np.uint8) for content in contents))


def _pin(layer: str, top: int) -> str:
    """How OpenCV calls a result of a layer: by its number, after a dot, from the second on."""
    return f"{layer}.{top}" if top else layer


def _reason(error: Exception) -> str:
    """What OpenCV says, in one line without its file names."""
    text = " ".join(str(error).split())
    kind = re.search(r'Can\'t create layer "([^"]*)" of type "([^"]*)"', text)
    if kind:
        return f"it has no layer of type {kind[2]} ({kind[1]})"
    return re.sub(r"^OpenCV\([^)]*\) \S+ error: ", "", text)
