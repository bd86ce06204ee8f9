"""RT-DETR, Deformable DETR and DINO: class logits [B, Q, classes] and boxes [B, Q, 4] for Q queries.

As published (fundamentalvision/Deformable-DETR, PostProcess): a sigmoid for each class, without one for
"nothing"; boxes are cx, cy, w, h relative to the picture. Ultralytics exports RT-DETR as one output
[B, Q, 4 + classes] of the same boxes and of probabilities: read here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._numbers import best_of_each_place, corners, scale_to, sigmoid
from knight.tasks._decoders._scored import scores_and_boxes
from knight.tasks._decoders.detr import MOST_QUERIES


def _fits(shapes: Sequence[Shape], detector: Detector) -> bool:
    readable = _is_joined(shapes, detector) or _order(shapes, detector) is not None
    return readable and shapes[0][1] <= MOST_QUERIES


def _is_joined(shapes: Sequence[Shape], detector: Detector) -> bool:
    if [len(shape) for shape in shapes] != [3]:
        return False
    _, queries, width = shapes[0]
    return width > 4 and (width - 4 == detector.classes or (detector.classes is None and queries > width))


def _order(shapes: Sequence[Shape], detector: Detector) -> tuple[int, int] | None:
    order = scores_and_boxes(shapes)
    return order if order and detector.classes in (None, shapes[order[0]][2]) else None


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    shapes = [output.shape for output in outputs]
    order = _order(shapes, detector)
    if order is not None:
        classes, boxes = sigmoid(outputs[order[0]]), outputs[order[1]]
    elif _is_joined(shapes, detector):
        boxes, classes = np.split(outputs[0], [4], axis=2)
    else:
        raise cannot_read("rt_detr", "logits [B, Q, nc] and boxes [B, Q, 4]", outputs, detector)
    return best_of_each_place(corners(boxes) * scale_to(detector.size), classes, detector.confidence)


decoder = Decoder(_decode, _fits)
