"""Prior boxes, detections from boxes and scores, pooled regions, against plain statements and OpenCV."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from knight.errors import ModelError
from tests.converters.caffe.nets import (
    assert_matches,
    assert_matches_opencv,
    convert_net,
    image,
    layer,
    numbers,
)

MAP = image(1, 4, 3, 2, name="map") + image(1, 3, 60, 40)


def priors(
    cells: tuple[int, int], picture: tuple[int, int], step: tuple[float, float], offset: float
) -> np.ndarray:
    """min_size 10 and 20, max_size 15 and 30, aspect ratio 2 and its inverse: box by box."""
    found = []
    for row in range(cells[0]):
        for column in range(cells[1]):
            cx, cy = (column + offset) * step[1], (row + offset) * step[0]
            for least, most in ((10, 15), (20, 30)):
                sizes = [(least, least), (math.sqrt(least * most),) * 2]
                sizes += [(least * math.sqrt(r), least / math.sqrt(r)) for r in (2.0, 0.5)]
                for w, h in sizes:
                    box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
                    found.append([v / (picture[1] if i % 2 == 0 else picture[0]) for i, v in enumerate(box)])
    return np.array(found)


@pytest.mark.parametrize(
    ("text", "step", "offset"),
    [
        ("", (20.0, 20.0), 0.5),
        ("step: 16 offset: 0.25", (16.0, 16.0), 0.25),
        ("clip: true", (20.0, 20.0), 0.5),
    ],
)
def test_prior_box(text: str, step: tuple[float, float], offset: float, tmp_path: Path) -> None:
    sizes = "min_size: 10 min_size: 20 max_size: 15 max_size: 30 aspect_ratio: 2 aspect_ratio: 2 flip: true"
    variances = "variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4"
    net = MAP + layer("PriorBox", f"prior_box_param {{ {sizes} {variances} {text} }}", bottom="map data")
    boxes = priors((3, 2), (60, 40), step, offset)
    boxes = boxes.clip(0, 1) if "clip" in text else boxes
    wanted = np.stack([boxes.reshape(-1), np.tile([0.1, 0.2, 0.3, 0.4], len(boxes))])[None]
    feeds = {"map": numbers(1, 4, 3, 2), "data": numbers(1, 3, 60, 40)}
    assert_matches(convert_net(net, {}, tmp_path), feeds, [wanted])


def test_prior_box_of_a_picture_whose_size_is_given(tmp_path: Path) -> None:
    text = (
        "min_size: 12 aspect_ratio: 1 aspect_ratio: 3 flip: false img_h: 120 img_w: 80 step_h: 30 step_w: 10"
    )
    net = MAP + layer("PriorBox", f"prior_box_param {{ {text} }}", bottom="map data")
    wanted = []
    for row in range(3):
        for column in range(2):
            cx, cy = (column + 0.5) * 10, (row + 0.5) * 30
            for w, h in ((6, 6), (6 * math.sqrt(3), 6 / math.sqrt(3))):
                wanted += [(cx - w) / 80, (cy - h) / 120, (cx + w) / 80, (cy + h) / 120]
    conversion = convert_net(net, {}, tmp_path)
    feeds = {"map": numbers(1, 4, 3, 2), "data": numbers(1, 3, 60, 40)}
    assert_matches(conversion, feeds, [np.array([[wanted, [0.1] * len(wanted)]])])


def test_wrong_priors(tmp_path: Path) -> None:
    for text, said in (
        ("max_size: 3", "has no min_size"),
        ("min_size: 3 min_size: 4 max_size: 5", "has 2 min_size and 1 max_size"),
        ("min_size: 3 variance: 1 variance: 2", "wants one or four"),
        ("min_size: 3 variance: -1", "wants one or four above zero"),
        ("min_size: 0", "a minimum is above 0"),
        ("min_size: 3 max_size: 3", "a maximum above it"),
        ("min_size: 3 aspect_ratio: 0", "they have to be above 0"),
    ):
        with pytest.raises(ModelError, match=said):
            convert_net(
                MAP + layer("PriorBox", f"prior_box_param {{ {text} }}", bottom="map data"), {}, tmp_path
            )


PRIOR = (
    "prior_box_param { min_size: 12 aspect_ratio: 2 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }"
)
COUNT = 3 * 2 * 3 + 2 * 2 * 3
NMS = "nms_param { nms_threshold: 0.45 top_k: 400 } keep_top_k: 200 confidence_threshold: 0.3"


def ssd(text: str, batch: int = 1, classes: int = 3, places: int = 1) -> str:
    """Priors of two feature maps, joined as SSD does it; locations and confidences are inputs."""
    net = image(batch, 4, 3, 2, name="map") + image(batch, 4, 2, 2, name="map2") + image(batch, 3, 60, 40)
    net += layer("PriorBox", PRIOR, bottom="map data", top="prior1")
    net += layer("PriorBox", PRIOR, bottom="map2 data", top="prior2")
    net += layer("Concat", "concat_param { axis: 2 }", "prior1 prior2", "prior")
    net += image(batch, COUNT * 4 * places, name="loc") + image(batch, COUNT * classes, name="conf")
    return net + layer(
        "DetectionOutput", f"detection_output_param {{ num_classes: {classes} {text} }}", "loc conf prior"
    )


def predictions(batch: int = 1, places: int = 1, seed: int = 0, spread: float = 0.5) -> dict[str, np.ndarray]:
    return {
        "map": numbers(batch, 4, 3, 2),
        "map2": numbers(batch, 4, 2, 2),
        "data": numbers(batch, 3, 60, 40),
        "loc": numbers(batch, COUNT * 4 * places, seed=seed) * spread,
        "conf": np.random.default_rng(seed).random((batch, COUNT * 3)).astype(np.float32),
    }


def prior_boxes() -> tuple[np.ndarray, np.ndarray]:
    """The boxes of `PRIOR` for both maps, and their variances: [COUNT, 4] each."""
    found = []
    for rows, columns in ((3, 2), (2, 2)):
        for row, column in np.ndindex(rows, columns):
            cx, cy = (column + 0.5) / columns, (row + 0.5) / rows
            for ratio in (1, 2, 0.5):
                w, h = 6 * math.sqrt(ratio) / 40, 6 / math.sqrt(ratio) / 60
                found.append([cx - w, cy - h, cx + w, cy + h])
    return np.array(found), np.tile([0.1, 0.1, 0.2, 0.2], (COUNT, 1))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inside = float(np.prod(np.maximum(high - low, 0)))
    return inside / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inside)


def boxes_of(offset: np.ndarray, code: str, encoded: bool) -> np.ndarray:
    """SSD's boxes from `offset`, [COUNT, 4]."""
    boxes, variance = prior_boxes()
    offset = offset if encoded else offset * variance
    size, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    if code == "CENTER_SIZE":
        middle, half = offset[:, :2] * size + centre, np.exp(offset[:, 2:]) * size / 2
        return np.concatenate([middle - half, middle + half], 1)
    return boxes + offset * (np.tile(size, 2) if code == "CORNER_SIZE" else 1)


