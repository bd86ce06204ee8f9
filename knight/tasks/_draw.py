"""Draws boxes into a picture, each with its class and score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._pictures import pil

COLOURS = (
    *((230, 75, 53), (0, 114, 178), (0, 158, 115), (204, 121, 167), (213, 94, 0)),
    *((86, 180, 233), (148, 103, 189), (140, 86, 75)),
)
"""RGB by class, in turn; the first are apart for the colour-blind (Wong, Nature Methods 2011)."""


def draw(picture: np.ndarray, boxes: Boxes, names: Sequence[str] = ()) -> np.ndarray:
    """A copy of `picture` (uint8 [H, W, 3], RGB) with the outlines of `boxes`, in pixels, the best on top.

    A line runs along the pixels that the corners, rounded down, lie in, and grows inwards with the picture's
    size. Labels stand above the box, or inside where there is no room.
    """
    from PIL import ImageDraw, ImageFont

    image = pil().fromarray(picture.copy())
    pen = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) / 400))
    font = ImageFont.load_default(size=max(10, round(max(image.size) / 45)))
    for place in np.argsort(boxes.scores, kind="stable"):
        label, colour = int(boxes.classes[place]), COLOURS[int(boxes.classes[place]) % len(COLOURS)]
        x1, y1, x2, y2 = _corners(boxes.xyxy[place], image.size)
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        name = names[label] if 0 <= label < len(names) else str(label)
        text = f"{name} {boxes.scores[place]:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        high, wide = bottom - top + 4, right - left + 4
        row = y1 - high if y1 >= high else y1 + width
        column = max(0, min(x1, image.size[0] - wide))
        pen.rectangle((column, row, column + wide - 1, row + high - 1), fill=colour)
        pen.text((column + 2 - left, row + 2 - top), text, fill=(255, 255, 255), font=font)
    return np.asarray(image)


def _corners(xyxy: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels of the corners, inside the picture."""
    x1, x2 = (int(min(max(x, 0), size[0] - 1)) for x in (xyxy[0], xyxy[2]))
    y1, y2 = (int(min(max(y, 0), size[1] - 1)) for y in (xyxy[1], xyxy[3]))
    return x1, y1, max(x1, x2), max(y1, y2)
