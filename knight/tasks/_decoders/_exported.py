"""Boxes that the graph has decoded already: rows of cx, cy, w, h in pixels, objectness, classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Detector, Shape
from knight.tasks._decoders._numbers import best_of_each_place, corners


def is_exported(shapes: Sequence[Shape], detector: Detector) -> bool:
    """Whether there is one output [B, N, 5 + classes]; N is the greater where the classes are unknown."""
    if [len(shape) for shape in shapes] != [3]:
        return False
    _, places, width = shapes[0]
    return width > 5 and (width - 5 == detector.classes or (detector.classes is None and places > width))


def decode_exported(rows: np.ndarray, detector: Detector) -> list[Boxes]:
    """Boxes of rows [B, N, 5 + classes]; the score is the objectness times the best class."""
    xyxy = corners(rows[..., :4])
    return best_of_each_place(xyxy, rows[..., 5:], detector.confidence, rows[..., 4])
