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
    conversion = convert_net(net, {}, tmp_path)
    assert_matches(
        conversion,
        {info.name or "": feeds[info.name or ""] for info in conversion.model.graph.inputs},
        [wanted],
    )


def test_wrong_priors(tmp_path: Path) -> None:
    for text, said in (
        ("max_size: 3", "has no min_size"),
        ("min_size: 3 min_size: 4 max_size: 5", "has 2 min_size and 1 max_size"),
        ("min_size: 3 variance: 1 variance: 2", "has 2 variances"),
    ):
        with pytest.raises(ModelError, match=said):
            convert_net(
                MAP + layer("PriorBox", f"prior_box_param {{ {text} }}", bottom="map data"), {}, tmp_path
            )


PRIOR = (
    "prior_box_param { min_size: 12 aspect_ratio: 2 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }"
)
COUNT = 3 * 2 * 3


def ssd(text: str, batch: int = 1, classes: int = 3) -> str:
    net = image(batch, 4, 3, 2, name="map") + image(batch, 3, 60, 40)
    net += layer("PriorBox", PRIOR, bottom="map data", top="prior")
    net += image(batch, COUNT * 4, name="loc") + image(batch, COUNT * classes, name="conf")
    return net + layer(
        "DetectionOutput", f"detection_output_param {{ num_classes: {classes} {text} }}", "loc conf prior"
    )


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inside = float(np.prod(np.maximum(high - low, 0)))
    return inside / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inside)


def decided(
    loc: np.ndarray,
    conf: np.ndarray,
    prior: np.ndarray,
    threshold: float,
    limit: float,
    top_k: int,
    keep: int,
    code: str = "CENTER_SIZE",
) -> np.ndarray:
    """SSD's rule."""
    boxes, variance = prior.reshape(2, -1, 4)
    rows: list[list[float]] = []
    for n in range(len(loc)):
        offset = loc[n].reshape(-1, 4)
        size, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        middle = variance[:, :2] * offset[:, :2] * size + centre
        half = np.exp(variance[:, 2:] * offset[:, 2:]) * size / 2
        found = np.concatenate([middle - half, middle + half], 1)
        if code == "CORNER_SIZE":
            found = boxes + variance * offset * np.tile(size, 2)
        scores = conf[n].reshape(len(found), -1)
        picked: list[tuple[float, int, int]] = []
        for label in range(1, scores.shape[1]):
            order = [i for i in np.argsort(-scores[:, label], kind="stable") if scores[i, label] > threshold][
                :top_k
            ]
            kept: list[int] = []
            for i in order:
                if all(overlap(found[i], found[j]) <= limit for j in kept):
                    kept.append(int(i))
            picked += [(float(scores[i, label]), label, i) for i in kept]
        picked = sorted(picked, key=lambda item: -item[0])[:keep]
        rows += [
            [n, label, score, *found[i]] for score, label, i in sorted(picked, key=lambda p: (p[1], -p[0]))
        ]
    if not rows:
        rows = [[n, *[-1.0] * 6] for n in range(len(loc))]
    return np.array(rows)[None, None]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("top_k", "keep", "threshold"), [(400, 200, 0.3), (5, 4, 0.1), (400, 200, 2.0)])
def test_detection_output(batch: int, top_k: int, keep: int, threshold: float, tmp_path: Path) -> None:
    text = (
        f"nms_param {{ nms_threshold: 0.45 top_k: {top_k} }} code_type: CENTER_SIZE keep_top_k: {keep} "
        f"confidence_threshold: {threshold} background_label_id: 0"
    )
    conversion = convert_net(ssd(text, batch), {}, tmp_path)
    random = np.random.default_rng(0)
    feeds = {
        "map": numbers(batch, 4, 3, 2),
        "data": numbers(batch, 3, 60, 40),
        "loc": numbers(batch, COUNT * 4) / 2,
        "conf": random.random((batch, COUNT * 3)).astype(np.float32),
    }
    feeds = {info.name or "": feeds[info.name or ""] for info in conversion.model.graph.inputs}
    prior = _prior()
    wanted = decided(feeds["loc"], feeds["conf"], prior, threshold, 0.45, top_k, keep)
    assert_matches(conversion, feeds, [wanted])


