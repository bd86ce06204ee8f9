"""One layer of a Caffe net: what the prototxt says of it, and its weights from the caffemodel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from knight.converters.caffe._schema import PARAMETERS
from knight.errors import ModelError


@dataclass(frozen=True)
class Layer:
    """`message` is the LayerParameter; bottoms and tops are names of blobs, read and written.

    blobs: the weights in the order of Caffe, float32. Blobs of old files have four dimensions, with ones
    before those that count; `check_blob` takes them off.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Any
    blobs: list[np.ndarray] = field(default_factory=list)

    @property
    def param(self) -> Any:
        """The layer's own parameters (ConvolutionParameter of a Convolution), with Caffe's defaults."""
        return getattr(self.message, PARAMETERS[self.type])

    def check_blob(self, index: int, shape: Sequence[int]) -> np.ndarray:
        """Weight number `index`, of `shape`. Raises ModelError where it is of another, or missing."""
        if not self.blobs:
            raise self.error("has no weights in the caffemodel; is this the caffemodel of this net?")
        if index >= len(self.blobs):
            raise self.error(
                f"has {len(self.blobs)} weights in the caffemodel, the prototxt wants {index + 1} or more"
            )
        blob, wanted = self.blobs[index], tuple(shape)
        if _without_leading_ones(blob.shape) != _without_leading_ones(wanted):
            raise self.error(f"weight {index} has shape {blob.shape}, the prototxt wants {wanted}")
        return blob.reshape(wanted)

    def check_bottoms(self, least: int, most: float) -> None:
        """Raises ModelError unless the layer has `least` to `most` bottoms."""
        if not least <= len(self.bottoms) <= most:
            wanted = f"{least} or more" if most == math.inf else f"{least} to {most}"
            wanted = f"{least}" if least == most else wanted
            raise self.error(f"has {len(self.bottoms)} bottoms, wants {wanted}")

    def check_count(self, count: int, most: int, what: str) -> None:
        """Raises ModelError for more than `most` of what the conversion writes one after the other."""
        if count > most:
            raise self.error(f"has {count:,} {what}, more than the {most:,} that can be written out")

    def error(self, text: str) -> ModelError:
        """The error that says `text` of this layer."""
        return ModelError(f"layer {self.name!r} ({self.type}): {text}")


def _without_leading_ones(shape: Sequence[int]) -> tuple[int, ...]:
    start = next((index for index, dim in enumerate(shape) if dim != 1), len(shape))
    return tuple(shape[start:])
