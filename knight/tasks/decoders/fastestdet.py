"""FastestDet: one map [B, 5 + classes, H, W] of one place per cell, activated in the graph.

Channels: objectness, dx and dy (tanh), w and h (sigmoid), class probabilities. As published (dog-qiuqiu,
FastestDet): cx = (column + dx) / W, cy = (row + dy) / H, all relative to the picture. The score is the
objectness times the best class; the author's demo takes powers of 0.6 and 0.4 of the same two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks.decoders import Decoder, Shape, Task, cannot_read
from knight.tasks.decoders._numbers import best_of_each_place, corners, scale_to


def _fits(shapes: Sequence[Shape], task: Task) -> bool:
    return _readable(shapes, task) and task.anchors is None and task.size[0] % shapes[0][2] == 0


def _readable(shapes: Sequence[Shape], task: Task) -> bool:
    if [len(shape) for shape in shapes] != [4]:
        return False
    return shapes[0][1] > 5 and task.classes in (None, shapes[0][1] - 5)


def _decode(outputs: Sequence[np.ndarray], task: Task) -> list[Boxes]:
    if not _readable([output.shape for output in outputs], task):
        raise cannot_read("fastestdet", "one map [B, 5 + nc, H, W]", outputs, task)
    batch, channels, height, width = outputs[0].shape
    rows = np.moveaxis(outputs[0], 1, -1).reshape(batch, height * width, channels)
    row, column = np.divmod(np.arange(height * width), width)
    boxes = rows[..., 1:5].astype(np.float64)
    boxes[..., 0] = (boxes[..., 0] + column) / width
    boxes[..., 1] = (boxes[..., 1] + row) / height
    xyxy = corners(boxes) * scale_to(task.size)
    return best_of_each_place(xyxy, rows[..., 5:], task.confidence, rows[..., 0])


decoder = Decoder(_decode, _fits)
