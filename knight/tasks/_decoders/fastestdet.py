"""FastestDet: one map [B, 5 + classes, H, W] of one place per cell.

Channels: objectness, x, y, w, h, class probabilities. Objectness and classes have gone through their
activation in the graph, the box has not. As published (dog-qiuqiu/FastestDet): cx = (column + tanh x) / W,
cy = (row + tanh y) / H, w = sigmoid w, all relative to the picture. The score is the objectness times the
best class; the author's demo takes powers of 0.6 and 0.4 of the same two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._numbers import best_of_each_place, corners, scale_to, sigmoid


def _fits(shapes: Sequence[Shape], detector: Detector) -> bool:
    return _readable(shapes, detector) and detector.anchors is None and detector.size[0] % shapes[0][2] == 0


def _readable(shapes: Sequence[Shape], detector: Detector) -> bool:
    if [len(shape) for shape in shapes] != [4]:
        return False
    return shapes[0][1] > 5 and detector.classes in (None, shapes[0][1] - 5)


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    if not _readable([output.shape for output in outputs], detector):
        raise cannot_read("fastestdet", "one map [B, 5 + nc, H, W]", outputs, detector)
    batch, channels, height, width = outputs[0].shape
    rows = np.moveaxis(outputs[0], 1, -1).reshape(batch, height * width, channels)
    row, column = np.divmod(np.arange(height * width), width)
    boxes = rows[..., 1:5].astype(np.float64)
    boxes[..., 0] = (np.tanh(boxes[..., 0]) + column) / width
    boxes[..., 1] = (np.tanh(boxes[..., 1]) + row) / height
    boxes[..., 2:] = sigmoid(boxes[..., 2:])
    xyxy = corners(boxes) * scale_to(detector.size)
    return best_of_each_place(xyxy, rows[..., 5:], detector.confidence, rows[..., 0])


decoder = Decoder(_decode, _fits)
