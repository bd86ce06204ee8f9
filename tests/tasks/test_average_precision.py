"""Mean average precision against pycocotools, called here by itself on a file as COCO has it."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from knight.tasks._average_precision import mean_average_precision
from knight.tasks._boxes import Boxes

SIZE = (100, 120)


def boxes(rows: np.ndarray) -> Boxes:
    """Rows of x1, y1, x2, y2, score, class."""
    rows = np.asarray(rows, np.float64).reshape(-1, 6)
    return Boxes(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def by_pycocotools(truth: list[Boxes], found: list[Boxes], most: int, folder: Path) -> tuple[float, float]:
    """What its summary prints, read from files; its ids start at 1, its categories are all there are."""

    def written(one: Boxes, row: int, picture: int) -> dict[str, object]:
        x1, y1, x2, y2 = one.xyxy[row].tolist()
        return {
            "image_id": picture + 1,
            "category_id": int(one.classes[row]) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
        }

    every = [(picture, one, row) for picture, one in enumerate(truth) for row in range(len(one))]
    dataset = {
        "images": [{"id": picture + 1} for picture in range(len(truth))],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(90)],
        "annotations": [
            {**written(one, row, picture), "id": number + 1, "iscrowd": 0}
            for number, (picture, one, row) in enumerate(every)
        ],
    }
    results = [
        {**written(one, row, picture), "score": float(one.scores[row])}
        for picture, one in enumerate(found)
        for row in range(len(one))
    ]
    (folder / "truth.json").write_text(json.dumps(dataset), "utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "truth.json")
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
        half = evaluation.eval["precision"][0, :, :, 0, 2]
        every_overlap = evaluation.eval["precision"][:, :, :, 0, 2]
    return float(half[half > -1].mean()), float(every_overlap[every_overlap > -1].mean())


def random_boxes(random: np.random.Generator, count: int, classes: int) -> np.ndarray:
    corner = random.uniform(0, [90, 70], (count, 2))
    sides = random.uniform(2, 30, (count, 2))
    scores = random.integers(1, 20, count) / 20  # ties among them
    return np.column_stack([corner, corner + sides, scores, random.integers(0, classes, count)])


def near(random: np.random.Generator, rows: np.ndarray, much: float) -> np.ndarray:
    """The same boxes, moved a little, some with another score or class, some lost."""
    moved = rows[random.random(len(rows)) > 0.2].copy()
    moved[:, :4] += random.normal(0, much, (len(moved), 4))
    moved[:, 2:4] = np.maximum(moved[:, 2:4], moved[:, :2] + 1)
    moved[:, 4] = random.integers(1, 20, len(moved)) / 20
    other = random.random(len(moved)) < 0.1
    moved[other, 5] = random.integers(0, 4, int(other.sum()))
    return moved


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 5), st.floats(0, 6))
@settings(max_examples=40, deadline=None)
def test_random_boxes_give_what_pycocotools_gives(
    seed: int, pictures: int, classes: int, much: float
) -> None:
    random = np.random.default_rng(seed)
    rows = [random_boxes(random, int(random.integers(0, 9)), classes) for _ in range(pictures)]
    rows[0] = random_boxes(random, 4, classes)
    noise = [random_boxes(random, int(random.integers(0, 4)), classes + 2) for _ in rows]
    found = [
        boxes(np.concatenate([near(random, one, much), extra]))
        for one, extra in zip(rows, noise, strict=True)
    ]
    truth = [boxes(one) for one in rows]
    if not any(map(len, found)):
        return
    wanted = by_pycocotools_in_a_new_folder(truth, found, 100)
    got = mean_average_precision(truth, found, [SIZE] * pictures)
    assert got == pytest.approx(wanted, abs=1e-4)


def by_pycocotools_in_a_new_folder(truth: list[Boxes], found: list[Boxes], most: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        return by_pycocotools(truth, found, most, Path(folder))


def test_more_than_a_hundred_boxes_all_count(tmp_path: Path) -> None:
    """COCO's own setting stops at 100 per picture and class; max_det is the user's."""
    random = np.random.default_rng(0)
    rows = random_boxes(random, 250, 1)
    rows[:, 4] = np.linspace(1, 0.1, 250)
    truth, found = [boxes(rows)], [boxes(rows)]
    assert mean_average_precision(truth, found, [SIZE]) == pytest.approx((1.0, 1.0))
    assert by_pycocotools(truth, found, 250, tmp_path) == pytest.approx((1.0, 1.0))
    assert by_pycocotools(truth, found, 100, tmp_path)[0] < 0.5


def test_many_classes_and_far_numbers() -> None:
    rows = np.column_stack([random_boxes(np.random.default_rng(1), 60, 1)[:, :5], np.arange(60) * 1000])
    truth = [boxes(rows[:30]), boxes(rows[30:])]
    half_found = [boxes(rows[:30]), Boxes.empty()]
    assert mean_average_precision(truth, truth, [SIZE] * 2) == pytest.approx((1.0, 1.0))
    assert mean_average_precision(truth, half_found, [SIZE] * 2) == pytest.approx((0.5, 0.5))


def test_a_class_without_a_labelled_box_does_not_count() -> None:
    truth = boxes(np.array([[0, 0, 10, 10, 1, 0]]))
    found = boxes(np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.99, 1]]))
    assert mean_average_precision([truth], [found], [SIZE]) == pytest.approx((1.0, 1.0))


def test_a_box_that_covers_two_thirds_counts_up_to_that_overlap() -> None:
    truth = boxes(np.array([[0, 0, 10, 30, 1, 0]]))
    found = boxes(np.array([[0, 0, 10, 20.1, 0.9, 0]]))  # IoU 0.67: right at 0.5, 0.55, 0.6, 0.65
    assert mean_average_precision([truth], [found], [SIZE]) == pytest.approx((1.0, 0.4))


def test_boxes_that_are_no_numbers_are_left_out() -> None:
    good = [[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 1]]
    bad = [[np.nan, 0, 10, 10, 0.95, 0], [0, 0, np.inf, 10, 0.95, 0], [0, 0, 10, 10, np.nan, 1]]
    truth = [boxes(np.array(good))]
    wanted = mean_average_precision(truth, [boxes(np.array(good))], [SIZE])
    assert mean_average_precision(truth, [boxes(np.array(bad + good))], [SIZE]) == wanted
    assert wanted == pytest.approx((1.0, 1.0))
    assert mean_average_precision(truth, [boxes(np.array(bad))], [SIZE]) == (0.0, 0.0)


def test_nothing_labelled_and_nothing_found() -> None:
    one, none = boxes(np.array([[0, 0, 10, 10, 0.9, 0]])), Boxes.empty()
    assert mean_average_precision([one, none], [none, none], [SIZE] * 2) == (0.0, 0.0)
    assert mean_average_precision([none, none], [one, none], [SIZE] * 2) == (0.0, 0.0)
    assert mean_average_precision([none], [none], [SIZE]) == (1.0, 1.0)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    one = boxes(np.array([[0, 0, 10, 10, 0.9, 0]]))
    mean_average_precision([one], [one], [SIZE])
    assert capsys.readouterr().out == ""
