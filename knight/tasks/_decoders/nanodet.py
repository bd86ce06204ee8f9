"""NanoDet (the first, "m"): per level class probabilities and a distribution for each side of the box.

The box output has 4 * bins channels, the logits of the distances l, t, r, b being 0, 1, 2 ... cells. As
published (RangiLyu/nanodet, up to 0.4): left = (column + 0.5 - l) * stride, l the mean of the distribution.
The classes have gone through their sigmoid in the graph. Two outputs per level, in any order and layout.
All published NanoDets have 8 bins: others are read with the key and the number of classes only, since other
detectors write such outputs too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Decoder, Detector, Shape, cannot_read
from knight.tasks._decoders._levels import Pair, decode_pairs, pair_levels
from knight.tasks._decoders._numbers import expected_distances

BINS = 8


def _published(shapes: Sequence[Shape], detector: Detector) -> list[Pair] | None:
    return pair_levels(shapes, detector, lambda channels: channels == 4 * BINS)


def _pairs(shapes: Sequence[Shape], detector: Detector) -> list[Pair] | None:
    pairs = _published(shapes, detector)
    if pairs is None and detector.classes is not None:
        return pair_levels(shapes, detector, lambda channels: channels % 4 == 0 and channels > 4)
    return pairs


def _decode(outputs: Sequence[np.ndarray], detector: Detector) -> list[Boxes]:
    pairs = _pairs([output.shape for output in outputs], detector)
    if pairs is None:
        raise cannot_read("nanodet", "nc and 4 * bins channels per level", outputs, detector)
    return decode_pairs(pairs, outputs, detector, expected_distances)


decoder = Decoder(_decode, lambda shapes, detector: _published(shapes, detector) is not None)
