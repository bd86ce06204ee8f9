"""SSD: class probabilities [B, N, 1 + classes] and boxes [B, N, 4], one for each of N priors.

Class 0 is the background. Boxes that the graph has decoded are corners relative to the picture. Boxes that
it has not are offsets to the priors, as published (Liu et al. 2016; variances 0.1 and 0.2):
cx = prior cx + 0.1 dx * prior w, w = prior w * e^(0.2 dw). The priors are those of Ultra-Light-Fast-Generic-
Face-Detector: squares in the middle of each cell, for strides 8, 16, 32, 64, their sides in pixels given by
`Detector.anchors`, one row per stride. Offsets to other priors are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.errors import ConfigError
from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._grids import grid
from knight.tasks._decoders._numbers import best_of_each_place, corners, scale_to
from knight.tasks._decoders._scored import scores_with_another
from knight.tasks._decoders.detr import MOST_QUERIES

FIRST_STRIDE = 8  # each further level has twice the one before
SIDES = ((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 96.0), (128.0, 192.0, 256.0))
"""Ultra-Light's min_boxes."""
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


def priors(detector: Detector) -> np.ndarray:
    """cx, cy, w, h [N, 4] relative to the picture, cut to it: cell by cell, in a cell side by side."""
    height, width = detector.size
    parts = []
    for level, sides in enumerate(detector.anchors or SIDES):
        cells = grid(FIRST_STRIDE << level, detector.size)
        # relative to the cells: where the last ones are cut, as at 240 / 32, the published ones move together
        centres = (cells.corners() + 0.5) / [cells.columns, cells.rows]
        relative = np.asarray(sides, np.float64)[:, None] / [width, height]
        both = np.broadcast_arrays(centres[:, None], relative[None])
        parts.append(np.concatenate(both, axis=-1).reshape(-1, 4))
    cut: np.ndarray = np.clip(np.concatenate(parts), 0.0, 1.0)
    return cut


def _fits(shapes: Sequence[Shape], detector: Detector) -> bool:
    if scores_with_another(shapes, detector) is None:
        return False
    return shapes[0][1] > MOST_QUERIES or shapes[0][1] == len(priors(detector))


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    order = scores_with_another([output.shape for output in outputs], detector)
    if order is None:
        raise cannot_read("ssd", "scores [B, N, 1 + nc] and boxes [B, N, 4]", outputs, detector)
    boxes = outputs[order[1]].astype(np.float64)
    known = priors(detector)
    if boxes.shape[1] == len(known):
        boxes = np.where(_lie_on(known, boxes), boxes, _from_offsets(boxes, known))
    elif not _are_corners(boxes):
        raise ConfigError(
            f"decoder 'ssd' has {boxes.shape[1]} boxes that the model has not decoded, but its priors "
            f"are {len(known)} for input {list(detector.size)}; give their sides, one row per stride, as "
            f'"anchors"'
        )
    return best_of_each_place(
        boxes * scale_to(detector.size), outputs[order[0]][..., 1:], detector.confidence
    )


def _lie_on(known: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether boxes [B, N, 4] lie on their priors, as decoded ones do, for each picture [B, 1, 1].

    They do if most of their centres are within a tenth of the picture: offsets are numbers around 0.
    """
    with np.errstate(invalid="ignore"):  # infinite corners on both sides
        near = np.abs((boxes[..., :2] + boxes[..., 2:]) / 2 - known[:, :2]) < 0.1
    return np.asarray(near.mean(axis=(1, 2), keepdims=True) > 0.5)


def _are_corners(boxes: np.ndarray) -> bool:
    """Whether most boxes end right of and below where they begin; of offsets a quarter do."""
    turned = np.any(boxes[..., 2:] < boxes[..., :2], axis=-1)
    return bool(turned.mean() < 0.5)


def _from_offsets(offsets: np.ndarray, known: np.ndarray) -> np.ndarray:
    centres = known[:, :2] + CENTRE_VARIANCE * offsets[..., :2] * known[:, 2:]
    with np.errstate(over="ignore"):  # an infinite box is dropped by the suppression
        sides = known[:, 2:] * np.exp(SIZE_VARIANCE * offsets[..., 2:])
    return corners(np.concatenate([centres, sides], axis=-1))


decoder = Decoder(_decode, _fits)
