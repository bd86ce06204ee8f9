"""Boxes around things in a picture, their overlap, and non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Boxes:
    """`n` boxes of one picture.

    xyxy: float64 [n, 4], left, top, right, bottom in pixels. scores: float64 [n]. classes: int64 [n].
    """

    xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    @classmethod
    def empty(cls) -> Boxes:
        """No boxes at all."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: np.ndarray) -> Boxes:
        """The rows that `index` (a mask, or row numbers in the order wanted) names."""
        return Boxes(self.xyxy[index], self.scores[index], self.classes[index])

    def clipped(self, height: float, width: float) -> Boxes:
        """The same boxes cut at the border of a picture of that size in pixels."""
        border = np.array([width, height, width, height], np.float64)
        return Boxes(np.clip(self.xyxy, 0.0, border), self.scores, self.classes)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of `a` [n, 4] with each of `b` [m, 4]: float64 [n, m].

    Corners as in `Boxes.xyxy`. A box without area overlaps nothing.
    """
    one, other = np.asarray(a, np.float64).T[:, :, None], np.asarray(b, np.float64).T[:, None, :]
    left, top = np.maximum(one[0], other[0]), np.maximum(one[1], other[1])
    right, bottom = np.minimum(one[2], other[2]), np.minimum(one[3], other[3])
    shared = _area(left, top, right, bottom)
    union = _area(*one) + _area(*other) - shared
    overlap: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _area(left: np.ndarray, top: np.ndarray, right: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(right - left, 0.0) * np.maximum(bottom - top, 0.0))


def nms(boxes: Boxes, confidence: float, overlap: float, max_det: int, *, class_aware: bool = True) -> Boxes:
    """At most `max_det` boxes by falling score, without those that a better one covers.

    Greedy: a box is dropped if its IoU with a kept box (of its own class, if `class_aware`) is above
    `overlap`. Only scores above `confidence` are looked at; rows with a number that is not finite are
    dropped. Of equal scores the earlier row is the better one.
    """
    finite = np.isfinite(boxes.xyxy).all(axis=1) & np.isfinite(boxes.scores)
    boxes = boxes.select(finite & (boxes.scores > confidence))
    boxes = boxes.select(np.argsort(-boxes.scores, kind="stable"))
    free = np.ones(len(boxes), bool)
    kept: list[int] = []
    for row in range(len(boxes)):
        if len(kept) >= max_det:
            break
        if not free[row]:
            continue
        kept.append(row)
        rivals = free & (boxes.classes == boxes.classes[row]) if class_aware else free
        later = row + 1 + np.flatnonzero(rivals[row + 1 :])
        covered = iou(boxes.xyxy[row : row + 1], boxes.xyxy[later])[0] > overlap
        free[later[covered]] = False
    return boxes.select(np.array(kept, np.int64))
