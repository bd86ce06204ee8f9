"""Mean average precision by the COCO evaluation of pycocotools: over all classes that have a labelled box."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from knight.errors import ConfigError
from knight.tasks._boxes import Boxes


def mean_average_precision(
    truth: Sequence[Boxes], found: Sequence[Boxes], sizes: Sequence[tuple[int, int]]
) -> tuple[float, float]:
    """(mAP at an overlap of 0.5, mean of mAP at 0.5 to 0.95 in steps of 0.05); boxes per picture, in pixels.

    Boxes with NaN are left out. 0 where something is labelled and nothing found; 1 where there is nothing to
    be found and nothing is.
    """
    kept = [boxes.select(np.isfinite(boxes.xyxy).all(axis=1) & np.isfinite(boxes.scores)) for boxes in found]
    if not any(map(len, truth)):
        none = 0.0 if any(map(len, kept)) else 1.0
        return none, none
    if not any(map(len, kept)):
        return 0.0, 0.0
    coco_class, evaluation_class = _pycocotools()
    with redirect_stdout(io.StringIO()):  # it reports its progress there
        labelled = coco_class()
        labelled.dataset = _dataset(truth, sizes)
        labelled.createIndex()
        evaluation = evaluation_class(labelled, labelled.loadRes(_results(kept)), "bbox")
        evaluation.params.maxDets = [1, 10, max(100, *map(len, kept))]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (overlaps, recalls, classes); -1 is no class
    return _mean(precision[:1]), _mean(precision)


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ConfigError(
            f"mAP needs pycocotools, which cannot be imported ({error}): pip install knight-quant[pictures]"
        ) from error
    return COCO, COCOeval


def _dataset(truth: Sequence[Boxes], sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    annotations = [
        {**box, "id": number, "iscrowd": 0, "area": box["bbox"][2] * box["bbox"][3]}
        for number, box in enumerate(_objects(truth), 1)
    ]
    pictures = [
        {"id": number, "height": height, "width": width} for number, (height, width) in enumerate(sizes)
    ]
    classes = sorted({box["category_id"] for box in annotations})
    return {
        "info": {},
        "images": pictures,
        "annotations": annotations,
        "categories": [{"id": number} for number in classes],
    }


def _results(found: Sequence[Boxes]) -> list[dict[str, Any]]:
    scores = [float(score) for boxes in found for score in boxes.scores]
    return [{**box, "score": score} for box, score in zip(_objects(found), scores, strict=True)]


def _objects(pictures: Sequence[Boxes]) -> list[dict[str, Any]]:
    """COCO's way of writing boxes: x, y, width, height."""
    return [
        {
            "image_id": number,
            "category_id": int(label),
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
        }
        for number, boxes in enumerate(pictures)
        for (x1, y1, x2, y2), label in zip(boxes.xyxy, boxes.classes, strict=True)
    ]
