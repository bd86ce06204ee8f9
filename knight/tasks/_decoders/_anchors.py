"""YOLO heads with anchors: maps of logits per level, or the rows that an export decodes from them.

Maps are [B, anchors * (5 + classes), H, W], the same with channels last, or [B, anchors, H, W, 5 + classes].
The numbers of a place are x, y, w, h, objectness, classes, all before their activation. What the versions
differ in is how x, y, w, h become a box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Detector, Shape, cannot_read
from knight.tasks._decoders._exported import decode_exported, is_exported
from knight.tasks._decoders._grids import Grid
from knight.tasks._decoders._levels import LAYOUTS, read_levels
from knight.tasks._decoders._numbers import best_of_each_place, corners, sigmoid

Form = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""From logits [B, cells, anchors, 4], cells [cells, 1, 2], anchors [anchors, 2] and a stride to cx cy w h."""


@dataclass(frozen=True)
class _Map:
    """One level: its output, grid, anchors [anchors, 2], and how to get [B, cells, anchors, 5 + classes]."""

    output: int
    grid: Grid
    anchors: np.ndarray
    channels_first: bool

    def places(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        values, count = outputs[self.output], len(self.anchors)
        if values.ndim == 5:
            values = np.moveaxis(values, 1, 3)
        elif self.channels_first:
            values = np.moveaxis(values, 1, -1)
        return values.reshape(len(values), self.grid.cells, count, -1)


def fits_maps(shapes: Sequence[Shape], detector: Detector) -> bool:
    """Whether the outputs are maps for the anchors that the user gave."""
    return _maps(shapes, detector) is not None


def decode(key: str, form: Form, outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    """Boxes from maps by `form`, or from one output of rows that the graph has decoded."""
    shapes = [output.shape for output in outputs]
    if is_exported(shapes, detector):
        return decode_exported(outputs[0], detector)
    maps = _maps(shapes, detector)
    if maps is None:
        expected = "one output [B, N, 5 + nc], or with anchors one map [B, anchors * (5 + nc), H, W] a level"
        raise cannot_read(key, expected, outputs, detector)
    rows, boxes = [], []
    for level in maps:
        logits = level.places(outputs)
        cells = level.grid.corners()[:, None, :]
        box = form(logits[..., :4].astype(np.float64), cells, level.anchors, level.grid.stride)
        boxes.append(box.reshape(len(box), -1, 4))
        rows.append(sigmoid(logits[..., 4:]).reshape(len(box), -1, logits.shape[-1] - 4))
    scores = np.concatenate(rows, axis=1)
    xyxy = corners(np.concatenate(boxes, axis=1))
    return best_of_each_place(xyxy, scores[..., 1:], detector.confidence, scores[..., 0])


def _maps(shapes: Sequence[Shape], detector: Detector) -> list[_Map] | None:
    anchors = _anchors_of_levels(detector.anchors, len(shapes)) if detector.anchors and shapes else None
    for layout in LAYOUTS if anchors else ():
        levels = read_levels([_joined(shape) for shape in shapes], detector.size, layout)
        if anchors is None or levels is None or any(len(shape) == 3 for shape in shapes):
            continue
        levels = sorted(levels, key=lambda level: level.grid.stride)
        maps = [
            _Map(level.output, level.grid, own, layout == "NCHW")
            for level, own in zip(levels, anchors, strict=True)
        ]
        apart = len({level.grid.stride for level in levels}) == len(levels)
        if apart and all(_channels_fit(shapes[one.output], one, detector) for one in maps):
            return maps
    return None


def _joined(shape: Shape) -> Shape:
    """Of five dimensions four, as if the anchors had not been taken apart."""
    if len(shape) != 5:
        return shape
    batch, anchors, height, width, numbers = shape
    return batch, anchors * numbers, height, width


def _channels_fit(shape: Shape, one: _Map, detector: Detector) -> bool:
    count = len(one.anchors)
    if len(shape) == 5 and shape[1] != count:
        return False
    numbers, rest = divmod(_joined(shape)[1] if one.channels_first else shape[-1], count)
    return rest == 0 and numbers > 5 and detector.classes in (None, numbers - 5)


def _anchors_of_levels(anchors: tuple[tuple[float, ...], ...], levels: int) -> list[np.ndarray] | None:
    """Anchors [anchors, 2] of each level, the small ones first; None if they cannot be shared out.

    One row per level or one per anchor, and either end first: a level's own anchors keep their order.
    """
    numbers = np.array([number for row in anchors for number in row], np.float64)
    if numbers.size == 0 or numbers.size % (2 * levels):
        return None
    return sorted(numbers.reshape(levels, -1, 2), key=lambda level: float(np.prod(level, axis=1).mean()))
