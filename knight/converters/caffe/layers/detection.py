"""Layers of detectors (SSD, Fast R-CNN): prior boxes, the decision from boxes and scores, pooled regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer

CENTER_SIZE, CORNER_SIZE = 2, 3
"""Of DetectionOutputParameter's CodeType; the third, CORNER, is what is left."""

_MOST_BOXES = 5_000_000  # some hundred times those of SSD512
_MOST_PICTURES = 1000  # each has nodes of its own


@layer("PriorBox", bottoms=(2, 2))
def prior_box(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Boxes around every cell, and their variances: [1, 2, boxes * 4]; a constant, since shapes are fixed.

    Sizes may be fractions, as in OpenCV and Intel's Caffe; the first Caffe of SSD cuts them to whole numbers.
    """
    shapes = [fixed_shape(value) for value in inputs]
    if any(len(shape) != 4 for shape in shapes):
        raise layer.error(
            f"has bottoms of the shapes {shapes[0]} and {shapes[1]}; they have to have four axes"
        )
    layer.check_count(math.prod(shapes[0][2:]) * len(_sizes(layer)), _MOST_BOXES, "boxes")
    boxes = _boxes(layer, shapes[0][2:], _picture(layer, shapes[1][2:]))
    if layer.param.clip:
        boxes = boxes.clip(0, 1)
    variances = np.tile(_variances(layer), len(boxes))
    result = np.stack([boxes.reshape(-1), variances]).astype(np.float32)
    return [b.constant(result[None], f"{layer.name}.boxes")]


def _picture(layer: Layer, shape: Sequence[int]) -> tuple[int, int]:
    param = layer.param
    if param.img_size:
        return param.img_size, param.img_size
    return (param.img_h, param.img_w) if param.img_h and param.img_w else (shape[0], shape[1])


def _variances(layer: Layer) -> list[float]:
    given = list(layer.param.variance) or [0.1]
    if len(given) not in (1, 4) or min(given) <= 0:
        raise layer.error(f"has the variances {given}, wants one or four above zero")
    return given * 4 if len(given) == 1 else given


def _boxes(layer: Layer, cells: Sequence[int], picture: tuple[int, int]) -> np.ndarray:
    """[cells * priors, 4] of xmin, ymin, xmax, ymax as fractions of the picture."""
    param = layer.param
    height, width = picture
    step = param.step
    step_h, step_w = (param.step_h or step or height / cells[0]), (param.step_w or step or width / cells[1])
    y, x = np.meshgrid(
        (np.arange(cells[0]) + param.offset) * step_h,
        (np.arange(cells[1]) + param.offset) * step_w,
        indexing="ij",
    )
    sizes = np.array(_sizes(layer))  # [priors, 2] of width and height
    centres = np.stack([x, y], -1)[:, :, None]
    corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], -1)
    found: np.ndarray = (corners / np.array([width, height, width, height])).reshape(-1, 4)
    return found


def _sizes(layer: Layer) -> list[tuple[float, float]]:
    """Width and height of a cell's priors: for each size the square, the one between sizes, the others."""
    least, most = list(layer.param.min_size), list(layer.param.max_size)
    if not least:
        raise layer.error("has no min_size")
    if most and len(most) != len(least):
        raise layer.error(f"has {len(least)} min_size and {len(most)} max_size")
    if min(least) <= 0 or any(high <= low for low, high in zip(least, most, strict=False)):
        raise layer.error(
            f"has min_size {least} and max_size {most}; a minimum is above 0, a maximum above it"
        )
    if any(ratio <= 0 for ratio in layer.param.aspect_ratio):
        raise layer.error(f"has aspect_ratio {list(layer.param.aspect_ratio)}; they have to be above 0")
    ratios: list[float] = []
    for ratio in layer.param.aspect_ratio:
        if any(abs(ratio - known) < 1e-6 for known in (1.0, *ratios)):
            continue
        ratios += [ratio, 1 / ratio] if layer.param.flip else [ratio]
    sizes = []
    for index, size in enumerate(least):
        sizes.append((size, size))
        if most:
            between = math.sqrt(size * most[index])
            sizes.append((between, between))
        sizes += [(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in ratios]
    return sizes


@dataclass(frozen=True)
class _Task:
    """The sizes of a DetectionOutput. places: how many boxes a prior has, one or one per class."""

    batch: int
    priors: int
    classes: int
    places: int


@layer("DetectionOutput", bottoms=(3, 3))
def detection_output(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Rows of picture, label, score and box: [1, 1, rows, 7], by picture, then label, then falling score.

    Where nothing is found there is one row per picture: its number, then -1. Boxes of which the offsets have
    swapped the corners (of code type CENTER_SIZE none can be) are swapped back; Caffe takes them for empty.
    """
    task = _task(layer, inputs)
    layer.check_count(task.batch, _MOST_PICTURES, "pictures in a batch")
    location, confidence, prior = inputs
    boxes = _decoded(b, layer, location, prior, task)
    shape = b.constant([task.batch, task.priors, task.classes], dtype=np.int64)
    scores = b.op("Transpose", b.op("Reshape", confidence, shape), perm=[0, 2, 1])
    scores, threshold = _candidates(b, layer, scores, task)
    # NonMaxSuppression has one set of boxes for each of its batches: where each class has its own, it is one.
    split = b.constant([1 if task.places == 1 else 2], dtype=np.int64)
    scores = b.op("Unsqueeze", scores, split)
    rows = [_rows(b, layer, boxes, scores, threshold, picture, task) for picture in range(task.batch)]
    found = rows[0] if task.batch == 1 else b.op("Concat", *rows, axis=0)
    return [b.op("Reshape", _or_none(b, found, task.batch), b.constant([1, 1, -1, 7], dtype=np.int64))]


def _task(layer: Layer, inputs: list[ir.Value]) -> _Task:
    """Raises ModelError for what has no ONNX form, and where the bottoms do not fit each other."""
    param = layer.param
    if param.nms_param.HasField("eta") and param.nms_param.eta != 1:
        raise layer.error("has nms_param.eta, which ONNX's NonMaxSuppression lacks; leave it at 1")
    if not param.normalized_bbox:
        raise layer.error(
            "has normalized_bbox false: only boxes in fractions of the picture can be converted"
        )
    location, confidence, prior = (fixed_shape(value) for value in inputs)
    classes, priors = param.num_classes, math.prod(prior) // 8
    places = 1 if param.share_location else classes
    wanted = (location[0] * priors * places * 4, location[0] * priors * classes, priors * 8)
    if 0 in wanted or wanted != tuple(map(math.prod, (location, confidence, prior))):
        raise layer.error(
            f"has bottoms of the shapes {location}, {confidence} and {prior}, which do not fit "
            f"num_classes {classes} and share_location {str(param.share_location).lower()}"
        )
    return _Task(location[0], priors, classes, places)


def _decoded(b: Builder, layer: Layer, location: ir.Value, prior: ir.Value, task: _Task) -> ir.Value:
    """[batch, places, priors, 4] of xmin, ymin, xmax, ymax. The priors' part folds into constants later."""
    corners = b.op("Reshape", prior, b.constant([2, task.priors, 4], dtype=np.int64))
    boxes, variance = b.ops("Split", corners, outputs=2, axis=0, num_outputs=2)
    low, high = b.ops("Split", boxes, outputs=2, axis=2, num_outputs=2)
    size = b.op("Sub", high, low)
    shape = b.constant([task.batch, task.priors, task.places, 4], dtype=np.int64)
    offsets = b.op("Transpose", b.op("Reshape", location, shape), perm=[0, 2, 1, 3])
    if not layer.param.variance_encoded_in_target:
        offsets = b.op("Mul", offsets, variance)
    if layer.param.code_type == CENTER_SIZE:
        half = b.constant(np.float32(0.5))
        first, second = b.ops("Split", offsets, outputs=2, axis=3, num_outputs=2)
        centre = b.op("Add", b.op("Mul", first, size), b.op("Mul", b.op("Add", low, high), half))
        reach = b.op("Mul", b.op("Exp", second), b.op("Mul", size, half))
        return b.op("Concat", b.op("Sub", centre, reach), b.op("Add", centre, reach), axis=3)
    if layer.param.code_type == CORNER_SIZE:
        offsets = b.op("Mul", offsets, b.op("Concat", size, size, axis=2))
    return b.op("Add", offsets, boxes)


def _candidates(b: Builder, layer: Layer, scores: ir.Value, task: _Task) -> tuple[ir.Value, float]:
    """Scores [batch, classes, priors] with those that do not take part below the threshold; the threshold.

    What takes part is no background, and among the best `top_k` of its class.
    """
    param = layer.param
    threshold = float(param.confidence_threshold) if param.HasField("confidence_threshold") else -1e30
    out = b.constant(np.float32(threshold - max(1.0, abs(threshold))))
    top_k = param.nms_param.top_k
    if 0 < top_k < task.priors:
        best, places = b.ops("TopK", scores, b.constant([top_k], dtype=np.int64), outputs=2, axis=2)
        nothing = b.op("Expand", out, b.constant(fixed_shape(scores), dtype=np.int64))
        scores = b.op("ScatterElements", nothing, places, best, axis=2)
    if 0 <= param.background_label_id < task.classes:
        background = np.arange(task.classes)[:, None] == param.background_label_id
        scores = b.op("Where", b.constant(background), out, scores)
    return scores, threshold


def _rows(
    b: Builder, layer: Layer, boxes: ir.Value, scores: ir.Value, threshold: float, picture: int, task: _Task
) -> ir.Value:
    """What is found in one picture: [rows, 7]."""
    one = b.constant(picture, dtype=np.int64)
    boxes, scores = (b.op("Gather", value, one, axis=0) for value in (boxes, scores))
    limit = b.constant([task.priors], dtype=np.int64)
    bounds = [
        b.constant([bound], dtype=np.float32) for bound in (layer.param.nms_param.nms_threshold, threshold)
    ]
    chosen = b.op("NonMaxSuppression", boxes, scores, limit, *bounds)
    value = b.op("GatherND", scores, chosen)
    order = _by_score(b, layer, value)
    chosen, value = b.op("Gather", chosen, order, axis=0), b.op("Gather", value, order, axis=0)
    column = b.constant([1 if task.places == 1 else 0], dtype=np.int64)
    label = b.op("Cast", b.op("Gather", chosen, column, axis=1), to=ir.DataType.FLOAT)
    order = _by_label(b, label)
    chosen, value, label = (b.op("Gather", item, order, axis=0) for item in (chosen, value, label))
    corners = b.op("GatherND", boxes, b.op("Gather", chosen, b.constant([0, 2], dtype=np.int64), axis=1))
    number = b.op("Add", b.op("Mul", label, b.constant(np.float32(0))), b.constant(np.float32(picture)))
    value = b.op("Unsqueeze", value, b.constant([1], dtype=np.int64))
    return b.op("Concat", number, label, value, corners, axis=1)


def _by_score(b: Builder, layer: Layer, scores: ir.Value) -> ir.Value:
    """Places of the scores from the highest on, `keep_top_k` of them at most."""
    size = b.op("Shape", scores)
    keep = layer.param.keep_top_k
    if keep >= 0:
        size = b.op("Min", size, b.constant(np.array([keep])))
    return b.ops("TopK", scores, size, outputs=2, axis=0)[1]


def _by_label(b: Builder, label: ir.Value) -> ir.Value:
    """Places by rising label [rows, 1]; equal ones keep their order, as TopK promises."""
    flat = b.op("Reshape", label, b.constant([-1], dtype=np.int64))
    return b.ops("TopK", flat, b.op("Shape", flat), outputs=2, axis=0, largest=0)[1]


def _or_none(b: Builder, rows: ir.Value, batch: int) -> ir.Value:
    """`rows`, or Caffe's sign that there are none."""
    nothing = np.full((batch, 7), -1, np.float32)
    nothing[:, 0] = np.arange(batch)
    found = b.op("Shape", rows, end=1)
    zero = b.constant(np.array([0]))
    end = b.op("Where", b.op("Equal", found, zero), b.constant(np.array([batch])), zero)
    return b.op("Concat", rows, b.op("Slice", b.constant(nothing), zero, end, zero), axis=0)


@layer("ROIPooling", bottoms=(2, 2))
def roi_pooling(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """The largest element of each cell of each region [picture, x1, y1, x2, y2].

    MaxRoiPool rounds as Fast R-CNN does: scaled corners to the nearest whole number, halves up; a cell from
    the floor of its beginning to the ceiling of its end; 0 for one without elements.
    """
    param, (x, regions) = layer.param, inputs
    if not param.pooled_h or not param.pooled_w or param.spatial_scale <= 0:
        raise layer.error("wants pooled_h, pooled_w and spatial_scale above zero")
    given = fixed_shape(regions)
    if len(fixed_shape(x)) != 4 or math.prod(given[1:]) != 5:
        raise layer.error(
            f"has bottoms of the shapes {fixed_shape(x)} and {given}; the first has to have four axes, "
            f"the second five numbers for each region"
        )
    if len(given) != 2:
        regions = b.op("Reshape", regions, b.constant([-1, 5], dtype=np.int64))
    shape = [param.pooled_h, param.pooled_w]
    return [b.op("MaxRoiPool", x, regions, pooled_shape=shape, spatial_scale=param.spatial_scale)]
