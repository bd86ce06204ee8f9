"""YOLOX: one output [B, N, 5 + classes] for strides 8, 16, 32 whose boxes are left to decode.

As published (Megvii-BaseDetection/YOLOX, demo_postprocess): cx = (x + column) * stride, w = e^w * stride.
Objectness and classes have gone through their sigmoid in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._exported import decode_exported, is_exported
from knight.tasks._decoders._grids import Grid, corners_and_strides, grids_of_places

LEVELS = ((8, 16, 32), (8, 16, 32, 64))  # the second with --p6


def _grids(shapes: Sequence[Shape], detector: Detector) -> list[Grid] | None:
    return grids_of_places(shapes[0][1], detector.size, LEVELS) if is_exported(shapes, detector) else None


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    grids = _grids([output.shape for output in outputs], detector)
    if grids is None:
        raise cannot_read("yolox", "one output [B, N, 5 + nc] of one row per cell", outputs, detector)
    cells, strides = corners_and_strides(grids)
    rows = outputs[0].astype(np.float64)
    rows[..., :2] = (rows[..., :2] + cells) * strides
    with np.errstate(over="ignore"):  # an infinite box is dropped by the suppression
        rows[..., 2:4] = np.exp(rows[..., 2:4]) * strides
    return decode_exported(rows, detector)


decoder = Decoder(_decode, lambda shapes, detector: _grids(shapes, detector) is not None)
