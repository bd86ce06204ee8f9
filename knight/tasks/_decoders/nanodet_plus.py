"""NanoDet-Plus: one output of rows [B, N, classes + 4 * 8] for strides 8, 16, 32, 64.

A row is class probabilities and the logits of 8 bins for each of l, t, r, b in cells. As published
(RangiLyu/nanodet, since 1.0): left = (column - l) * stride, from the corner of the cell and not its middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._grids import Grid, corners_and_strides, grids_of_places
from knight.tasks._decoders._numbers import around, best_of_each_place, expected_distances

BINS = 8
LEVELS = ((8, 16, 32, 64), (8, 16, 32))


def _grids(shapes: Sequence[Shape], detector: Detector) -> list[Grid] | None:
    if [len(shape) for shape in shapes] != [3]:
        return None
    classes = shapes[0][2] - 4 * BINS
    if classes < 1 or detector.classes not in (None, classes):
        return None
    return grids_of_places(shapes[0][1], detector.size, LEVELS)


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    grids = _grids([output.shape for output in outputs], detector)
    if grids is None:
        raise cannot_read("nanodet_plus", f"one output [B, N, nc + {4 * BINS}]", outputs, detector)
    classes, boxes = np.split(outputs[0], [outputs[0].shape[2] - 4 * BINS], axis=2)
    corners, strides = corners_and_strides(grids)
    xyxy = around(corners, expected_distances(boxes)) * strides
    return best_of_each_place(xyxy, classes, detector.confidence)


decoder = Decoder(_decode, lambda shapes, detector: _grids(shapes, detector) is not None)
