"""Brings a picture to the size, colours and numbers that a model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from knight.errors import ConfigError, DataError, did_you_mean
from knight.tasks._pictures import MOST_PIXELS, pil

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

INTERPOLATIONS = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "area": "BOX"}
CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the model's input: x_input = x_picture * scale_x + left, and so for y.

    A resize that squashes the picture is one with two scales and no offset. Offsets are in pixels of the
    input.
    """

    scale_x: float
    scale_y: float
    left: float
    top: float

    def to_source(self, boxes: np.ndarray) -> np.ndarray:
        """xyxy boxes [n, 4] from pixels of the input to pixels of the picture, float64, not clipped."""
        offset = np.array([self.left, self.top] * 2)
        scale = np.array([self.scale_x, self.scale_y] * 2)
        return np.asarray((np.asarray(boxes, np.float64) - offset) / scale)


def resize(
    picture: np.ndarray, size: tuple[int, int], interpolation: str = "bilinear", antialias: bool = True
) -> np.ndarray:
    """`picture` (uint8 [H, W, 3]) squashed to `size`, (height, width).

    interpolation: "bilinear", "bicubic" or "area" (a mean over whole pixels: exact for reductions by whole
    numbers). antialias: with it, bilinear and bicubic average over all pixels on reduction, as Pillow
    and torchvision do. Without it they read the nearest 4 or 16 pixels only, as OpenCV does: bilinear
    is then within 1 of cv2.INTER_LINEAR; bicubic is not cv2.INTER_CUBIC (a = -1 here, -0.75 there). "area"
    is the same with both.
    """
    if interpolation not in INTERPOLATIONS:
        hint = did_you_mean(interpolation, INTERPOLATIONS)
        raise ConfigError(f"there is no interpolation {interpolation!r}; {hint}")
    height, width = size
    if picture.shape[:2] == (height, width):
        return picture
    image_module = pil()
    image = image_module.fromarray(picture)
    method = image_module.Resampling[INTERPOLATIONS[interpolation]]
    if antialias or interpolation == "area":
        return np.array(image.resize((width, height), method))
    whole = (0, 0, image.width, image.height)
    return np.array(image.transform((width, height), image_module.Transform.EXTENT, whole, method))


def centre_crop(
    picture: np.ndarray,
    size: tuple[int, int],
    shorter: int | None,
    interpolation: str = "bilinear",
    antialias: bool = True,
) -> np.ndarray:
    """The middle (height, width) of `picture`, whose shorter side is brought to `shorter` pixels before.

    The longer side and the crop's corner are rounded as torchvision's Resize and CenterCrop round them. What
    is smaller than the crop after that is enlarged until it covers it (torchvision pads with black). Raises
    DataError where a long, narrow picture would have over 100 million pixels on the way.
    """
    height, width = size
    if shorter is not None:
        if shorter < min(size):
            raise ConfigError(
                f"a shorter side of {shorter} pixels does not cover a crop of {height} x {width}"
            )
        whole = _shorter_to(picture, shorter)
        _check_pixels(picture, whole)
        picture = resize(picture, whole, interpolation, antialias)
    has_height, has_width = picture.shape[:2]
    cover = max(height / has_height, width / has_width)
    if cover > 1:
        covering = (max(height, round(has_height * cover)), max(width, round(has_width * cover)))
        _check_pixels(picture, covering)
        picture = resize(picture, covering, interpolation, antialias)
    top = round((picture.shape[0] - height) / 2)
    left = round((picture.shape[1] - width) / 2)
    return picture[top : top + height, left : left + width]


def _check_pixels(picture: np.ndarray, size: tuple[int, int]) -> None:
    height, width = size
    if height * width > max(MOST_PIXELS, picture.shape[0] * picture.shape[1]):
        raise DataError(
            f"{picture.shape[1]} x {picture.shape[0]} pixels would become {width} x {height} before the "
            f"crop; crop it to a ratio nearer to the model's, or set resize to squash or letterbox"
        )


def _shorter_to(picture: np.ndarray, shorter: int) -> tuple[int, int]:
    height, width = picture.shape[:2]
    if height <= width:
        return shorter, shorter * width // height
    return shorter * height // width, shorter


