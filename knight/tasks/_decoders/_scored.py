"""Two outputs for the same places: scores [B, N, classes] and boxes [B, N, 4]."""

from __future__ import annotations

from collections.abc import Sequence

from knight.tasks._decoders import Detector, Shape


def scores_and_boxes(shapes: Sequence[Shape]) -> tuple[int, int] | None:
    """Which output has the scores and which the boxes, which have 4 numbers; None if these are not they.

    Where both have 4 numbers, the scores come first, as published exports have them.
    """
    if [len(shape) for shape in shapes] != [3, 3] or shapes[0][:2] != shapes[1][:2]:
        return None
    if shapes[1][2] == 4:
        return 0, 1
    return (1, 0) if shapes[0][2] == 4 else None


def scores_with_another(shapes: Sequence[Shape], detector: Detector) -> tuple[int, int] | None:
    """As `scores_and_boxes`, where the scores have one class (background, nothing) beside the detector's."""
    order = scores_and_boxes(shapes)
    if order is None:
        return None
    classes = shapes[order[0]][2] - 1
    return order if classes > 0 and detector.classes in (None, classes) else None
