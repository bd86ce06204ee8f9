"""Softmax, local responses, norms, mean and variance."""

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

SHAPE = (2, 6, 5, 4)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_softmax(axis: int, tmp_path: Path) -> None:
    net = image(*SHAPE) + layer("Softmax", f"softmax_param {{ axis: {axis} }}")
    conversion = convert_net(net, {}, tmp_path)
    x = numbers(*SHAPE)
    e = np.exp(x - x.max(axis, keepdims=True))
    assert_matches(conversion, {"data": x}, [e / e.sum(axis, keepdims=True)])
    assert_matches_opencv(conversion)


def test_softmax_of_an_axis_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"layer 'out' \(Softmax\): has axis 4, its bottom has 4 axes"):
        convert_net(image(*SHAPE) + layer("Softmax", "softmax_param { axis: 4 }"), {}, tmp_path)


@pytest.mark.parametrize("text", ["", "local_size: 3 alpha: 0.5 beta: 0.6 k: 2"])
def test_lrn_across_channels(text: str, tmp_path: Path) -> None:
    conversion = convert_net(image(*SHAPE) + layer("LRN", f"lrn_param {{ {text} }}"), {}, tmp_path)
    n, alpha, beta, k = (3, 0.5, 0.6, 2.0) if text else (5, 1.0, 0.75, 1.0)
    x = numbers(*SHAPE)
    padded = np.pad(x**2, ((0, 0), (n // 2, n // 2), (0, 0), (0, 0)))
    total = sum(padded[:, i : i + x.shape[1]] for i in range(n))
    assert_matches(conversion, {"data": x}, [x / (k + alpha / n * total) ** beta])


def test_lrn_within_a_channel(tmp_path: Path) -> None:
    text = "lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 norm_region: WITHIN_CHANNEL }"
    conversion = convert_net(image(*SHAPE) + layer("LRN", text), {}, tmp_path)
    x = numbers(*SHAPE)
    padded = np.pad(x**2, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(padded[:, :, i : i + 5, j : j + 4] for i in range(3) for j in range(3))
    assert_matches(conversion, {"data": x}, [x * (1 + 0.7 * total / 9) ** -0.6])


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_lrn_as_opencv_does_it(region: str, tmp_path: Path) -> None:
    text = f"lrn_param {{ local_size: 3 alpha: 0.5 beta: 0.6 norm_region: {region} }}"
    assert_matches_opencv(convert_net(image(*SHAPE) + layer("LRN", text), {}, tmp_path))


@pytest.mark.parametrize(
    ("kind", "text", "bottoms", "message"),
    [
        ("LRN", "lrn_param { local_size: 4 }", "data", "local_size 4; it has to be odd"),
        ("LRN", "", "flat", r"has an input of shape \(2, 6\)"),
        ("MVN", "", "flat", "leaves no axes to normalize"),
        ("MVN", "", "data data", "has 2 bottoms, wants 1"),
        ("Normalize", "", "data", "has no weights"),
        ("Normalize", "norm_param { channel_shared: false }", "data", r"the prototxt wants \(6,\)"),
        ("Softmax", "softmax_param { axis: 2 }", "flat", "has axis 2, its bottom has 2 axes"),
    ],
)
def test_what_does_not_fit_is_named_with_its_layer(
    kind: str, text: str, bottoms: str, message: str, tmp_path: Path
) -> None:
    net = image(*SHAPE) + image(2, 6, name="flat") + layer(kind, text, bottoms)
    blobs = {"out": [numbers(4)]} if "channel_shared" in text else {}
    with pytest.raises(ModelError, match=rf"layer 'out' \({kind}\): .*{message}"):
        convert_net(net, blobs, tmp_path)


def test_as_opencv_does_it(tmp_path: Path) -> None:
    """MVN with its own eps, which vanishes: OpenCV adds it under the root, Caffe behind it."""
    net = image(1, 6, 5, 4)
    for top, across, shared in (("whole", "true", "true"), ("pixels", "false", "false")):
        text = f"across_spatial: {across} channel_shared: {shared} eps: 0.001"
        net += layer("Normalize", f"norm_param {{ {text} }}", top=top)
    for top, text in (("each", ""), ("all", "across_channels: true")):
        net += layer("MVN", f"mvn_param {{ {text} }}", top=top)
    blobs = {"whole": [[1.5]], "pixels": [numbers(6, seed=1)]}
    assert_matches_opencv(convert_net(net, blobs, tmp_path))


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_normalize(across: bool, shared: bool, tmp_path: Path) -> None:
    flags = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()} eps: 0.01"
    scale = numbers(1 if shared else 6)
    net = image(*SHAPE) + layer("Normalize", f"norm_param {{ {flags} }}")
    conversion = convert_net(net, {"out": [scale]}, tmp_path)
    x = numbers(*SHAPE)
    total = (x**2).sum((1, 2, 3) if across else 1, keepdims=True)
    wanted = x / np.sqrt(total + 0.01) * scale.reshape(1, -1, 1, 1)
    assert_matches(conversion, {"data": x}, [wanted])


@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.parametrize("across", [True, False])
def test_mvn(variance: bool, across: bool, tmp_path: Path) -> None:
    flags = f"normalize_variance: {str(variance).lower()} across_channels: {str(across).lower()} eps: 0.001"
    conversion = convert_net(image(*SHAPE) + layer("MVN", f"mvn_param {{ {flags} }}"), {}, tmp_path)
    x = numbers(*SHAPE)
    axes = (1, 2, 3) if across else (2, 3)
    wanted = x - x.mean(axes, keepdims=True)
    if variance:
        wanted = wanted / (x.std(axes, keepdims=True) + 0.001)
    assert_matches(conversion, {"data": x}, [wanted])
