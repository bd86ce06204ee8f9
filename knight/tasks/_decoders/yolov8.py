"""YOLOv8 and v11, anchor-free: what the export decodes, or the heads' maps per level.

The export's one output is [B, 4 + classes, N]: cx, cy, w, h in pixels and class probabilities, without an
objectness; with the number of classes known also [B, N, 4 + classes]. Maps, one per level, have
4 * bins + classes channels, all logits (Ultralytics, Detect): left = (column + 0.5 - l) * stride, where l is
the mean of a distribution over 0, 1, 2 ... cells; 16 bins unless the number of classes says otherwise. A
model cut before the two are joined has maps of 64 and of `classes` channels; in Rockchip's export the
classes have gone through their sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._grids import corners_and_strides, grids_of_places
from knight.tasks._decoders._levels import LAYOUTS, Level, Pair, decode_pairs, pair_levels, read_levels
from knight.tasks._decoders._numbers import (
    around,
    best_of_each_place,
    corners,
    expected_distances,
    sigmoid,
)

BINS = 16
TOLERANCE = 0.02
"""How far a probability may be from 0..1 when it has been quantized."""


def _fits(shapes: Sequence[Shape], detector: Detector) -> bool:
    axis = _channel_axis(shapes, detector)
    if axis is not None:
        places = shapes[0][3 - axis]
        return grids_of_places(places, detector.size) is not None or (
            axis == 1 and detector.classes is not None
        )
    # maps of a head with anchors may have the same shapes: only the number of classes tells them apart
    heads = detector.classes is not None and _levels(shapes, detector) is not None
    return heads or _pairs(shapes, detector) is not None


def _channel_axis(shapes: Sequence[Shape], detector: Detector) -> int | None:
    """Where the one output has its 4 + classes numbers; None if it is not the export's."""
    if [len(shape) for shape in shapes] != [3]:
        return None
    if shapes[0][1] > 4 and detector.classes in (None, shapes[0][1] - 4):
        return 1
    return 2 if detector.classes is not None and shapes[0][2] == 4 + detector.classes else None


def _levels(shapes: Sequence[Shape], detector: Detector) -> list[Level] | None:
    if len(shapes) < 2 or any(len(shape) != 4 for shape in shapes):
        return None
    for layout in LAYOUTS:
        levels = read_levels(shapes, detector.size, layout) or []
        strides = {level.grid.stride for level in levels}
        if levels and len(strides) == len(levels) and _box_channels(levels, detector) is not None:
            return sorted(levels, key=lambda level: level.grid.stride)
    return None


def _box_channels(levels: Sequence[Level], detector: Detector) -> int | None:
    channels = levels[0].channels
    boxes = 4 * BINS if detector.classes is None else channels - detector.classes
    alike = all(level.channels == channels for level in levels)
    return boxes if alike and boxes % 4 == 0 and 4 < boxes < channels else None


def _pairs(shapes: Sequence[Shape], detector: Detector) -> list[Pair] | None:
    return pair_levels(shapes, detector, lambda channels: channels == 4 * BINS)


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    shapes = [output.shape for output in outputs]
    axis = _channel_axis(shapes, detector)
    if axis is not None:
        rows = np.moveaxis(outputs[0], axis, -1)
        return best_of_each_place(corners(rows[..., :4]), rows[..., 4:], detector.confidence)
    pairs = _pairs(shapes, detector)
    if pairs is not None:
        return decode_pairs(pairs, outputs, detector, expected_distances, _probabilities)
    levels = _levels(shapes, detector)
    boxes = _box_channels(levels, detector) if levels else None
    if levels is None or boxes is None:
        expected = (
            f"[B, 4 + nc, N], or per level one map of 4 * bins + nc channels or two of {4 * BINS} and nc"
        )
        raise cannot_read("yolov8", expected, outputs, detector)
    rows = np.concatenate([level.rows(outputs) for level in levels], axis=1)
    cells, strides = corners_and_strides([level.grid for level in levels])
    xyxy = around(cells + 0.5, expected_distances(rows[..., :boxes])) * strides
    return best_of_each_place(xyxy, sigmoid(rows[..., boxes:]), detector.confidence)


def _probabilities(classes: np.ndarray) -> np.ndarray:
    """Logits through their sigmoid; a picture whose numbers all lie in 0..1, or next to it, has been."""
    outside = (classes < -TOLERANCE) | (classes > 1 + TOLERANCE)
    return np.where(outside.any(axis=(1, 2), keepdims=True), sigmoid(classes), classes)


decoder = Decoder(_decode, _fits)