def letterbox(
    picture: np.ndarray,
    size: tuple[int, int],
    fill: int = 114,
    enlarge: bool = True,
    interpolation: str = "bilinear",
    antialias: bool = True,
    centre: bool = True,
) -> tuple[np.ndarray, Letterbox]:
    """`picture` scaled into `size` (height, width) with its ratio kept, the rest filled, and where it lies.

    As the vendors of YOLOv5 to v11 publish it: r = min(height / H, width / W), new sides round(H r) and
    round(W r), the padding d split into round(d/2 - 0.1) before and round(d/2 + 0.1) behind. They resize with
    OpenCV's bilinear, which is antialias=False here. enlarge: False keeps r at most 1. centre: False puts the
    picture into the upper left corner, as YOLOX does.
    """
    height, width = size
    has_height, has_width = picture.shape[:2]
    ratio = min(height / has_height, width / has_width)
    if not enlarge:
        ratio = min(ratio, 1.0)
    new_height = max(1, round(has_height * ratio))
    new_width = max(1, round(has_width * ratio))
    top = round((height - new_height) / 2 - 0.1) if centre else 0
    left = round((width - new_width) / 2 - 0.1) if centre else 0
    out = np.full((height, width, 3), fill, np.uint8)
    small = resize(picture, (new_height, new_width), interpolation, antialias)
    out[top : top + new_height, left : left + new_width] = small
    return out, Letterbox(new_width / has_width, new_height / has_height, left, top)


def tensor(
    picture: np.ndarray,
    color_space: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    dtype: DTypeLike,
) -> np.ndarray:
    """`picture` (uint8 [H, W, 3], RGB) as [1, C, H, W] of `dtype`: (x - mean) / std in float32.

    mean, std: one number or one per channel, in the order of `color_space` ("RGB", "BGR", or "GRAY", which is
    ITU-R 601 luma as Pillow's "L"); without them the numbers stay 0 to 255. An integer `dtype` takes the
    nearest whole numbers. Raises ConfigError for a wrong count, one without the other, a std of 0, an
    unknown colour space, and numbers that an integer `dtype` cannot hold.
    """
    planes = _planes(picture, color_space)
    if mean is None and std is None:
        return _cast(planes, np.dtype(dtype))
    if mean is None or std is None:
        there, missing = ("std", "mean") if mean is None else ("mean", "std")
        raise ConfigError(f"{there} is given without {missing}; give both or none")
    shift = _per_channel("mean", mean, color_space)
    divisor = _per_channel("std", std, color_space)
    if not divisor.all():
        raise ConfigError(f"std has a 0: {list(std)}; pixels are divided by it")
    numbers = planes.astype(np.float32)
    numbers -= shift
    numbers /= divisor
    return _cast(numbers, np.dtype(dtype))


def _planes(picture: np.ndarray, color_space: str) -> np.ndarray:
    """uint8 [1, C, H, W], contiguous."""
    if color_space not in CHANNELS:
        raise ConfigError(f"there is no color_space {color_space!r}; {did_you_mean(color_space, CHANNELS)}")
    if color_space == "GRAY":
        return np.array(pil().fromarray(picture).convert("L"))[None, None]
    ordered = picture[:, :, ::-1] if color_space == "BGR" else picture
    return np.ascontiguousarray(ordered.transpose(2, 0, 1)[None])


def _per_channel(name: str, values: Sequence[float], color_space: str) -> np.ndarray:
    """float32 [1, 1 or C, 1, 1]."""
    if len(values) not in (1, CHANNELS[color_space]):
        raise ConfigError(
            f"{name} has {len(values)} numbers, {list(values)}, but {color_space} has "
            f"{CHANNELS[color_space]} channels; give one for all or one per channel"
        )
    array = np.asarray(values, np.float32).reshape(1, -1, 1, 1)
    if not np.isfinite(array).all():
        raise ConfigError(f"{name} has numbers that are not finite: {list(values)}")
    return array


def _cast(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iu":
        numbers = np.rint(numbers)
        low, high = float(numbers.min()), float(numbers.max())
        limits = np.iinfo(dtype)
        if low < limits.min or high > limits.max:
            raise ConfigError(
                f"a picture's numbers go from {low:g} to {high:g} and do not fit the input type {dtype}; "
                f"give mean and std that bring them there, or another type"
            )
    return numbers.astype(dtype, copy=False)
