"""Masks of classes: read from PNG files, and read out of a model's output at a picture's size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from knight.errors import ConfigError, DataError
from knight.tasks._pictures import opened, pil
from knight.tasks._prepare import Letterbox

_SCALED = {"L;2": 85, "L;4": 17}
_ROWS = 64  # of a picture that bilinear scores are made for at a time
_SCORES = 1 << 26  # that are made at a time; of a wide picture, these are a part of the rows
_MOST_CLASSES = 1 << 16  # a PNG's pixels hold no more
LAYOUTS = ("NCHW", "NHWC")


def load_mask(path: Path) -> np.ndarray:
    """The classes int64 [H, W] of a mask: the pixel's value, of a palette its index, as they are stored.

    Raises DataError, which names the file, for one that is damaged or has colours instead of numbers.
    """
    with opened(path) as image:
        divisor = _scaled(image)
        mode = image.mode
        if mode not in ("1", "L", "P") and not mode.startswith("I"):
            raise DataError(
                f"{path}: a mask holds class numbers, one per pixel (a palette or grey PNG); this is {mode}"
            )
        try:
            values = np.array(image, np.int64)
        except Exception as error:  # damaged files raise whatever a decoder stumbles over
            raise DataError(
                f"{path}: the mask is cut or damaged ({' '.join(str(error).split())}); replace it"
            ) from error
    return values // divisor


def _scaled(image: Any) -> int:
    """What Pillow multiplies the file's numbers by: grey of 2 and 4 bits becomes grey of 8."""
    raw = image.tile[0][3] if image.tile else None
    return _SCALED.get(str(raw[0] if isinstance(raw, tuple) else raw), 1)


def png(classes: np.ndarray) -> bytes:
    """A grey PNG of `classes` [H, W], of 16 bits where 8 do not hold them."""
    kind = np.uint8 if classes.max() <= 255 else np.uint16
    content = io.BytesIO()
    pil().fromarray(classes.astype(kind)).save(content, "PNG")
    return content.getvalue()


def scores_or_classes(
    output: np.ndarray,
    size: tuple[int, int],
    *,
    classes: int | None = None,
    layout: str | None = None,
    threshold: float | None = None,
) -> np.ndarray:
    """Scores [B, C, h, w], or class numbers int64 [B, h, w], of an output in any of its usual forms.

    [B, h, w] and one channel are class numbers; with `threshold`, class 1 is where they are above it. More
    channels are scores; where neither `layout` nor `classes` says which axis they are on, it is the one that
    leaves a map of the ratio of `size`, the input's (height, width), and the second if both do.
    Raises DataError and ConfigError for outputs that are no maps of classes.
    """
    shown = "x".join(map(str, output.shape))
    if output.ndim == 4 and 1 not in (output.shape[1], output.shape[3]):
        if threshold is not None:
            raise ConfigError(f"input-configs[0].threshold is for one channel; the output is {shown}")
        last = _layout(output.shape, size, classes, layout, shown) == "NHWC"
        return np.transpose(output, (0, 3, 1, 2)) if last else output
    if output.ndim == 4:
        output = output[:, 0] if output.shape[1] == 1 else output[..., 0]
    if output.ndim != 3:
        raise DataError(
            f"the output is {shown}; masks are scores [B, C, h, w] or class numbers [B, h, w]; "
            f"the key output names another output"
        )
    if threshold is not None:
        return np.asarray(output > threshold, np.int64)
    numbers = np.rint(output)
    if np.abs(output - numbers).max() > 0.01 or numbers.min() < 0:
        odd = output.flat[int(np.argmax(np.where(numbers < 0, np.inf, np.abs(output - numbers))))]
        raise DataError(
            f"the output, {shown}, holds {odd:.4g}, which is no class number; the key threshold makes two "
            f"classes of one channel of scores"
        )
    return np.asarray(numbers, np.int64)


def _layout(
    shape: tuple[int, ...], size: tuple[int, int], classes: int | None, layout: str | None, shown: str
) -> str:
    channels = {"NCHW": shape[1], "NHWC": shape[3]}
    maps = {"NCHW": shape[2:], "NHWC": shape[1:3]}
    fitting = [name for name in LAYOUTS if layout in (None, name) and classes in (None, channels[name])]
    if not fitting:
        raise ConfigError(
            f"the output is {shown}, which has no {classes} channels; correct input-configs[0].nc or layout"
        )
    like = [name for name in fitting if _same_ratio(maps[name], size)]
    return (like or fitting)[0]


