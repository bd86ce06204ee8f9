"""Two outputs for the same places: scores [B, N, classes] and boxes [B, N, 4]."""

from __future__ import annotations

from collections.abc import Sequence

from knight.tasks._decoders import Shape


def scores_and_boxes(shapes: Sequence[Shape]) -> tuple[int, int] | None:
    """Which output has the scores and which the boxes, which have 4 numbers; None if these are not they.

    Where both have 4 numbers, the scores come first, as published exports have them.
    """
    if [len(shape) for shape in shapes] != [3, 3] or shapes[0][:2] != shapes[1][:2]:
        return None
    if shapes[1][2] == 4:
        return 0, 1
    return (1, 0) if shapes[0][2] == 4 else None
