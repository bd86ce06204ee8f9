"""YOLOv3 with anchors, as first published (Redmon and Farhadi 2018).

cx = (sigmoid(x) + column) * stride, w = anchor * e^w. Rows that an export has decoded look the same for all
versions with anchors: they are read by this key too, but recognised as YOLOv5's.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from knight.tasks._decoders import Decoder
from knight.tasks._decoders._anchors import decode, fits_maps
from knight.tasks._decoders._numbers import sigmoid


def _form(logits: np.ndarray, cells: np.ndarray, anchors: np.ndarray, stride: int) -> np.ndarray:
    centres = (sigmoid(logits[..., :2]) + cells) * stride
    with np.errstate(over="ignore"):  # an infinite box is dropped by the suppression
        sides = np.exp(logits[..., 2:]) * anchors
    return np.concatenate([centres, sides], axis=-1)


decoder = Decoder(partial(decode, "yolov3", _form), fits_maps)