def decided(
    feeds: dict[str, np.ndarray],
    threshold: float = 0.3,
    top_k: int = 400,
    keep: int = 200,
    code: str = "CENTER_SIZE",
    encoded: bool = False,
    background: int = 0,
) -> np.ndarray:
    """SSD's rule, picture by picture and label by label."""
    rows: list[list[float]] = []
    batch = len(feeds["loc"])
    for n in range(batch):
        offsets = feeds["loc"][n].reshape(COUNT, -1, 4)
        scores = feeds["conf"][n].reshape(COUNT, -1)
        picked: list[tuple[float, int, np.ndarray]] = []
        for label in set(range(scores.shape[1])) - {background}:
            found = boxes_of(offsets[:, label % offsets.shape[1]], code, encoded)
            order = np.argsort(-scores[:, label], kind="stable")
            kept: list[int] = []
            for i in [i for i in order if scores[i, label] > threshold][:top_k]:
                if all(overlap(found[i], found[j]) <= 0.45 for j in kept):
                    kept.append(int(i))
            picked += [(float(scores[i, label]), label, found[i]) for i in kept]
        picked = sorted(picked, key=lambda item: -item[0])[:keep]
        picked = sorted(picked, key=lambda item: (item[1], -item[0]))
        rows += [[n, label, score, *box] for score, label, box in picked]
    if not rows:
        rows = [[n, *[-1.0] * 6] for n in range(batch)]
    return np.array(rows)[None, None]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("top_k", "keep", "threshold"), [(400, 200, 0.3), (5, 4, 0.1), (400, 200, 2.0)])
