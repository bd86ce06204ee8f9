"""Upsample, Interp and Reorg against plain numpy statements of what they do."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("scale: 2", (2, 2)),
        ("scale_h: 3 scale_w: 2", (3, 2)),
        ("upsample_h: 12 upsample_w: 10", (3, 2)),
        ("stride: 3", (3, 3)),
        ("", (1, 1)),
    ],
)
def test_upsample(text: str, factors: tuple[int, int], tmp_path: Path) -> None:
    net = image(2, 3, 4, 5) + layer("Upsample", f"upsample_param {{ {text} }}")
    x = numbers(2, 3, 4, 5)
    wanted = x.repeat(factors[0], 2).repeat(factors[1], 3)
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [wanted])


@pytest.mark.parametrize(
    ("text", "bottoms", "message"),
    [
        ("upsample_h: 9 upsample_w: 10", "data", r"makes \(4, 5\) to \(9, 10\), no multiple"),
        ("scale: 0", "data", "makes 4 to 0 along h"),
        ("scale: 2 pad_out_h: true", "data", r"makes \(4, 5\) to \(7, 10\)"),
        ("scale: 2", "flat", r"has an input of shape \(2, 6\)"),
        ("scale: 2", "data small", r"has a mask of shape \(2, 3, 4, 4\)"),
        ("scale: 2", "data data data", "has 3 bottoms, wants 1 to 2"),
    ],
)
def test_upsample_that_does_not_fit(text: str, bottoms: str, message: str, tmp_path: Path) -> None:
    net = image(2, 3, 4, 5) + image(2, 3, 4, 4, name="small") + image(2, 6, name="flat")
    net += layer("Upsample", f"upsample_param {{ {text} }}", bottoms)
    with pytest.raises(ModelError, match=rf"layer 'out' \(Upsample\): .*{message}"):
        convert_net(net, {}, tmp_path)


@pytest.mark.parametrize(
    ("text", "size"),
    [("scale: 2", (4, 6)), ("scale: 2 pad_out_w: true", (4, 5)), ("upsample_h: 4 upsample_w: 5", (4, 5))],
)
def test_upsample_by_the_places_of_a_pooling(text: str, size: tuple[int, int], tmp_path: Path) -> None:
    net = image(2, 3, *size) + layer(
        "Pooling", "pooling_param { kernel_size: 2 stride: 2 }", top="small mask"
    )
    net += layer("Upsample", f"upsample_param {{ {text} }}", "small mask")
    x = numbers(2, 3, *size)
    wanted = np.zeros_like(x)
    for row in range(0, size[0], 2):
        for column in range(0, size[1], 2):
            cell = x[:, :, row : row + 2, column : column + 2]
            largest = cell == cell.max((2, 3), keepdims=True)
            wanted[:, :, row : row + 2, column : column + 2] = np.where(largest, cell, 0)
    conversion = convert_net(net, {}, tmp_path)
    assert str(conversion.model.graph.inputs[0].shape).startswith("[batch,")
    assert_matches(conversion, {"data": x}, [wanted])


def interpolated(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, corners on corners."""

    def along(array: np.ndarray, axis: int, size: int) -> np.ndarray:
        old = array.shape[axis]
        places = np.arange(size) * ((old - 1) / (size - 1) if size > 1 else 0.0)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, old - 1)
        shape = [-1 if i == axis else 1 for i in range(4)]
        part = (places - low).reshape(shape)
        return np.take(array, low, axis) * (1 - part) + np.take(array, high, axis) * part

    return along(along(x, 2, height), 3, width)


@pytest.mark.parametrize(
    ("text", "size", "crop"),
    [
        ("height: 7 width: 9", (7, 9), (0, 0)),
        ("zoom_factor: 3", (13, 16), (0, 0)),
        ("shrink_factor: 2", (3, 3), (0, 0)),
        ("shrink_factor: 2 zoom_factor: 2", (5, 5), (0, 0)),
        ("height: 6 width: 6 pad_beg: -1 pad_end: -2", (6, 6), (1, 2)),
        ("height: 5 width: 6", (5, 6), (0, 0)),
        ("height: 1 width: 6", (1, 6), (0, 0)),
        ("height: 7 width: 9 zoom_factor: 2", (9, 11), (0, 0)),
        ("height: 7 width: 9 zoom_factor: 2 shrink_factor: 2", (7, 9), (0, 0)),
    ],
)
def test_interp(text: str, size: tuple[int, int], crop: tuple[int, int], tmp_path: Path) -> None:
    net = image(2, 3, 5, 6) + layer("Interp", f"interp_param {{ {text} }}")
    x = numbers(2, 3, 5, 6)
    inside = x[:, :, crop[0] : 5 - crop[1], crop[0] : 6 - crop[1]]
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [interpolated(inside, *size)])


