"""Overlap and suppression against their definitions, box by box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight.tasks._boxes import Boxes, iou, nms

CORNERS = st.integers(0, 12)
ROW = st.tuples(CORNERS, CORNERS, CORNERS, CORNERS, st.integers(0, 10), st.integers(0, 2))


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Boxes:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def overlap_of_cells(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of boxes with whole corners by counting the pixels of a 12 by 12 picture."""
    masks = []
    for left, top, right, bottom in (a, b):
        mask = np.zeros((12, 12), bool)
        mask[int(top) : int(bottom), int(left) : int(right)] = True
        masks.append(mask)
    union = np.sum(masks[0] | masks[1])
    return float(np.sum(masks[0] & masks[1]) / union) if union else 0.0


def plain_nms(given: Boxes, confidence: float, overlap: float, max_det: int, aware: bool) -> list[int]:
    """Rows kept by the definition: best first, each compared with all that were kept before it."""
    kept: list[int] = []
    for row in sorted(range(len(given)), key=lambda row: (-given.scores[row], row)):
        rivals = [one for one in kept if not aware or given.classes[one] == given.classes[row]]
        clear = all(overlap_of_cells(given.xyxy[one], given.xyxy[row]) <= overlap for one in rivals)
        if given.scores[row] > confidence and clear and len(kept) < max_det:
            kept.append(row)
    return kept


@settings(max_examples=50, deadline=None)
@given(st.lists(ROW, max_size=12), st.lists(ROW, max_size=12))
def test_iou_counts_pixels(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> None:
    a, b = boxes(*first).xyxy, boxes(*second).xyxy
    found = iou(a, b)
    assert found.shape == (len(a), len(b))
    counted = [[overlap_of_cells(one, other) for other in b] for one in a]
    np.testing.assert_allclose(found, np.reshape(counted, found.shape), atol=1e-12)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(ROW, max_size=14),
    st.sampled_from([0.0, 3.0]),
    st.sampled_from([0.0, 0.3, 0.45, 0.61, 1.0]),
    st.integers(0, 6),
    st.booleans(),
)
def test_nms_is_the_plain_statement(
    rows: list[tuple[int, ...]], confidence: float, overlap: float, max_det: int, aware: bool
) -> None:
    given = boxes(*rows)
    kept = plain_nms(given, confidence, overlap, max_det, aware)
    found = nms(given, confidence, overlap, max_det, class_aware=aware)
    np.testing.assert_array_equal(found.xyxy, given.xyxy[kept])
    np.testing.assert_array_equal(found.scores, given.scores[kept])
    np.testing.assert_array_equal(found.classes, given.classes[kept])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(5))
def test_a_row_that_is_not_finite_is_dropped_and_covers_nothing(bad: float, column: int) -> None:
    row = [0.0, 0.0, 10.0, 10.0, 0.9, 0]
    row[column] = bad
    found = nms(boxes(tuple(row), (0, 0, 10, 10, 0.5, 0)), 0.1, 0.5, 10)  # type: ignore[arg-type]
    assert found.scores.tolist() == [0.5]


def test_nms_of_nothing_and_of_one_box() -> None:
    assert len(nms(Boxes.empty(), 0.0, 0.5, 10)) == 0
    one = nms(boxes((1, 2, 3, 4, 0.5, 7)), 0.1, 0.5, 10)
    assert one.xyxy.tolist() == [[1, 2, 3, 4]]
    assert (one.xyxy.dtype, one.scores.dtype, one.classes.dtype) == (np.float64, np.float64, np.int64)
    assert len(nms(boxes((1, 2, 3, 4, 0.5, 7)), 0.5, 0.5, 10)) == 0, (
        "a score at the threshold is not above it"
    )


def test_classes_suppress_each_other_only_if_told_to() -> None:
    given = boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 1), (0, 0, 9, 10, 0.7, 0))
    assert nms(given, 0.0, 0.5, 10).scores.tolist() == [0.9, 0.8]
    assert nms(given, 0.0, 0.5, 10, class_aware=False).scores.tolist() == [0.9]


def test_clipping_cuts_at_the_border_of_the_picture() -> None:
    cut = boxes((-5, -6, 50, 60, 0.5, 1), (70, 80, 90, 95, 0.4, 2)).clipped(30, 40)
    assert cut.xyxy.tolist() == [[0, 0, 40, 30], [40, 30, 40, 30]]
    assert cut.scores.tolist() == [0.5, 0.4]
