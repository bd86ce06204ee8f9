"""Upsample, Interp and Reorg against plain numpy statements of what they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knight.errors import ModelError
from tests.converters.caffe.nets import assert_matches, convert_net, image, layer, numbers


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("scale: 2", (2, 2)),
        ("scale_h: 3 scale_w: 2", (3, 2)),
        ("upsample_h: 12 upsample_w: 10", (3, 2)),
        ("", (1, 1)),
    ],
)
def test_upsample(text: str, factors: tuple[int, int], tmp_path: Path) -> None:
    net = image(2, 3, 4, 5) + layer("Upsample", f"upsample_param {{ {text} }}")
    x = numbers(2, 3, 4, 5)
    wanted = x.repeat(factors[0], 2).repeat(factors[1], 3)
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [wanted])


def test_upsample_to_no_multiple(tmp_path: Path) -> None:
    net = image(2, 3, 4, 5) + layer("Upsample", "upsample_param { upsample_h: 9 upsample_w: 10 }")
    with pytest.raises(ModelError, match="upsample_h 9, no multiple of its bottom's 4"):
        convert_net(net, {}, tmp_path)


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
    ],
)
def test_interp(text: str, size: tuple[int, int], crop: tuple[int, int], tmp_path: Path) -> None:
    net = image(2, 3, 5, 6) + layer("Interp", f"interp_param {{ {text} }}")
    x = numbers(2, 3, 5, 6)
    inside = x[:, :, crop[0] : 5 - crop[1], crop[0] : 6 - crop[1]]
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [interpolated(inside, *size)])


def test_interp_does_not_pad(tmp_path: Path) -> None:
    net = image(1, 1, 4, 4) + layer("Interp", "interp_param { height: 8 width: 8 pad_beg: 1 }")
    with pytest.raises(ModelError, match="has positive pads"):
        convert_net(net, {}, tmp_path)


def reorganised(x: np.ndarray, stride: int, reverse: bool) -> np.ndarray:
    """Darknet's reorg_cpu, index by index; without `reverse` the layer calls it backwards."""
    batch, channels, height, width = x.shape
    flat, out = x.reshape(-1), np.zeros(x.size, x.dtype)
    if reverse:  # described by the shape of the result
        channels, height, width = channels // stride**2, height * stride, width * stride
    small = channels // stride**2
    place = 0
    for n in range(batch):
        for k in range(channels):
            for j in range(height):
                for i in range(width):
                    c2, offset = k % small, k // small
                    w2, h2 = i * stride + offset % stride, j * stride + offset // stride
                    other = w2 + width * stride * (h2 + height * stride * (c2 + small * n))
                    if reverse:
                        out[other] = flat[place]
                    else:
                        out[place] = flat[other]
                    place += 1
    if reverse:
        return out.reshape(batch, channels, height, width)
    return out.reshape(batch, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize(("shape", "stride"), [((2, 4, 6, 8), 2), ((1, 9, 6, 9), 3)])
def test_reorg(shape: tuple[int, ...], stride: int, tmp_path: Path) -> None:
    net = image(*shape) + layer("Reorg", f"reorg_param {{ stride: {stride} }}")
    x = numbers(*shape)
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [reorganised(x, stride, False)])


def test_reorg_back(tmp_path: Path) -> None:
    net = image(2, 16, 3, 4) + layer("Reorg", "reorg_param { stride: 2 reverse: true }")
    x = numbers(2, 16, 3, 4)
    forward = reorganised(reorganised(x, 2, True), 2, False)
    np.testing.assert_array_equal(forward, x)  # the statement itself is an inverse
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [reorganised(x, 2, True)])


def test_reorg_that_does_not_divide(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="which the stride 2 does not divide"):
        convert_net(image(1, 4, 5, 4) + layer("Reorg", ""), {}, tmp_path)
