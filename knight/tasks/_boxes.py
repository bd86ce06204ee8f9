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
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.clip(sides, 0.0, None), axis=2)
    union = _area(a)[:, None] + _area(b)[None, :] - shared
    overlap: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _area(xyxy: np.ndarray) -> np.ndarray:
    return np.asarray(np.prod(np.clip(xyxy[:, 2:] - xyxy[:, :2], 0.0, None), axis=1))


def nms(boxes: Boxes, confidence: float, overlap: float, max_det: int, *, class_aware: bool = True) -> Boxes:
    """At most `max_det` boxes by falling score, without those that a better one covers.

    Greedy: a box is dropped if its IoU with a kept box (of its own class, if `class_aware`) is above
    `overlap`. Only scores above `confidence` are looked at; rows with a number that is not finite are
    dropped. Of equal scores the earlier row is the better one.
    """
    finite = np.isfinite(boxes.xyxy).all(axis=1) & np.isfinite(boxes.scores)
    boxes = boxes.select(finite & (boxes.scores > confidence))
    left = boxes.select(np.argsort(-boxes.scores, kind="stable"))
    kept: list[Boxes] = []
    while len(left) and len(kept) < max_det:
        first = left.select(np.array([0]))
        kept.append(first)
        covered = iou(first.xyxy, left.xyxy)[0] > overlap
        if class_aware:
            covered &= left.classes == first.classes
        covered[0] = True  # itself, though a box without area does not overlap even itself
        left = left.select(~covered)
    return _joined(kept)


def _joined(parts: list[Boxes]) -> Boxes:
    if not parts:
        return Boxes.empty()
    return Boxes(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.classes for part in parts]),
    )
