"""Shapes of inputs as users give them: -1 leaves a dimension open."""

from __future__ import annotations

from collections.abc import Sequence

from knight.listener import Listener

OPEN = -1
_LENGTHS = {2: 16, 3: 16, 4: 64, 5: 16}


def open_length(rank: int) -> int:
    """What an open dimension that is not the batch is tried with, in an input of so many dimensions."""
    return _LENGTHS.get(rank, 8)


def filled(shape: Sequence[int]) -> tuple[int, ...]:
    """`shape` with a size to try in place of each -1; a batch is one."""
    return tuple(
        size if size != OPEN else 1 if axis == 0 else open_length(len(shape))
        for axis, size in enumerate(shape)
    )


def tell_fixed(name: str, wanted: Sequence[int], known: Sequence[int | None], listener: Listener) -> None:
    """Warns of a -1 where the model is fixed to one size: it cannot be opened. Open is None or negative."""
    for axis, (size, fixed) in enumerate(zip(wanted, known, strict=False)):
        if size == OPEN and fixed is not None and fixed >= 0:
            listener.warn(f"input {name!r}: dimension {axis} is fixed at {fixed} in the model and stays so")


def open_axes(name: str, shape: Sequence[int]) -> dict[int, str]:
    """Axis -> name of its dimension, of those that `shape` leaves open; the batch is one for all inputs."""
    return {axis: f"{name}_{axis}" if axis else "batch" for axis, size in enumerate(shape) if size == OPEN}
