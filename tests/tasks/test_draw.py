"""Drawn boxes, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from knight.tasks._boxes import Boxes
from knight.tasks._draw import COLOURS, draw

GREY = (90, 90, 90)


def canvas(height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def boxes(*rows: tuple[float, ...]) -> Boxes:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    mask: np.ndarray = (picture == np.array(colour, np.uint8)).all(axis=2)
    return mask


def is_light(picture: np.ndarray) -> np.ndarray:
    """Letters: white, but for their smoothed edges."""
    mask: np.ndarray = (picture > 180).all(axis=2)
    return mask


def frame(shape: tuple[int, int], x1: int, y1: int, x2: int, y2: int, thick: int) -> np.ndarray:
    """The pixels of an outline: from corner to corner, both included, `thick` inwards."""
    mask = np.zeros(shape, bool)
    mask[y1 : y2 + 1, x1 : x2 + 1] = True
    mask[y1 + thick : y2 + 1 - thick, x1 + thick : x2 + 1 - thick] = False
    return mask


def label_of(picture: np.ndarray, mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (included) of what was drawn beside the outline."""
    rows, columns = np.nonzero(~is_colour(picture, GREY) & ~mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_an_outline_runs_along_the_pixels_of_its_corners() -> None:
    picture = canvas()
    drawn = draw(picture, boxes((30.7, 40.2, 99.5, 100.9, 0.87, 1)), ["pear", "grape"])
    outline = frame((120, 160), 30, 40, 99, 100, 1)
    assert is_colour(drawn, COLOURS[1])[outline].all()
    inside = drawn[41:100, 31:99]
    assert is_colour(inside, GREY).all()
    left, top, right, bottom = label_of(drawn, outline)
    assert left == 30 and bottom == 39 and right < 110 and top > 15  # above the box, from its left
    changed = ~is_colour(drawn, GREY)
    changed[top : bottom + 1, left : right + 1] = False
    np.testing.assert_array_equal(changed, outline)
    assert is_colour(picture, GREY).all()  # the picture given stays as it is


def test_the_label_holds_name_and_score_in_white_on_the_boxs_colour() -> None:
    one = draw(canvas(), boxes((30, 40, 99, 100, 0.87, 1)), ["pear", "grape"])
    left, top, right, bottom = label_of(one, frame((120, 160), 30, 40, 99, 100, 1))
    label = one[top : bottom + 1, left : right + 1]
    assert is_colour(label, COLOURS[1])[[0, -1]].all() and is_light(label).sum() > 20
    for other in (
        draw(canvas(), boxes((30, 40, 99, 100, 0.88, 1)), ["pear", "grape"]),
        draw(canvas(), boxes((30, 40, 99, 100, 0.87, 1)), ["pear", "grapf"]),
        draw(canvas(), boxes((30, 40, 99, 100, 0.87, 1)), ["pear"]),  # no name: the number
    ):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "row", [(0.0, 0.0, 40.0, 40.0), (130.0, 3.0, 160.0, 120.0), (-50.0, -9.0, 999.0, 999.0)]
)
def test_boxes_and_labels_at_the_border_stay_in_the_picture(row: tuple[float, ...]) -> None:
    drawn = draw(canvas(), boxes((*row, 0.5, 0)), ["cucumber"])
    x1, y1, x2, y2 = (int(min(max(x, 0), most)) for x, most in zip(row, (159, 119) * 2, strict=True))
    colour = is_colour(drawn, COLOURS[0])
    assert colour[y1, x1] and colour[y2, x1] and colour[y1, x2] and colour[y2, x2]
    white = np.argwhere(is_light(drawn))
    assert len(white) > 20 and white[:, 0].min() > y1  # inside the box: there is no room above


def test_the_best_box_lies_on_top_whatever_the_order() -> None:
    low, high = (20, 30, 100, 100, 0.3, 0), (20, 30, 100, 100, 0.9, 2)
    one, other = draw(canvas(), boxes(low, high)), draw(canvas(), boxes(high, low))
    np.testing.assert_array_equal(one, other)
    assert is_colour(one, COLOURS[2])[frame((120, 160), 20, 30, 100, 100, 1)].all()


def test_lines_grow_with_the_picture() -> None:
    drawn = draw(canvas(900, 1600), boxes((200, 300, 800, 700, 0.5, 0)))
    assert is_colour(drawn, COLOURS[0])[frame((900, 1600), 200, 300, 800, 700, 4)].all()
    assert is_colour(drawn[304:696, 204:796], GREY).all()


def test_colours_start_over_after_the_last() -> None:
    one = draw(canvas(), boxes((20, 30, 100, 100, 0.9, len(COLOURS) + 1)))
    assert is_colour(one, COLOURS[1])[30, 20]


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (7, 3)])
def test_tiny_pictures_are_drawn_into(size: tuple[int, int]) -> None:
    drawn = draw(canvas(*size), boxes((0, 0, size[1], size[0], 0.5, 0)), ["a long name"])
    assert drawn.shape == (*size, 3) and is_colour(drawn, COLOURS[0])[0, 0]


def test_no_boxes_no_change() -> None:
    np.testing.assert_array_equal(draw(canvas(), Boxes.empty()), canvas())
