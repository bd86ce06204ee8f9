"""Outputs that come one per level: which grid each covers, and which of two holds the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Detector, Shape
from knight.tasks._decoders._grids import Grid, corners_and_strides, grid_of_cells, grid_of_shape
from knight.tasks._decoders._numbers import around, best_of_each_place

LAYOUTS = ("NCHW", "NHWC")
"""Of maps; three dimensions are read as the same with the cells in one."""


@dataclass(frozen=True)
class Level:
    """Output number `output`: `channels` numbers for each cell of `grid`."""

    output: int
    grid: Grid
    channels: int
    layout: str

    def rows(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """The numbers as [B, cells, channels]."""
        values = outputs[self.output]
        if self.layout == "NCHW":
            values = np.moveaxis(values, 1, -1)
        return values.reshape(len(values), self.grid.cells, self.channels)


def read_levels(shapes: Sequence[Shape], size: tuple[int, int], layout: str) -> list[Level] | None:
    """What each output is if all have this `layout`, in their order; None if one cannot be read so."""
    levels = [_level(index, shape, size, layout) for index, shape in enumerate(shapes)]
    read = [level for level in levels if level is not None]
    return read if read and len(read) == len(levels) else None


def _level(index: int, shape: Shape, size: tuple[int, int], layout: str) -> Level | None:
    if len(shape) not in (3, 4):
        return None
    channels, cells = (shape[1], shape[2:]) if layout == "NCHW" else (shape[-1], shape[1:-1])
    grid = grid_of_cells(cells[0], size) if len(cells) == 1 else grid_of_shape(cells[0], cells[1], size)
    return Level(index, grid, channels, layout) if grid else None


@dataclass(frozen=True)
class Pair:
    """The two outputs of one level."""

    classes: Level
    boxes: Level


def pair_levels(
    shapes: Sequence[Shape], detector: Detector, is_boxes: Callable[[int], bool]
) -> list[Pair] | None:
    """Outputs two by two, by rising stride; None if they are not that.

    `is_boxes` tells from its channels whether an output may hold the boxes; the other must have
    `detector.classes` channels if they are known. Where both could be either, the classes come first, as
    published exports have them.
    """
    for layout in reversed(LAYOUTS):  # rows of classes, as published, before columns of them
        levels = read_levels(shapes, detector.size, layout)
        pairs = _pairs(levels, detector.classes, is_boxes) if levels else None
        if pairs:
            return pairs
    return None


def _pairs(
    levels: Sequence[Level], classes: int | None, is_boxes: Callable[[int], bool]
) -> list[Pair] | None:
    by_grid: dict[int, list[Level]] = {}
    for level in levels:
        by_grid.setdefault(level.grid.stride, []).append(level)
    pairs = [_pair(by_grid[stride], classes, is_boxes) for stride in sorted(by_grid)]
    read = [pair for pair in pairs if pair is not None]
    alike = len({(pair.classes.channels, pair.boxes.channels) for pair in read}) == 1
    return read if alike and len(read) == len(pairs) else None


def _pair(levels: list[Level], classes: int | None, is_boxes: Callable[[int], bool]) -> Pair | None:
    if len(levels) != 2:
        return None
    for one, other in (levels, levels[::-1]):
        if classes in (None, one.channels) and is_boxes(other.channels):
            return Pair(classes=one, boxes=other)
    return None


def decode_pairs(
    pairs: Sequence[Pair],
    outputs: Sequence[np.ndarray],
    detector: Detector,
    distances: Callable[[np.ndarray], np.ndarray],
    probabilities: Callable[[np.ndarray], np.ndarray] = lambda classes: classes,
) -> list[Boxes]:
    """Boxes whose sides lie so many cells from the middle of their cell.

    `distances` makes l, t, r, b [B, cells, 4] from the channels of the boxes [B, cells, channels],
    `probabilities` what its name says from those of the classes, all levels at once.
    """
    classes = [pair.classes.rows(outputs) for pair in pairs]
    sides = [distances(pair.boxes.rows(outputs)) for pair in pairs]
    corners, strides = corners_and_strides([pair.classes.grid for pair in pairs])
    xyxy = around(corners + 0.5, np.concatenate(sides, axis=1)) * strides
    return best_of_each_place(xyxy, probabilities(np.concatenate(classes, axis=1)), detector.confidence)
