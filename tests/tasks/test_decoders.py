"""Every decoder on tensors made from known boxes by turning the published formula round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from knight.errors import ConfigError
from knight.tasks._boxes import Boxes
from knight.tasks._decoders import Detector, decoders, find_decoder

CLASSES = 3
SIZE = (192, 256)  # height and width differ, so that the two cannot be mixed up unseen
STRIDES = (8, 16, 32)
KNOWN = Boxes(
    np.array([[10.3, 20.7, 60.1, 90.9], [100.0, 4.0, 131.5, 30.25], [30.0, 60.0, 250.0, 188.0]]),
    np.array([0.9, 0.75, 0.6]),
    np.array([2, 0, 1]),
)
LEVEL = (1, 0, 2)
"""Which stride each known box is put into: one in each."""
ANCHORS = (
    (10.0, 13.0, 16.0, 30.0, 33.0, 23.0),
    (30.0, 61.0, 62.0, 45.0, 59.0, 119.0),
    (116.0, 90.0, 156.0, 198.0, 373.0, 326.0),
)
OBJECTNESS = 0.95
LOW = -20.0
"""Logit of what is not there."""


def logit(p: np.ndarray | float) -> np.ndarray:
    return np.log(p) - np.log1p(-np.asarray(p))


def cells(stride: int) -> tuple[int, int]:
    return SIZE[0] // stride, SIZE[1] // stride


def centre(box: np.ndarray) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def check(found: Sequence[Boxes], known: Boxes = KNOWN, classes: Sequence[int] | None = None) -> None:
    """The boxes found in a batch of two are in both pictures those known, up to their order."""
    assert len(found) == 2
    for boxes in found:
        assert len(boxes) == len(known)
        order = np.argsort(-boxes.scores)
        np.testing.assert_allclose(boxes.scores[order], known.scores, atol=1e-3)
        np.testing.assert_allclose(boxes.xyxy[order], known.xyxy, atol=0.5)
        assert boxes.classes[order].tolist() == list(classes or known.classes)
        assert boxes.xyxy.dtype == boxes.scores.dtype == np.float64 and boxes.classes.dtype == np.int64


def twice(*outputs: np.ndarray) -> list[np.ndarray]:
    """A batch of two of the same, in float32 as models give it."""
    return [np.stack([output, output]).astype(np.float32) for output in outputs]


def detector(anchors: tuple[tuple[float, ...], ...] | None = None, classes: int | None = CLASSES) -> Detector:
    return Detector(SIZE, classes, anchors, 0.3)


def recognised(name: str, outputs: Sequence[np.ndarray], about: Detector) -> list[Boxes]:
    """What the decoder finds that the shapes lead to; it must be the one called `name`."""
    decoder = find_decoder([output.shape for output in outputs], about)
    assert decoder is decoders.get(name)
    return decoder.decode(outputs, about)


# --- with anchors ---


def inverse_v3(
    cx: float, cy: float, w: float, h: float, s: int, c: int, r: int, a: np.ndarray
) -> list[float]:
    return [*logit(np.array([cx / s - c, cy / s - r])), np.log(w / a[0]), np.log(h / a[1])]


def inverse_v5(
    cx: float, cy: float, w: float, h: float, s: int, c: int, r: int, a: np.ndarray
) -> list[float]:
    place = np.array([cx / s - c + 0.5, cy / s - r + 0.5]) / 2
    return [*logit(place), *logit(np.sqrt([w / a[0], h / a[1]]) / 2)]


def anchored(inverse: Callable[..., list[float]], anchor: int = 1) -> list[np.ndarray]:
    """Maps [anchors, H, W, 5 + classes] with each known box at its level's `anchor`."""
    maps = [np.full((3, *cells(stride), 5 + CLASSES), LOW) for stride in STRIDES]
    for box, score, label, level in zip(KNOWN.xyxy, KNOWN.scores, KNOWN.classes, LEVEL, strict=True):
        stride, (cx, cy, w, h) = STRIDES[level], centre(box)
        column, row = int(cx // stride), int(cy // stride)
        place = maps[level][anchor, row, column]
        sides = np.reshape(ANCHORS[level], (3, 2))[anchor]
        place[:4] = inverse(cx, cy, w, h, stride, column, row, sides)
        place[4], place[5 + label] = logit(OBJECTNESS), logit(score / OBJECTNESS)
    return maps


FORMS = {"yolov3": inverse_v3, "yolov5": inverse_v5, "yolov7": inverse_v5}
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "five dimensions": lambda level: level,
    "channels first": lambda level: np.moveaxis(level, 3, 1).reshape(-1, *level.shape[1:3]),
    "channels last": lambda level: np.moveaxis(level, 0, 2).reshape(*level.shape[1:3], -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FORMS)
def test_maps_with_anchors(name: str, layout: str) -> None:
    outputs = twice(*map(LAYOUTS[layout], anchored(FORMS[name])))
    check(decoders.get(name).decode(outputs, detector(ANCHORS)))
    check(decoders.get(name).decode(outputs, detector(ANCHORS, classes=None)))


@pytest.mark.parametrize("anchors", [ANCHORS[::-1], tuple(np.reshape(ANCHORS, (9, 2)).tolist())])
def test_levels_and_anchors_come_in_any_order(anchors: tuple[tuple[float, ...], ...]) -> None:
    outputs = twice(*map(LAYOUTS["channels first"], anchored(inverse_v5)))
    check(decoders.get("yolov5").decode(outputs[::-1], detector(anchors)))
    check(decoders.get("yolov5").decode([outputs[1], outputs[2], outputs[0]], detector(anchors)))


@pytest.mark.parametrize("anchors", [ANCHORS[:2], ((1.0, 2.0, 3.0, 4.0),) * 3, ((1.0, 2.0, 3.0),) * 3, ()])
def test_maps_for_other_anchors_are_refused(anchors: tuple[tuple[float, ...], ...]) -> None:
    for layout in LAYOUTS.values():
        outputs = twice(*map(layout, anchored(inverse_v5)))
        with pytest.raises(ConfigError, match=r"'yolov5' reads .* check \"nc\" and \"anchors\""):
            decoders.get("yolov5").decode(outputs, detector(anchors))


def test_maps_with_anchors_are_either_form_and_so_never_guessed() -> None:
    shapes = [output.shape for output in twice(*map(LAYOUTS["channels first"], anchored(inverse_v5)))]
    with pytest.raises(ConfigError, match='key "decoder": yolov3, yolov5, yolov7') as caught:
        find_decoder(shapes, detector(ANCHORS))
    assert "[2, 24, 24, 32]" in str(caught.value)
    assert find_decoder(shapes, detector(ANCHORS), "yolov3") is decoders.get("yolov3")


# --- rows: decoded by the graph, or not ---


def rows(places: int, width: int) -> np.ndarray:
    return np.zeros((places, width))


def exported(places: int) -> np.ndarray:
    table = rows(places, 5 + CLASSES)
    for place, (box, score, label) in enumerate(zip(KNOWN.xyxy, KNOWN.scores, KNOWN.classes, strict=True)):
        table[7 * place, :4] = centre(box)
        table[7 * place, 4], table[7 * place, 5 + label] = OBJECTNESS, score / OBJECTNESS
    return table


PLACES = sum(np.prod(cells(stride)) for stride in STRIDES)


def test_rows_of_an_export_with_anchors() -> None:
    outputs = twice(exported(3 * PLACES))
    check(recognised("yolov5", outputs, detector()))
    check(recognised("yolov5", outputs, detector(ANCHORS)))
    for name in ("yolov3", "yolov7", "yolov6"):
        check(decoders.get(name).decode(outputs, detector()))


def test_rows_without_anchors_are_yolov6_or_yolox_and_so_never_guessed() -> None:
    outputs = twice(exported(PLACES))
    with pytest.raises(ConfigError, match=r"several .* yolov6, yolox$"):
        find_decoder([outputs[0].shape], detector())
    check(decoders.get("yolov6").decode(outputs, detector()))


def test_yolox() -> None:
    table, first = rows(PLACES, 5 + CLASSES), np.cumsum([0, *(np.prod(cells(stride)) for stride in STRIDES)])
    for box, score, label, level in zip(KNOWN.xyxy, KNOWN.scores, KNOWN.classes, LEVEL, strict=True):
        stride, (cx, cy, w, h) = STRIDES[level], centre(box)
        column, row = int(cx // stride), int(cy // stride)
        place = table[first[level] + row * cells(stride)[1] + column]
        place[:4] = cx / stride - column, cy / stride - row, np.log(w / stride), np.log(h / stride)
        place[4], place[5 + label] = OBJECTNESS, score / OBJECTNESS
    check(decoders.get("yolox").decode(twice(table), detector()))
    with pytest.raises(ConfigError, match=r"'yolox' reads one output .* one row per cell"):
        decoders.get("yolox").decode(twice(table[:-1]), detector())


@pytest.mark.parametrize("places", [PLACES, 300])
def test_yolov8_export(places: int) -> None:
    table = np.delete(exported(places), 4, axis=1)
    table[:, 4:] *= OBJECTNESS
    check(recognised("yolov8", twice(table.T), detector()))
    check(decoders.get("yolov8").decode(twice(table), detector()))
    assert decoders.get("yolov11") is decoders.get("yolov8")


# --- distances from cells ---


def bins(distance: float, count: int) -> np.ndarray:
    """Logits of a distribution whose mean is `distance`: all its mass on the two bins next to it."""
    masses = np.full(count, 1e-9)
    below = int(distance)
    masses[below] += 1 - (distance - below)
    masses[below + 1] += distance - below
    return np.log(masses)


def distanced(offset: float, count: int | None, strides: Sequence[int] = STRIDES) -> list[np.ndarray]:
    """Per level [H, W, classes + 4 * count]: probabilities, and distances in cells from column + `offset`.

    Without `count` the four numbers are the distances themselves.
    """
    width = CLASSES + 4 * (count or 1)
    maps = [np.zeros((*cells(stride), width)) for stride in strides]
    for box, score, label, level in zip(KNOWN.xyxy, KNOWN.scores, KNOWN.classes, LEVEL, strict=True):
        stride, (cx, cy, _, _) = strides[level], centre(box)
        column, row = int(cx // stride), int(cy // stride)
        point = np.array([column + offset, row + offset])
        sides = [*(point - box[:2] / stride), *(box[2:] / stride - point)]
        place = maps[level][row, column]
        place[label] = score
        place[CLASSES:] = sides if count is None else np.concatenate([bins(side, count) for side in sides])
    return maps


def in_two(levels: Sequence[np.ndarray], arrange: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """Outputs of classes, then outputs of boxes."""
    return [arrange(level[..., :CLASSES]) for level in levels] + [
        arrange(level[..., CLASSES:]) for level in levels
    ]


ARRANGED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows": lambda level: level.reshape(-1, level.shape[-1]),
    "columns": lambda level: level.reshape(-1, level.shape[-1]).T,
    "channels first": lambda level: np.moveaxis(level, -1, 0),
    "channels last": lambda level: level,
}
ORDERS = {"classes first": [0, 1, 2, 3, 4, 5], "by level": [0, 3, 1, 4, 2, 5], "mixed": [5, 1, 0, 3, 2, 4]}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("arrangement", ARRANGED)
@pytest.mark.parametrize(("name", "count"), [("nanodet", 8), ("nanodet", 17), ("yolov6", None)])
def test_classes_and_distances_per_level(name: str, count: int | None, arrangement: str, order: str) -> None:
    outputs = twice(*in_two(distanced(0.5, count), ARRANGED[arrangement]))
    outputs = [outputs[index] for index in ORDERS[order]]
    if count == 17:  # which no published NanoDet has
        check(decoders.get(name).decode(outputs, detector()))
        return
    check(recognised(name, outputs, detector()))
    check(recognised(name, outputs, detector(classes=None)))


def test_nanodet_plus_counts_from_the_corner_of_the_cell() -> None:
    levels = distanced(0.0, 8, (8, 16, 32, 64))
    table = np.concatenate([ARRANGED["rows"](level) for level in levels])
    check(recognised("nanodet_plus", twice(table), detector()))


@pytest.mark.parametrize("count", [16, 8])
@pytest.mark.parametrize("arrangement", ["channels first", "channels last"])
def test_yolov8_heads(arrangement: str, count: int) -> None:
    levels = []
    for level in distanced(0.5, count):
        classes = logit(np.clip(level[..., :CLASSES], 1e-9, 1 - 1e-9))
        levels.append(ARRANGED[arrangement](np.concatenate([level[..., CLASSES:], classes], axis=-1)))
    outputs = twice(*levels)
    check(recognised("yolov8", [outputs[2], outputs[0], outputs[1]], detector()))
    if count == 16:
        check(decoders.get("yolov8").decode(outputs, detector(classes=None)))


@pytest.mark.parametrize("activated", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_yolov8_cut_before_its_heads_are_joined(order: str, activated: bool) -> None:
    levels = distanced(0.5, 16)
    if not activated:
        for level in levels:
            level[..., :CLASSES] = logit(np.clip(level[..., :CLASSES], 1e-9, 1 - 1e-9))
    outputs = twice(*in_two(levels, ARRANGED["channels first"]))
    check(recognised("yolov8", [outputs[index] for index in ORDERS[order]], detector()))


# --- others ---


def test_fastestdet() -> None:
    height, width = cells(16)
    level = np.zeros((5 + CLASSES, height, width))
    for box, score, label in zip(KNOWN.xyxy, KNOWN.scores, KNOWN.classes, strict=True):
        cx, cy, w, h = np.array(centre(box)) / [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]
        column, row = int(cx * width), int(cy * height)
        place = level[:, row, column]
        place[1:3] = np.arctanh([cx * width - column, cy * height - row])
        place[3:5] = logit(np.array([w, h]))
        place[0], place[5 + label] = OBJECTNESS, score / OBJECTNESS
    check(recognised("fastestdet", twice(level), detector()))
    check(recognised("fastestdet", twice(level), detector(classes=None)))


def relative(places: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [places, classes] and cx cy w h [places, 4] relative to the picture."""
    table = exported(places)
    return table[:, 5:] * OBJECTNESS, table[:, :4] / [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]


def test_detr_leaves_out_the_last_class() -> None:
    classes, boxes = relative(100)
    nothing = 1 - classes.sum(axis=1, keepdims=True)
    logits = np.log(np.concatenate([classes, nothing], axis=1) + 1e-9) + 3
    check(recognised("detr", twice(logits, boxes), detector()))


def test_boxes_before_classes_are_told_by_their_four_numbers() -> None:
    classes, boxes = relative(100)
    logits = logit(np.clip(classes, 1e-9, 1 - 1e-9))
    check(recognised("rt_detr", twice(boxes, logits), detector()))


def test_detr_with_a_sigmoid_for_each_class() -> None:
    classes, boxes = relative(300)
    logits = logit(np.clip(classes, 1e-9, 1 - 1e-9))
    check(recognised("rt_detr", twice(logits, boxes), detector()))
    check(recognised("rt_detr", twice(np.concatenate([boxes, classes], axis=1)), detector()))


def test_which_detr_only_the_number_of_classes_tells() -> None:
    shapes = [(1, 100, 92), (1, 100, 4)]
    assert find_decoder(shapes, detector(classes=91)) is decoders.get("detr")
    assert find_decoder(shapes, detector(classes=92)) is decoders.get("rt_detr")
    with pytest.raises(ConfigError, match=r"detr, rt_detr$"):
        find_decoder(shapes, detector(classes=None))


def ultra_light_priors() -> np.ndarray:
    """Priors as the published code nests its loops: level, row, column, side."""
    found = []
    for stride, sides in ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256))):
        rows, columns = int(np.ceil(SIZE[0] / stride)), int(np.ceil(SIZE[1] / stride))
        for row in range(rows):
            for column in range(columns):
                for side in sides:
                    x, y = (column + 0.5) / columns, (row + 0.5) / rows
                    found.append([x, y, side / SIZE[1], side / SIZE[0]])
    return np.clip(found, 0, 1)


def ssd(decoded: bool) -> list[np.ndarray]:
    priors = ultra_light_priors()
    boxes = np.concatenate([priors[:, :2] - priors[:, 2:] / 2, priors[:, :2] + priors[:, 2:] / 2], axis=1)
    offsets = np.random.default_rng(1).normal(size=boxes.shape)
    scores = np.zeros((len(priors), 1 + CLASSES))
    scores[:, 0] = 1
    pixels = [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]
    for box, score, label in zip(KNOWN.xyxy, KNOWN.scores, KNOWN.classes, strict=True):
        cx, cy, w, h = np.array(centre(box)) / pixels
        place = np.argmin(np.abs(priors - [cx, cy, w, h]).sum(axis=1))
        boxes[place] = box / pixels
        prior = priors[place]
        offsets[place] = [
            (cx - prior[0]) / prior[2] / 0.1,
            (cy - prior[1]) / prior[3] / 0.1,
            np.log(w / prior[2]) / 0.2,
            np.log(h / prior[3]) / 0.2,
        ]
        scores[place] = 0
        scores[place, 0], scores[place, 1 + label] = 1 - score, score
    return twice(scores, boxes if decoded else offsets)


@pytest.mark.parametrize("decoded", [True, False])
def test_ssd(decoded: bool) -> None:
    check(recognised("ssd", ssd(decoded), detector()))
    check(recognised("ssd", ssd(decoded), detector(classes=None)))


def test_ssd_with_priors_of_its_own() -> None:
    scores = np.array([[0.2, 0.8]] * 96)
    found = decoders.get("ssd").decode(
        [scores[None].astype(np.float32), np.zeros((1, 96, 4), np.float32)],
        Detector(
            (64, 64),
            1,
            (
                (7.0,),
                (11.0, 12.0),
            ),
            0.5,
        ),
    )
    assert len(found[0]) == 96
    first, last = found[0].xyxy[0], found[0].xyxy[-1]
    assert first.tolist() == [0.5, 0.5, 7.5, 7.5]
    assert last.tolist() == [50, 50, 62, 62]


def test_offsets_to_priors_that_are_not_known_are_refused() -> None:
    scores, offsets = (output[:, :2000] for output in ssd(decoded=False))
    with pytest.raises(
        ConfigError, match=r"2000 boxes .* not decoded, but its priors are 2820 .* \"anchors\""
    ):
        decoders.get("ssd").decode([scores, offsets], detector())
    scores, corners = (output[:, :2000] for output in ssd(decoded=True))
    found = decoders.get("ssd").decode([scores, corners], detector())[0]
    assert set(found.scores.round(3)) <= set(KNOWN.scores)


# --- which one ---


def test_what_no_decoder_knows_is_named_with_all_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"no decoder .* outputs \[1, 10\].* \"nc\" and \"anchors\""
    ) as caught:
        find_decoder([(1, 10)], detector())
    assert all(name in str(caught.value) for name in decoders.names())
    with pytest.raises(ConfigError, match="unknown decoder 'yolo5': did you mean 'yolov5'"):
        find_decoder([(1, 10)], detector(), "yolo5")


@pytest.mark.parametrize(
    ("name", "shapes", "size", "classes"),
    [
        ("fastestdet", [(1, 10, 32, 32)], (512, 512), 5),
        ("nanodet", [(1, 676, 80), (1, 169, 80), (1, 676, 32), (1, 169, 32)], (416, 416), 80),
        ("nanodet_plus", [(1, 3598, 112)], (416, 416), 80),
        ("ssd", [(1, 4420, 2), (1, 4420, 4)], (240, 320), 1),
        ("ssd", [(1, 8732, 21), (1, 8732, 4)], (300, 300), 20),
        ("yolov5", [(1, 25200, 85)], (640, 640), 80),
        ("yolov5", [(1, 2535, 85)], (416, 416), 80),
        ("yolov8", [(1, 84, 8400)], (640, 640), 80),
        ("yolov5", [(1, 25200, 85)], (640, 640), None),
        ("yolov8", [(1, 5, 8400)], (640, 640), 1),
        ("yolov8", [(1, 84, 8400)], (640, 640), None),
        ("yolov8", [(1, 144, 80, 80), (1, 144, 40, 40), (1, 144, 20, 20)], (640, 640), 80),
        ("yolov6", [(1, 80, 80, 80), (1, 4, 80, 80), (1, 80, 40, 40), (1, 4, 40, 40)], (640, 640), 80),
        ("rt_detr", [(1, 300, 80), (1, 300, 4)], (640, 640), 80),
    ],
)  # fmt: skip
def test_published_models_are_recognised(
    name: str, shapes: list[tuple[int, ...]], size: tuple[int, int], classes: int | None
) -> None:
    assert find_decoder(shapes, Detector(size, classes)) is decoders.get(name)