def _same_ratio(small: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Within the pixel that a stride may round off."""
    stride = max(size[0] / small[0], size[1] / small[1])
    return all(abs(part - whole / stride) <= 1 for part, whole in zip(small, size, strict=True))


def at_size(
    found: np.ndarray, wanted: tuple[int, int], place: Letterbox, size: tuple[int, int], bilinear: bool
) -> np.ndarray:
    """Classes int64 of every pixel of a picture of `wanted` (height, width), from one sample's `found`.

    found: scores [C, h, w] or class numbers [h, w]. place: where the picture lies in the input, whose
    (height, width) is `size`. The centre of each pixel is looked up in the map: in the cell that it lies in,
    or, with `bilinear`, between the scores of the four nearest cells.
    """
    height, width = found.shape[-2:]
    rows = ((np.arange(wanted[0]) + 0.5) * place.scale_y + place.top) * (height / size[0])
    columns = ((np.arange(wanted[1]) + 0.5) * place.scale_x + place.left) * (width / size[1])
    if bilinear and found.ndim == 3:
        return _bilinear(found, rows, columns)
    classes = np.argmax(found, axis=0) if found.ndim == 3 else found
    row = np.clip(rows.astype(np.int64), 0, height - 1)
    column = np.clip(columns.astype(np.int64), 0, width - 1)
    return np.asarray(classes[row[:, None], column], np.int64)


def _bilinear(scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    left, right, across = _neighbours(columns, scores.shape[2])
    wide = max(1, _SCORES // (_ROWS * len(scores)))
    parts = []
    for start in range(0, len(rows), _ROWS):
        above, below, down = _neighbours(rows[start : start + _ROWS], scores.shape[1])
        part = scores[:, above] * (1 - down[:, None]) + scores[:, below] * down[:, None]
        stretches = [slice(place, place + wide) for place in range(0, len(columns), wide)]
        parts.append(np.concatenate([_best(part, left[s], right[s], across[s]) for s in stretches], axis=1))
    return np.concatenate(parts)


def _best(part: np.ndarray, left: np.ndarray, right: np.ndarray, across: np.ndarray) -> np.ndarray:
    """The class of the highest score, between the columns on both sides."""
    return np.asarray(np.argmax(part[..., left] * (1 - across) + part[..., right] * across, axis=0))


def _neighbours(places: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells on both sides of each place, and how far it is on the way from one to the other."""
    centres = np.clip(places - 0.5, 0, length - 1)
    low = centres.astype(np.int64)
    return low, np.minimum(low + 1, length - 1), (centres - low).astype(np.float32)


class Overlap:
    """Counts of pixels per class: true, found, and both; what mIoU and the accuracy are made of."""

    def __init__(self) -> None:
        self.true = self.found = self.both = np.zeros(0, np.int64)

    def add(self, truth: np.ndarray, found: np.ndarray, ignore: int | None) -> None:
        """Two maps of one shape; pixels whose truth is `ignore` do not count."""
        if ignore is not None:
            truth, found = truth[truth != ignore], found[truth != ignore]
        self.true = _more(self.true, truth)
        self.found = _more(self.found, found)
        self.both = _more(self.both, truth[truth == found])

    def mean_iou(self) -> tuple[float, int]:
        """The mean of both / (true or found) over the classes that occur, and how many these are."""
        count = max(len(self.true), len(self.found))
        true, found, both = (np.pad(x, (0, count - len(x))) for x in (self.true, self.found, self.both))
        union = true + found - both
        occurring = union > 0
        return float(np.mean(both[occurring] / union[occurring])), int(occurring.sum())

    def accuracy(self) -> float:
        """The fraction of pixels whose class was found."""
        return float(self.both.sum() / self.true.sum())


def _more(counts: np.ndarray, classes: np.ndarray) -> np.ndarray:
    if classes.size and classes.max() >= _MOST_CLASSES:
        raise DataError(f"a mask has the class {classes.max()}; classes are numbered from 0 to 65535")
    new = np.bincount(classes.reshape(-1), minlength=len(counts))
    new[: len(counts)] += counts
    return new
