"""From a detector's output tensors to boxes: one file per family of detectors, named as users ask for it.

Each file defines `decoder`. Which one a model needs is told by the shapes of its outputs where they leave no
doubt, else by the user; a decoder is never chosen between two that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from knight.errors import ConfigError
from knight.registry import Registry
from knight.tasks._boxes import Boxes


@dataclass(frozen=True)
class Detector:
    """What is known of a detection model besides its outputs.

    size: height and width of the model's input in pixels.
    classes: how many it tells apart, without a background class; None if unknown.
    anchors: (w, h, w, h, ...) in pixels per level.
    confidence: boxes with this score or less are left out.
    """

    size: tuple[int, int]
    classes: int | None = None
    anchors: tuple[tuple[float, ...], ...] | None = None
    confidence: float = 0.001


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Decoder:
    """One way of writing boxes into tensors.

    decode: from the model's outputs to the boxes of each picture of the batch, in pixels of the model's
    input, before non-maximum suppression: one box per place, of its best class. Raises ConfigError for
    outputs that it cannot read. fits: whether outputs of these shapes are taken for its own when the user
    has not named a decoder.
    """

    decode: Callable[[Sequence[np.ndarray], Detector], list[Boxes]]
    fits: Callable[[Sequence[Shape], Detector], bool]


decoders: Registry[Decoder] = Registry("decoder", "knight.tasks._decoders", "knight.decoders", "decoder")


def find_decoder(shapes: Sequence[Shape], detector: Detector, name: str | None = None) -> Decoder:
    """The decoder called `name`, else the only one that fits outputs of these `shapes`.

    Raises ConfigError for an unknown name, and where none or several fit.
    """
    if name is not None:
        return decoders.get(name)
    fitting = {key: decoders.get(key) for key in decoders.names()}
    fitting = {key: decoder for key, decoder in fitting.items() if decoder.fits(shapes, detector)}
    if len(set(map(id, fitting.values()))) == 1:  # the same decoder may go by several keys
        return next(iter(fitting.values()))
    seen = f"outputs {_listed(shapes)}, input {list(detector.size)}, nc {detector.classes}"
    if not fitting:
        raise ConfigError(
            f'no decoder is known by its shapes to fit {seen}; check "nc" and "anchors", or name one '
            f'with the key "decoder": {", ".join(decoders.names())}'
        )
    raise ConfigError(
        f'several decoders fit {seen}; name one of them with the key "decoder": {", ".join(fitting)}'
    )


def cannot_read(key: str, expected: str, outputs: Sequence[np.ndarray], detector: Detector) -> ConfigError:
    """What a decoder raises for outputs that are not what it `expected`."""
    return ConfigError(
        f"decoder {key!r} reads {expected}, not outputs {_listed([x.shape for x in outputs])} with input "
        f'{list(detector.size)}, nc {detector.classes}; check "nc" and "anchors", or name another "decoder"'
    )


def _listed(shapes: Sequence[Shape]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes) or "(none)"
