"""Where a detector looks: grids of cells laid over the model's input, one per stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STRIDES = (4, 8, 16, 32, 64, 128)
"""Pixels per cell that published detectors have."""

LEVELS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Levels of the published detectors without anchors: the usual three, with P6, with P2."""


@dataclass(frozen=True)
class Grid:
    """`rows` times `columns` cells of `stride` pixels, counted row by row from the top left."""

    stride: int
    rows: int
    columns: int

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    def corners(self) -> np.ndarray:
        """The column and row of each cell: float64 [cells, 2]."""
        rows, columns = np.divmod(np.arange(self.cells), self.columns)
        return np.stack([columns, rows], axis=1).astype(np.float64)


def grid(stride: int, size: tuple[int, int]) -> Grid:
    """The grid of one stride over an input of `size` (height, width); cells at the border may be cut."""
    return Grid(stride, -(-size[0] // stride), -(-size[1] // stride))


def grid_of_shape(rows: int, columns: int, size: tuple[int, int]) -> Grid | None:
    """The grid with so many rows and columns over an input of `size`; None if no stride gives it."""
    strides = (size[0] // rows, *STRIDES) if rows else ()
    fitting = (grid(stride, size) for stride in strides if stride)
    return next((one for one in fitting if (one.rows, one.columns) == (rows, columns)), None)


def grid_of_cells(cells: int, size: tuple[int, int]) -> Grid | None:
    """The grid of a published stride with so many cells over an input of `size`; None if there is none."""
    return next((one for one in (grid(stride, size) for stride in STRIDES) if one.cells == cells), None)


def grids_of_places(
    places: int, size: tuple[int, int], levels: Sequence[Sequence[int]] = LEVELS
) -> list[Grid] | None:
    """The grids that have so many cells together, one place in each; None if no set of `levels` does."""
    for strides in levels:
        grids = [grid(stride, size) for stride in strides]
        if sum(one.cells for one in grids) == places:
            return grids
    return None


def corners_and_strides(grids: Sequence[Grid]) -> tuple[np.ndarray, np.ndarray]:
    """Column and row [N, 2], and stride [N, 1], of all cells of all grids in their order."""
    corners = np.concatenate([one.corners() for one in grids])
    strides = np.repeat([float(one.stride) for one in grids], [one.cells for one in grids])
    return corners, strides[:, None]
