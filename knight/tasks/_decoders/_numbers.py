"""The arithmetic that decoders share: activations, forms of boxes, and the best class of each place."""

from __future__ import annotations

import numpy as np

from knight.tasks._boxes import Boxes


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), in float32 at least; 0 where e^-x is beyond all numbers."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-_wide(logits))))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, in float32 at least."""
    shifted = _wide(logits)
    with np.errstate(invalid="ignore"):  # infinities become NaN, and those are dropped later
        powers = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.promote_types(values.dtype, np.float32), copy=False)


def expected_distances(logits: np.ndarray) -> np.ndarray:
    """Distances [..., 4] in cells from the distributions [..., 4 * bins] over 0, 1, 2 ... cells.

    The mean of each side's softmax (Li et al. 2020, Generalized Focal Loss, equation 5).
    """
    sides = softmax(logits.reshape(*logits.shape[:-1], 4, -1))
    return np.asarray(sides @ np.arange(sides.shape[-1], dtype=sides.dtype))


def around(centres: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Corners [..., 4] from points [..., 2] and their distances to left, top, right, bottom [..., 4]."""
    with np.errstate(invalid="ignore"):  # infinities become NaN, and those are dropped later
        return np.concatenate([centres - distances[..., :2], centres + distances[..., 2:]], axis=-1)


def corners(cxcywh: np.ndarray) -> np.ndarray:
    """Corners [..., 4] from centre x, centre y, width, height [..., 4]; float64."""
    centre, sides = np.split(cxcywh.astype(np.float64), 2, axis=-1)
    half = np.concatenate([sides, sides], axis=-1) / 2
    return around(centre, half)


def scale_to(size: tuple[int, int]) -> np.ndarray:
    """What turns x, y, x, y relative to an input of `size` (height, width) into pixels: [4]."""
    height, width = size
    return np.array([width, height, width, height], np.float64)


def best_of_each_place(
    xyxy: np.ndarray, classes: np.ndarray, confidence: float, objectness: np.ndarray | None = None
) -> list[Boxes]:
    """One box per place, of its best class, where the score is above `confidence`.

    xyxy [B, N, 4], classes [B, N, classes] are probabilities; the score is the best of them, times
    `objectness` [B, N] if there is one. A place with a NaN score is left out.
    """
    label = classes.argmax(axis=-1).astype(np.int64)
    score = np.take_along_axis(classes, label[..., None], axis=-1)[..., 0].astype(np.float64)
    if objectness is not None:
        score = score * objectness
    found = score > confidence
    return [
        Boxes(xyxy[i][found[i]].astype(np.float64), score[i][found[i]], label[i][found[i]])
        for i in range(len(score))
    ]