def test_interp_as_opencv_does_it(tmp_path: Path) -> None:
    net = image(1, 3, 5, 6) + layer("Interp", "interp_param { height: 8 width: 11 }", top="sized")
    net += layer("Interp", "interp_param { zoom_factor: 3 }", top="zoomed")
    assert_matches_opencv(convert_net(net, {}, tmp_path))  # with several batches, so it is open


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("height: 8 width: 8 pad_beg: 1", "has positive pads"),
        ("height: 8 width: 8 pad_end: -4", "cropped to"),
        ("height: 8", "wants height and width, or a zoom_factor"),
        ("", "wants height and width, or a zoom_factor"),
        ("zoom_factor: 0", "they have to be 1 or more"),
        ("height: 0 width: 8", r"to \(0, 8\)"),
    ],
)
def test_interp_that_does_not_fit(text: str, message: str, tmp_path: Path) -> None:
    net = image(1, 1, 4, 4) + layer("Interp", f"interp_param {{ {text} }}")
    with pytest.raises(ModelError, match=rf"layer 'out' \(Interp\): .*{message}"):
        convert_net(net, {}, tmp_path)


def reorganised(x: np.ndarray, stride: int, reverse: bool) -> np.ndarray:
    """Index by index, as Darknet says it: both ways from the shape of the input."""
    batch, channels, height, width = x.shape
    small = channels // stride**2
    flat, out = x.reshape(-1), np.zeros(x.size, x.dtype)
    for place, (n, k, j, i) in enumerate(np.ndindex(*x.shape)):
        c2, offset = k % small, k // small
        w2, h2 = i * stride + offset % stride, j * stride + offset // stride
        other = w2 + width * stride * (h2 + height * stride * (c2 + small * n))
        if reverse:
            out[other] = flat[place]
        else:
            out[place] = flat[other]
    if reverse:
        return out.reshape(batch, small, height * stride, width * stride)
    return out.reshape(batch, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize(
    ("shape", "stride"), [((2, 4, 6, 8), 2), ((1, 9, 6, 9), 3), ((2, 16, 2, 4), 2), ((1, 2, 3, 4), 1)]
)
@pytest.mark.parametrize("reverse", [False, True])
def test_reorg(shape: tuple[int, ...], stride: int, reverse: bool, tmp_path: Path) -> None:
    text = f"reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}"
    x = numbers(*shape)
    conversion = convert_net(image(*shape) + layer("Reorg", text), {}, tmp_path)
    assert_matches(conversion, {"data": x}, [reorganised(x, stride, reverse)])


def test_reorg_as_opencv_does_it(tmp_path: Path) -> None:
    """Which knows a stride of 2 alone: it looks for another field."""
    net = image(1, 8, 6, 4) + layer("Reorg", "reorg_param { stride: 2 }")
    assert_matches_opencv(convert_net(net, {}, tmp_path))


@pytest.mark.parametrize(
    ("shape", "text", "message"),
    [
        ((1, 4, 5, 4), "", "of 5x4, which its stride 2 does not divide"),
        ((1, 6, 4, 4), "", "has 6 channels, which the square of its stride 2"),
        ((1, 6, 4, 4), "reverse: true", "has 6 channels"),
        ((1, 4, 4, 4), "stride: 0", "the square of its stride 0"),
        ((4, 4), "", r"has an input of shape \(4, 4\)"),
    ],
)
def test_reorg_that_does_not_fit(shape: tuple[int, ...], text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"layer 'out' \(Reorg\): .*{message}"):
        convert_net(image(*shape) + layer("Reorg", f"reorg_param {{ {text} }}"), {}, tmp_path)
