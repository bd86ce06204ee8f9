"""Layers of detectors (SSD, Fast R-CNN): prior boxes, the decision from boxes and scores, pooled regions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer

CORNER, CENTER_SIZE, CORNER_SIZE = 1, 2, 3


@layer("PriorBox")
def prior_box(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Boxes around every cell, and their variances: [1, 2, boxes * 4]; a constant, since shapes are fixed."""
    if len(inputs) != 2:
        raise layer.error(f"has {len(inputs)} bottoms, wants the feature map and the picture")
    cells, picture = fixed_shape(inputs[0])[2:], fixed_shape(inputs[1])[2:]
    boxes = _boxes(layer, cells, _picture(layer, picture))
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
    if len(given) not in (1, 4):
        raise layer.error(f"has {len(given)} variances, wants one or four")
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


@layer("DetectionOutput")
def detection_output(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """Rows of picture, label, score and box: [1, 1, rows, 7], by picture, then label, then falling score.

    Where nothing is found there is one row per picture: its number, then -1.
    """
    param = layer.param
    if not param.share_location:
        raise layer.error("has share_location false: boxes per class have no ONNX form here")
    if param.nms_param.HasField("eta") and param.nms_param.eta != 1:
        raise layer.error("has nms_param.eta, which ONNX's NonMaxSuppression lacks; leave it at 1")
    location, confidence, prior = inputs[:3]
    batch, classes = fixed_shape(location)[0], param.num_classes
    count = int(np.prod(fixed_shape(location)[1:])) // 4
    boxes = _decoded(b, layer, location, prior, batch, count)
    shape = b.constant(np.array([batch, count, classes]))
    scores = b.op("Transpose", b.op("Reshape", confidence, shape), perm=[0, 2, 1])
    scores, threshold = _candidates(b, layer, scores, count)
    rows = [_rows(b, layer, boxes, scores, threshold, picture, batch, count) for picture in range(batch)]
    found = rows[0] if batch == 1 else b.op("Concat", *rows, axis=0)
    return [b.op("Reshape", _or_none(b, found, batch), b.constant(np.array([1, 1, -1, 7])))]


def _decoded(
    b: Builder, layer: Layer, location: ir.Value, prior: ir.Value, batch: int, count: int
) -> ir.Value:
    """[batch, count, 4] of xmin, ymin, xmax, ymax."""
    known = models.constant(prior)
    if known is None:
        raise layer.error("wants prior boxes that are fixed: a PriorBox, or a Concat of some")
    boxes, variance = known.reshape(2, count, 4)
    if layer.param.variance_encoded_in_target:
        variance = np.ones_like(variance)
    offsets = b.op("Reshape", location, b.constant(np.array([batch, count, 4])))
    low, high = boxes[:, :2], boxes[:, 2:]
    size = high - low
    if layer.param.code_type == CENTER_SIZE:
        first, second = b.ops("Split", offsets, outputs=2, axis=2, num_outputs=2)
        centre = _affine(b, first, variance[:, :2] * size, (low + high) / 2)
        half = b.op("Mul", b.op("Exp", _affine(b, second, variance[:, 2:], None)), b.constant(size / 2))
        return b.op("Concat", b.op("Sub", centre, half), b.op("Add", centre, half), axis=2)
    factor = variance * np.tile(size, 2) if layer.param.code_type == CORNER_SIZE else variance
    return _affine(b, offsets, factor, boxes)


def _affine(b: Builder, value: ir.Value, factor: np.ndarray, shift: np.ndarray | None) -> ir.Value:
    product = b.op("Mul", value, b.constant(factor.astype(np.float32)))
    return product if shift is None else b.op("Add", product, b.constant(shift.astype(np.float32)))


def _candidates(b: Builder, layer: Layer, scores: ir.Value, count: int) -> tuple[ir.Value, float]:
    """Scores [batch, classes, count] with those that do not take part below the threshold, and the threshold.

    What takes part is no background, and among the best `top_k` of its class.
    """
    param = layer.param
    threshold = float(param.confidence_threshold) if param.HasField("confidence_threshold") else -1e30
    out = b.constant(np.float32(threshold - max(1.0, abs(threshold))))
    top_k = param.nms_param.top_k
    if 0 < top_k < count:
        best, _ = b.ops("TopK", scores, b.constant(np.array([top_k])), outputs=2, axis=2)
        least = b.op("ReduceMin", best, b.constant(np.array([2])), keepdims=1)
        scores = b.op("Where", b.op("Less", scores, least), out, scores)
    if 0 <= param.background_label_id < param.num_classes:
        background = np.arange(param.num_classes)[:, None] == param.background_label_id
        scores = b.op("Where", b.constant(background), out, scores)
    return scores, threshold


def _rows(
    b: Builder,
    layer: Layer,
    boxes: ir.Value,
    scores: ir.Value,
    threshold: float,
    picture: int,
    batch: int,
    count: int,
) -> ir.Value:
    """What is found in one picture: [rows, 7]."""
    one = b.constant(np.array([picture]))
    boxes, scores = (value if batch == 1 else b.op("Gather", value, one, axis=0) for value in (boxes, scores))
    limits = (np.array([count]), np.array([layer.param.nms_param.nms_threshold], np.float32))
    limit, overlap = map(b.constant, limits)
    chosen = b.op(
        "NonMaxSuppression", boxes, scores, limit, overlap, b.constant(np.array([threshold], np.float32))
    )
    value = b.op("GatherND", scores, chosen)
    order = _by_score(b, layer, value)
    chosen, value = b.op("Gather", chosen, order, axis=0), b.op("Gather", value, order, axis=0)
    label = b.op("Gather", chosen, b.constant(np.array([1])), axis=1)
    order = _by_label(b, label)
    chosen, value, label = (b.op("Gather", item, order, axis=0) for item in (chosen, value, label))
    places = b.op("Gather", chosen, b.constant(np.array([0, 2])), axis=1)
    corners = b.op("GatherND", boxes, places)
    labels = b.op("Cast", label, to=ir.DataType.FLOAT)
    number = b.op("Add", b.op("Mul", labels, b.constant(np.float32(0))), b.constant(np.float32(picture)))
    return b.op(
        "Concat", number, labels, b.op("Unsqueeze", value, b.constant(np.array([1]))), corners, axis=1
    )


def _by_score(b: Builder, layer: Layer, scores: ir.Value) -> ir.Value:
    """Places of the scores from the highest on, `keep_top_k` of them at most."""
    size = b.op("Shape", scores)
    keep = layer.param.keep_top_k
    if keep >= 0:
        size = b.op("Min", size, b.constant(np.array([keep])))
    return b.ops("TopK", scores, size, outputs=2, axis=0)[1]


def _by_label(b: Builder, label: ir.Value) -> ir.Value:
    """Places by rising label; equal ones keep their order, as TopK promises."""
    flat = b.op("Cast", b.op("Reshape", label, b.constant(np.array([-1]))), to=ir.DataType.FLOAT)
    return b.ops("TopK", flat, b.op("Shape", flat), outputs=2, axis=0, largest=0)[1]


def _or_none(b: Builder, rows: ir.Value, batch: int) -> ir.Value:
    """`rows`, or Caffe's sign that there are none."""
    nothing = np.full((batch, 7), -1, np.float32)
    nothing[:, 0] = np.arange(batch)
    found = b.op("Shape", rows, end=1)
    zero = b.constant(np.array([0]))
    end = b.op("Where", b.op("Equal", found, zero), b.constant(np.array([batch])), zero)
    return b.op("Concat", rows, b.op("Slice", b.constant(nothing), zero, end, zero), axis=0)


@layer("ROIPooling")
def roi_pooling(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """The largest element of each cell of each region; corners are rounded as in Fast R-CNN."""
    param = layer.param
    if not param.pooled_h or not param.pooled_w:
        raise layer.error("wants pooled_h and pooled_w above zero")
    shape, scale = [param.pooled_h, param.pooled_w], float(param.spatial_scale)
    regions = inputs[1]
    if len(fixed_shape(regions)) != 2:
        regions = b.op("Reshape", regions, b.constant(np.array([-1, 5])))
    return [b.op("MaxRoiPool", inputs[0], regions, pooled_shape=shape, spatial_scale=scale)]
