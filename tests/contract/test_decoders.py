"""Every decoder goes through the same checks."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest

from knight.errors import ConfigError
from knight.tasks._boxes import nms
from knight.tasks._decoders import Detector, Shape, decoders, find_decoder

SIZE = (96, 64)
CLASSES = 5
ANCHORS = ((10.0, 13.0, 16.0, 30.0), (33.0, 23.0, 30.0, 61.0), (62.0, 45.0, 59.0, 119.0))
ROWS = 12 * 8 + 6 * 4 + 3 * 2
PLUS = ROWS + 2 * 1
PRIORS = 4 * ROWS  # of the sides that ANCHORS gives: 4 per level


def levels(*channels: int) -> list[Shape]:
    return [(2, count, 96 // stride, 64 // stride) for stride in (8, 16, 32) for count in channels]


OUTPUTS: dict[str, list[list[Shape]]] = {
    "detr": [[(2, 20, CLASSES + 1), (2, 20, 4)]],
    "fastestdet": [[(2, 5 + CLASSES, 6, 4)]],
    "nanodet": [levels(CLASSES, 32), levels(32, CLASSES)],
    "nanodet_plus": [[(2, PLUS, CLASSES + 32)]],
    "rt_detr": [[(2, 20, CLASSES), (2, 20, 4)], [(2, 20, 4 + CLASSES)]],
    "ssd": [[(2, PRIORS, 1 + CLASSES), (2, PRIORS, 4)]],
    "yolov3": [levels(2 * (5 + CLASSES)), [(2, 2 * ROWS, 5 + CLASSES)]],
    "yolov5": [levels(2 * (5 + CLASSES)), [(2, 2 * ROWS, 5 + CLASSES)]],
    "yolov6": [levels(CLASSES, 4), [(2, ROWS, 5 + CLASSES)]],
    "yolov7": [levels(2 * (5 + CLASSES)), [(2, 2 * ROWS, 5 + CLASSES)]],
    "yolov8": [[(2, 4 + CLASSES, ROWS)], levels(64 + CLASSES), levels(64, CLASSES)],
    "yolov11": [[(2, 4 + CLASSES, ROWS)], levels(64 + CLASSES), levels(64, CLASSES)],
    "yolox": [[(2, ROWS, 5 + CLASSES)]],
}
"""For each key shapes that it reads, of a batch of two."""

WITH_ANCHORS = ("ssd", "yolov3", "yolov5", "yolov7")

CASES = [pytest.param(name, shapes, id=name) for name, forms in OUTPUTS.items() for shapes in forms]
EACH = pytest.mark.parametrize(("name", "shapes"), CASES)


def detector(confidence: float = 0.2) -> Detector:
    return Detector(SIZE, CLASSES, ANCHORS, confidence)


def numbers(shapes: list[Shape], seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.uniform(0.0, 1.0, shape).astype(np.float32) for shape in shapes]


def test_every_decoder_is_here() -> None:
    assert tuple(sorted(OUTPUTS)) == decoders.names()


@pytest.mark.parametrize("name", OUTPUTS)
def test_its_file_says_what_it_reads(name: str) -> None:
    said = importlib.import_module(f"knight.tasks._decoders.{name}").__doc__
    assert said and len(said.splitlines()[0]) > 30


@EACH
def test_boxes_are_what_the_others_expect(name: str, shapes: list[Shape]) -> None:
    outputs = numbers(shapes)
    found = decoders.get(name).decode(outputs, detector())
    assert len(found) == 2
    for boxes in found:
        count = len(boxes)
        assert count > 0
        assert (boxes.xyxy.shape, boxes.xyxy.dtype) == ((count, 4), np.float64)
        assert (boxes.scores.shape, boxes.scores.dtype) == ((count,), np.float64)
        assert (boxes.classes.shape, boxes.classes.dtype) == ((count,), np.int64)
        assert (boxes.scores > 0.2).all() and (boxes.scores <= 1).all()
        assert boxes.classes.min() >= 0 and boxes.classes.max() < CLASSES


@EACH
def test_outputs_are_left_alone(name: str, shapes: list[Shape]) -> None:
    outputs, untouched = numbers(shapes), numbers(shapes)
    for output in outputs:
        output.setflags(write=False)
    decoders.get(name).decode(outputs, detector())
    for output, before in zip(outputs, untouched, strict=True):
        np.testing.assert_array_equal(output, before)


@EACH
def test_pictures_of_a_batch_are_apart(name: str, shapes: list[Shape]) -> None:
    outputs = numbers(shapes)
    together = decoders.get(name).decode(outputs, detector())
    for index in range(2):
        alone = decoders.get(name).decode([output[index : index + 1] for output in outputs], detector())[0]
        np.testing.assert_allclose(alone.xyxy, together[index].xyxy, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(alone.scores, together[index].scores, rtol=1e-5)
        np.testing.assert_array_equal(alone.classes, together[index].classes)


@EACH
def test_a_higher_confidence_leaves_the_better_boxes(name: str, shapes: list[Shape]) -> None:
    low, high = (decoders.get(name).decode(numbers(shapes), detector(least))[0] for least in (0.2, 0.35))
    better = low.select(low.scores > 0.35)
    np.testing.assert_array_equal(high.xyxy, better.xyxy)
    assert len(decoders.get(name).decode(numbers(shapes), detector(1.0))[0]) == 0


@EACH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_numbers_that_are_none_end_with_the_suppression(name: str, shapes: list[Shape], bad: float) -> None:
    """Quietly, and without harm to the other picture."""
    outputs = numbers(shapes)
    clean = decoders.get(name).decode(outputs, detector())[1]
    for output in outputs:
        output[0] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = decoders.get(name).decode(outputs, detector())
        kept = nms(first, 0.0, 0.5, 300)
        decoders.get(name).decode([output[:1] for output in outputs], detector())
    assert np.isfinite(kept.xyxy).all() and np.isfinite(kept.scores).all()
    np.testing.assert_array_equal(second.scores, clean.scores)


@EACH
def test_half_precision_gives_the_same_boxes(name: str, shapes: list[Shape]) -> None:
    outputs = [output.astype(np.float16) for output in numbers(shapes)]
    half = decoders.get(name).decode(outputs, detector())[0]
    single = decoders.get(name).decode([output.astype(np.float32) for output in outputs], detector())[0]
    np.testing.assert_allclose(half.xyxy, single.xyxy, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(half.scores, single.scores, rtol=1e-3)


@EACH
def test_other_outputs_are_refused_with_their_shapes(name: str, shapes: list[Shape]) -> None:
    for wrong in ([], [(2, 7)], [(2, 3, 2)], [*shapes, (2, 3)], [(*shape, 1, 1) for shape in shapes]):
        with pytest.raises(ConfigError, match=f"decoder '{name}|decoder '(yolov5|yolov8)") as caught:
            decoders.get(name).decode([np.zeros(shape, np.float32) for shape in wrong], detector())
        assert all(str(list(shape)) in str(caught.value) for shape in wrong)


@EACH
def test_what_it_fits_is_its_own_or_doubtful(name: str, shapes: list[Shape]) -> None:
    """Without a key the shapes lead to this decoder, or to an error that names it."""
    about = Detector(SIZE, CLASSES, ANCHORS if name in WITH_ANCHORS else None, 0.2)
    try:
        found = find_decoder(shapes, about)
    except ConfigError as error:
        assert name in str(error).split('"decoder": ')[1].split(", ")
    else:
        assert found.fits(shapes, about)
        assert found is decoders.get(name) or len(shapes) == 1, "an export's rows are YOLOv5's for YOLOv3 too"
