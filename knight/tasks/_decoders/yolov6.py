"""YOLOv6, anchor-free: rows that the graph has decoded, or classes and distances per level.

Rows are [B, N, 5 + classes] with cx, cy, w, h in pixels, an objectness of 1, and class probabilities. Per
level there are class probabilities and the distances l, t, r, b in cells, as published (meituan/YOLOv6,
dist2bbox): left = (column + 0.5 - l) * stride. The classes have gone through their sigmoid in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._exported import decode_exported, is_exported
from knight.tasks._decoders._grids import grids_of_places
from knight.tasks._decoders._levels import Pair, decode_pairs, pair_levels


def _fits(shapes: Sequence[Shape], detector: Detector) -> bool:
    if is_exported(shapes, detector):
        return grids_of_places(shapes[0][1], detector.size) is not None
    return bool(_pairs(shapes, detector))


def _pairs(shapes: Sequence[Shape], detector: Detector) -> list[Pair] | None:
    return pair_levels(shapes, detector, lambda channels: channels == 4)


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    shapes = [output.shape for output in outputs]
    if is_exported(shapes, detector):
        return decode_exported(outputs[0], detector)
    pairs = _pairs(shapes, detector)
    if pairs is None:
        raise cannot_read(
            "yolov6", "one output [B, N, 5 + nc], or nc and 4 channels per level", outputs, detector
        )
    return decode_pairs(pairs, outputs, detector, distances=lambda boxes: boxes)


decoder = Decoder(_decode, _fits)