def test_detection_output(batch: int, top_k: int, keep: int, threshold: float, tmp_path: Path) -> None:
    text = (
        f"nms_param {{ nms_threshold: 0.45 top_k: {top_k} }} code_type: CENTER_SIZE keep_top_k: {keep} "
        f"confidence_threshold: {threshold} background_label_id: 0"
    )
    feeds = predictions(batch)
    wanted = decided(feeds, threshold, top_k, keep)
    assert_matches(convert_net(ssd(text, batch), {}, tmp_path), feeds, [wanted])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("code_type: CENTER_SIZE variance_encoded_in_target: true", {"encoded": True}),
        ("code_type: CORNER", {"code": "CORNER"}),
        ("code_type: CORNER variance_encoded_in_target: true", {"code": "CORNER", "encoded": True}),
        ("code_type: CORNER_SIZE", {"code": "CORNER_SIZE"}),
        ("code_type: CENTER_SIZE background_label_id: 2", {"background": 2}),
        ("code_type: CENTER_SIZE background_label_id: -1", {"background": -1}),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_every_code_of_boxes(text: str, rule: dict, shared: bool, tmp_path: Path) -> None:
    """With boxes for all classes together, and for each."""
    places = 1 if shared else 3
    net = ssd(f"{NMS} {text} share_location: {str(shared).lower()}", 2, places=places)
    feeds = predictions(2, places, seed=3, spread=0.05)
    assert_matches(convert_net(net, {}, tmp_path), feeds, [decided(feeds, **rule)])


def test_equal_scores_beyond_top_k(tmp_path: Path) -> None:
    """Of equal ones the first `top_k` take part, not more: every box here has a score of 0.5."""
    net = ssd("nms_param { nms_threshold: 0.45 top_k: 7 } code_type: CENTER_SIZE keep_top_k: 200")
    feeds = predictions(spread=0.01)
    feeds["conf"][:] = 0.5
    assert_matches(convert_net(net, {}, tmp_path), feeds, [decided(feeds, -1, 7)])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("code_type: CORNER share_location: true", 1),
        ("code_type: CENTER_SIZE share_location: true", 1),
        ("code_type: CENTER_SIZE share_location: false", 3),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_as_opencv_does_it(text: str, places: int, batch: int, tmp_path: Path) -> None:
    net = ssd(f"{NMS} {text} background_label_id: 0", batch, places=places)
    conversion = convert_net(net, {}, tmp_path)
    assert_matches_opencv(conversion, predictions(batch, places, seed=1, spread=0.1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("share_location: false", r"which do not fit num_classes 3 and share_location false"),
        ("num_classes: 4", r"which do not fit num_classes 4"),
        ("num_classes: 0", r"which do not fit num_classes 0"),
        ("nms_param { eta: 0.9 }", "eta"),
        ("normalized_bbox: false", "normalized_bbox"),
    ],
)
def test_what_does_not_fit(text: str, message: str, tmp_path: Path) -> None:
    net = ssd(text)
    if "num_classes" in text:
        net = net.replace("num_classes: 3 ", "", 1)
    with pytest.raises(ModelError, match=rf"layer 'out' \(DetectionOutput\): .*{message}"):
        convert_net(net, {}, tmp_path)


def test_detection_output_wants_three_bottoms(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"layer 'out' \(DetectionOutput\): has 1 bottoms, wants 3"):
        convert_net(image(1, 8) + layer("DetectionOutput"), {}, tmp_path)


def test_roi_pooling(tmp_path: Path) -> None:
    net = image(2, 3, 8, 10) + image(4, 5, name="rois")
    net += layer(
        "ROIPooling", "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }", "data rois"
    )
    x = numbers(2, 3, 8, 10)
    rois = np.array([[0, 0, 0, 18, 14], [1, 3, 5, 12, 9], [0, 7, 7, 7, 7], [1, 0, 2, 19, 15]], np.float32)
    wanted = np.zeros((4, 3, 3, 2), np.float32)
    for r, (index, *corners) in enumerate(rois):
        x0, y0, x1, y1 = (math.floor(c * 0.5 + 0.5) for c in corners)
        height, width = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(3):
            for j in range(2):
                rows = slice(y0 + math.floor(i * height / 3), y0 + math.ceil((i + 1) * height / 3))
                columns = slice(x0 + math.floor(j * width / 2), x0 + math.ceil((j + 1) * width / 2))
                cell = x[int(index), :, rows, columns]
                wanted[r, :, i, j] = cell.reshape(3, -1).max(1) if cell.size else 0
    conversion = convert_net(net, {}, tmp_path)
    assert_matches(conversion, {"data": x, "rois": rois}, [wanted])


@pytest.mark.parametrize(
    ("text", "rois", "message"),
    [
        ("pooled_h: 3", (4, 5), "wants pooled_h, pooled_w"),
        ("pooled_h: 3 pooled_w: 3 spatial_scale: 0", (4, 5), "and spatial_scale above zero"),
        ("pooled_h: 3 pooled_w: 3", (4, 4), "five numbers for each region"),
    ],
)
def test_roi_pooling_that_does_not_fit(
    text: str, rois: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    net = image(1, 3, 8, 10) + image(*rois, name="rois")
    net += layer("ROIPooling", f"roi_pooling_param {{ {text} }}", "data rois")
    with pytest.raises(ModelError, match=rf"layer 'out' \(ROIPooling\): .*{message}"):
        convert_net(net, {}, tmp_path)
