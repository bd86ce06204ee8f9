"""YOLOv5, and YOLOv3, v4 and v7 in the form that Ultralytics and WongKinYiu gave them.

As published: cx = (2 sigmoid(x) - 0.5 + column) * stride, w = anchor * (2 sigmoid(w))^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from knight.tasks._decoders import Decoder, Detector, Shape
from knight.tasks._decoders._anchors import decode, fits_maps
from knight.tasks._decoders._exported import is_exported
from knight.tasks._decoders._grids import grids_of_places
from knight.tasks._decoders._numbers import sigmoid


def _form(logits: np.ndarray, cells: np.ndarray, anchors: np.ndarray, stride: int) -> np.ndarray:
    halves = sigmoid(logits)
    centres = (2 * halves[..., :2] - 0.5 + cells) * stride
    return np.concatenate([centres, (2 * halves[..., 2:]) ** 2 * anchors], axis=-1)


def _fits(shapes: Sequence[Shape], detector: Detector) -> bool:
    if is_exported(shapes, detector):  # one place per cell is the mark of those without anchors
        return grids_of_places(shapes[0][1], detector.size) is None
    return fits_maps(shapes, detector)


decoder = Decoder(partial(decode, "yolov5", _form), _fits)
