"""Pooling with Caffe's windows."""

from __future__ import annotations

import itertools
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
    run,
)

CASES = [
    (kernel, stride, pad)
    for kernel, stride, pad in itertools.product((2, 3, 5), (1, 2, 3), (0, 1, 2))
    if pad < kernel and stride <= kernel
]


def pooled(x: np.ndarray, method: str, kernel: int, stride: int, pad: int) -> np.ndarray:
    """What Caffe's loops say, for planes that are square."""
    size = x.shape[-1]
    count = math.ceil((size + 2 * pad - kernel) / stride) + 1
    if pad and (count - 1) * stride >= size + pad:
        count -= 1
    result = np.zeros((*x.shape[:2], count, count))
    for row, column in itertools.product(range(count), repeat=2):
        begins = [at * stride - pad for at in (row, column)]
        ends = [min(begin + kernel, size + pad) for begin in begins]
        area = math.prod(end - begin for begin, end in zip(begins, ends, strict=True))
        (top, bottom), (left, right) = (
            (max(begin, 0), min(end, size)) for begin, end in zip(begins, ends, strict=True)
        )
        window = x[:, :, top:bottom, left:right]
        result[:, :, row, column] = (
            window.max(axis=(2, 3)) if method == "MAX" else window.sum(axis=(2, 3)) / area
        )
    return result


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [7, 8, 9, 10])
def test_every_window(method: str, size: int, tmp_path: Path) -> None:
    net, x = image(1, 2, size, size), numbers(1, 2, size, size)
    for kernel, stride, pad in CASES:
        net += layer(
            "Pooling",
            f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }}",
            top=f"k{kernel}s{stride}p{pad}",
        )
    wanted = [pooled(x, method, *case) for case in CASES]
    conversion = convert_net(net, {}, tmp_path)
    assert_matches(conversion, {"data": x}, wanted)
    assert_matches_opencv(conversion)


def test_a_plain_average_needs_no_pad_of_its_own(tmp_path: Path) -> None:
    net = image(1, 2, 9, 9)
    for top, text in (("a", "kernel_size: 2 stride: 2"), ("b", "kernel_size: 3 stride: 2 pad: 1")):
        net += layer("Pooling", f"pooling_param {{ pool: AVE {text} }}", top=top)
    model = convert_net(net, {}, tmp_path).model
    assert [node.op_type for node in model.graph] == ["AveragePool", "AveragePool"]


def test_other_forms(tmp_path: Path) -> None:
    net = image(2, 3, 9, 12)
    for top, text in {
        "all": "pool: MAX global_pooling: true",
        "mean": "pool: AVE global_pooling: true",
        "oblong": "pool: MAX kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0",
        "oblong_mean": "pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0",
    }.items():
        net += layer("Pooling", f"pooling_param {{ {text} }}", top=top)
    assert_matches_opencv(convert_net(net, {}, tmp_path))


@pytest.mark.parametrize("text", ["round_mode: FLOOR", "ceil_mode: false"])
def test_forks_that_round_down(text: str, tmp_path: Path) -> None:
    net = image(1, 1, 6, 6) + layer("Pooling", f"pooling_param {{ kernel_size: 3 stride: 2 {text} }}")
    x = numbers(1, 1, 6, 6)
    wanted = pooled(x, "MAX", 3, 2, 0)[:, :, :2, :2]
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [wanted])


def test_second_top_is_the_place_of_each_maximum(tmp_path: Path) -> None:
    net = image(2, 3, 4, 6) + layer(
        "Pooling", "pooling_param { kernel_size: 2 stride: 2 }", top="largest place"
    )
    x = numbers(2, 3, 4, 6)
    got = run(convert_net(net, {}, tmp_path), {"data": x})
    flat = x.reshape(2, 3, 24)
    found = np.take_along_axis(flat, got["place"].reshape(2, 3, 6).astype(int), axis=2)
    np.testing.assert_array_equal(found.reshape(2, 3, 2, 3), got["largest"])
    assert got["place"].dtype == np.float32


def test_spatial_pyramid(tmp_path: Path) -> None:
    net = image(2, 3, 11, 14)
    net += layer("SPP", "spp_param { pyramid_height: 3 }", top="largest")
    net += layer("SPP", "spp_param { pyramid_height: 1 pool: AVE }", top="mean")
    x = numbers(2, 3, 11, 14)
    levels = []
    for cells in (1, 2, 4):
        high, wide = math.ceil(11 / cells), math.ceil(14 / cells)
        up, left = (high * cells - 11 + 1) // 2, (wide * cells - 14 + 1) // 2
        rows = [slice(max(at * high - up, 0), (at + 1) * high - up) for at in range(cells)]
        columns = [slice(max(at * wide - left, 0), (at + 1) * wide - left) for at in range(cells)]
        level = np.stack(
            [x[:, :, row, column].max(axis=(2, 3)) for row in rows for column in columns], axis=-1
        )
        levels.append(level.reshape(2, -1))
    wanted = [np.concatenate(levels, axis=1), x.mean(axis=(2, 3), keepdims=True)]
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel_size: 1 stride: 2", "its last window holds nothing"),
        ("pool: STOCHASTIC kernel_size: 2", "pools at random"),
        ("stride: 2", "has no kernel_size"),
        ("kernel_size: 2 pad: 2", "a kernel of 2 and a pad of 2"),
        ("kernel_size: 9", "on an input of 4"),
    ],
)
def test_what_cannot_be_pooled(text: str, message: str, tmp_path: Path) -> None:
    net = image(1, 1, 4, 4) + layer("Pooling", f"pooling_param {{ {text} }}", top="pool3")
    with pytest.raises(ModelError, match=rf"layer 'pool3' \(Pooling\): .*{message}"):
        convert_net(net, {}, tmp_path)
