"""DETR: class logits [B, Q, classes + 1] and boxes [B, Q, 4] for Q queries.

As published (facebookresearch/detr, PostProcess): softmax over the classes, of which the last is "nothing";
boxes are cx, cy, w, h relative to the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._numbers import best_of_each_place, corners, scale_to, softmax
from knight.tasks._decoders._scored import scores_with_another

MOST_QUERIES = 1000
"""Published detectors with queries have 100 to 900 of them; those with priors have more places."""


def _fits(shapes: Sequence[Shape], detector: Detector) -> bool:
    return scores_with_another(shapes, detector) is not None and shapes[0][1] <= MOST_QUERIES


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    order = scores_with_another([output.shape for output in outputs], detector)
    if order is None:
        raise cannot_read("detr", "logits [B, Q, nc + 1] and boxes [B, Q, 4]", outputs, detector)
    classes = softmax(outputs[order[0]])[..., :-1]
    xyxy = corners(outputs[order[1]]) * scale_to(detector.size)
    return best_of_each_place(xyxy, classes, detector.confidence)


decoder = Decoder(_decode, _fits)
