"""Boxes that the graph has decoded already: rows of cx, cy, w, h in pixels, objectness, classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks.decoders import Shape, Task
from knight.tasks.decoders._numbers import best_of_each_place, corners


def is_exported(shapes: Sequence[Shape], task: Task) -> bool:
    """Whether there is one output [B, N, 5 + classes]."""
    if [len(shape) for shape in shapes] != [3]:
        return False
    return shapes[0][2] > 5 and task.classes in (None, shapes[0][2] - 5)


def decode_exported(rows: np.ndarray, task: Task) -> list[Boxes]:
    """Boxes of rows [B, N, 5 + classes]; the score is the objectness times the best class."""
    xyxy = corners(rows[..., :4])
    return best_of_each_place(xyxy, rows[..., 5:], task.confidence, rows[..., 4])