def _prior() -> np.ndarray:
    found = []
    for row in range(3):
        for column in range(2):
            cx, cy = (column + 0.5) * 20, (row + 0.5) * 20
            for w, h in (
                (12, 12),
                (12 * math.sqrt(2), 12 / math.sqrt(2)),
                (12 / math.sqrt(2), 12 * math.sqrt(2)),
            ):
                found.append([(cx - w / 2) / 40, (cy - h / 2) / 60, (cx + w / 2) / 40, (cy + h / 2) / 60])
    return np.stack([np.array(found).reshape(-1), np.tile([0.1, 0.1, 0.2, 0.2], COUNT)])


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE"])
def test_box_codes_as_opencv_reads_them(code: str, tmp_path: Path) -> None:
    text = (
        f"nms_param {{ nms_threshold: 0.9 top_k: 100 }} code_type: {code} keep_top_k: 100 "
        "confidence_threshold: 0.2 share_location: true background_label_id: 0"
    )
    conversion = convert_net(ssd(text), {}, tmp_path)
    random = np.random.default_rng(1)
    feeds = {
        "map": numbers(1, 4, 3, 2),
        "data": numbers(1, 3, 60, 40),
        "loc": numbers(1, COUNT * 4) / 8,
        "conf": random.random((1, COUNT * 3)).astype(np.float32),
    }
    names = [value.name or "" for value in conversion.model.graph.inputs]
    assert_matches_opencv(conversion, {name: feeds[name] for name in names})


def test_variances_that_are_in_the_offsets_already(tmp_path: Path) -> None:
    text = (
        "nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 200 "
        "confidence_threshold: 0.3 variance_encoded_in_target: true"
    )
    conversion = convert_net(ssd(text), {}, tmp_path)
    feeds = {
        "map": numbers(1, 4, 3, 2),
        "data": numbers(1, 3, 60, 40),
        "loc": numbers(1, COUNT * 4) / 8,
        "conf": np.random.default_rng(4).random((1, COUNT * 3)).astype(np.float32),
    }
    feeds = {info.name or "": feeds[info.name or ""] for info in conversion.model.graph.inputs}
    prior = np.stack([_prior()[0], np.ones(COUNT * 4)])
    wanted = decided(feeds["loc"], feeds["conf"], prior, 0.3, 0.45, 400, 200)
    assert_matches(conversion, feeds, [wanted])


def test_corners_by_size(tmp_path: Path) -> None:
    text = (
        "nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CORNER_SIZE keep_top_k: 200 "
        "confidence_threshold: 0.3"
    )
    conversion = convert_net(ssd(text), {}, tmp_path)
    feeds = {
        "map": numbers(1, 4, 3, 2),
        "data": numbers(1, 3, 60, 40),
        "loc": numbers(1, COUNT * 4),
        "conf": np.random.default_rng(3).random((1, COUNT * 3)).astype(np.float32),
    }
    feeds = {info.name or "": feeds[info.name or ""] for info in conversion.model.graph.inputs}
    wanted = decided(feeds["loc"], feeds["conf"], _prior(), 0.3, 0.45, 400, 200, "CORNER_SIZE")
    assert_matches(conversion, feeds, [wanted])


def test_what_has_no_form(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="share_location false"):
        convert_net(ssd("share_location: false"), {}, tmp_path)
    with pytest.raises(ModelError, match="eta"):
        convert_net(ssd("nms_param { eta: 0.9 }"), {}, tmp_path)


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


def test_a_small_ssd_as_opencv_runs_it(tmp_path: Path) -> None:
    text = (
        "nms_param { nms_threshold: 0.45 top_k: 100 } code_type: CENTER_SIZE keep_top_k: 50 "
        "confidence_threshold: 0.4 share_location: true background_label_id: 0"
    )
    conversion = convert_net(ssd(text), {}, tmp_path)
    assert conversion.reference is not None, conversion.unproven
    feeds = {
        "map": numbers(1, 4, 3, 2),
        "data": numbers(1, 3, 60, 40),
        "loc": numbers(1, COUNT * 4) / 4,
        "conf": np.random.default_rng(2).random((1, COUNT * 3)).astype(np.float32),
    }
    names = [value.name or "" for value in conversion.model.graph.inputs]
    assert_matches_opencv(conversion, {name: feeds[name] for name in names})
