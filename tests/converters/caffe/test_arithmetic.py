"""Layers that add, multiply and compare."""

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
    run,
)


def test_as_opencv_computes_them(tmp_path: Path) -> None:
    net = image(2, 6, 4, 5) + image(2, 6, 4, 5, name="more")
    for top, bottoms, text in (
        ("product", "data more", "operation: PROD stable_prod_grad: false"),
        ("sum", "data more data", ""),
        ("largest", "data more", "operation: MAX"),
        ("weighted", "data more", "operation: SUM coeff: 2 coeff: -0.5"),
        ("difference", "data more", "coeff: 1 coeff: -1"),
    ):
        net += layer("Eltwise", f"eltwise_param {{ {text} }}", bottoms, top)
    net += layer("Scale", "scale_param { bias_term: true }", top="scaled")
    net += layer("Scale", "", "scaled", "rescaled")
    net += layer("BatchNorm", "batch_norm_param { eps: 0.001 }", top="normal")
    net += layer("Scale", "scale_param { bias_term: true }", "normal", "normal", name="normal_scale")
    blobs = {
        "scaled": [numbers(6), numbers(6, seed=1)],
        "rescaled": [numbers(6, seed=2)],
        "normal": [numbers(6), numbers(6, seed=3) ** 2 + 0.1, [2.5]],
        "normal_scale": [numbers(6, seed=4), numbers(6, seed=5)],
    }
    assert_matches_opencv(convert_net(net, blobs, tmp_path))


def test_batch_norm_that_has_seen_nothing(tmp_path: Path) -> None:
    """A factor of zero makes mean and variance zero, in Caffe too."""
    x = numbers(1, 2, 3, 3)
    conversion = convert_net(image(1, 2, 3, 3) + layer("BatchNorm"), {"out": [[1, 2], [3, 4], [0]]}, tmp_path)
    assert_matches(conversion, {"data": x}, [x / np.sqrt(1e-5)])


def test_batch_norm_of_a_flat_blob(tmp_path: Path) -> None:
    x, mean, variance = numbers(4, 3), numbers(3, seed=1), numbers(3, seed=2) ** 2 + 1
    conversion = convert_net(image(4, 3) + layer("BatchNorm"), {"out": [mean, variance, [1]]}, tmp_path)
    assert_matches(conversion, {"data": x}, [(x - mean) / np.sqrt(variance + 1e-5)])


@pytest.mark.parametrize(
    ("text", "shape", "fitted"),
    [
        ("", (3,), (3, 1, 1)),
        ("axis: 0", (2,), (2, 1, 1, 1)),
        ("axis: 1 num_axes: 2", (3, 4), (3, 4, 1)),
        ("axis: -1", (5,), (5,)),
        ("num_axes: -1", (3, 4, 5), (3, 4, 5)),
        ("num_axes: 0", (), ()),
    ],
)
def test_scale_and_bias_along_axes(
    text: str, shape: tuple[int, ...], fitted: tuple[int, ...], tmp_path: Path
) -> None:
    net = image(2, 3, 4, 5)
    net += layer("Scale", f"scale_param {{ {text} bias_term: true }}", top="scaled")
    net += layer("Bias", f"bias_param {{ {text} }}", top="moved")
    factor, offset, x = numbers(*shape), numbers(*shape, seed=1), numbers(2, 3, 4, 5)
    wanted = [x * np.reshape(factor, fitted) + np.reshape(offset, fitted), x + np.reshape(offset, fitted)]
    blobs = {"scaled": [factor, offset], "moved": [offset]}
    assert_matches(convert_net(net, blobs, tmp_path), {"data": x}, wanted)


def test_scale_and_bias_by_a_second_bottom(tmp_path: Path) -> None:
    net = image(2, 3, 4, 5) + image(2, 3, name="gate")
    net += layer("Scale", "scale_param { axis: 0 bias_term: true }", "data gate", "scaled")
    net += layer("Bias", "bias_param { axis: 0 }", "data gate", "moved")
    feeds, offset = {"data": numbers(2, 3, 4, 5), "gate": numbers(2, 3, seed=1)}, numbers(2, 3, seed=2)
    x, gate = feeds["data"], feeds["gate"][..., None, None]
    wanted = [x * gate + offset[..., None, None], x + gate]
    assert_matches(convert_net(net, {"scaled": [offset]}, tmp_path), feeds, wanted)


@pytest.mark.parametrize("gate", [(2, 3, 1, 1), (2, 3)])
def test_axpy(gate: tuple[int, ...], tmp_path: Path) -> None:
    net = image(*gate, name="gate") + image(2, 3, 4, 5) + image(2, 3, 4, 5, name="more")
    net += layer("Axpy", "", "gate data more")
    feeds = {"gate": numbers(*gate), "data": numbers(2, 3, 4, 5), "more": numbers(2, 3, 4, 5, seed=1)}
    wanted = feeds["gate"].reshape(2, 3, 1, 1) * feeds["data"] + feeds["more"]
    assert_matches(convert_net(net, {}, tmp_path), feeds, [wanted])


@pytest.mark.parametrize(
    ("operation", "formula"),
    [
        ("SUM", np.sum),
        ("ASUM", lambda x, axis: np.abs(x).sum(axis)),
        ("SUMSQ", lambda x, axis: np.square(x).sum(axis)),
        ("MEAN", np.mean),
    ],
)
def test_reduction(operation: str, formula, tmp_path: Path) -> None:
    net = image(2, 3, 4)
    axes = {"all": 0, "rows": 1, "last": -1}
    for top, axis in axes.items():
        text = f"reduction_param {{ operation: {operation} axis: {axis} coeff: 0.5 }}"
        net += layer("Reduction", text, top=top)
    x = numbers(2, 3, 4)
    wanted = [0.5 * formula(x, axis=axis) for axis in ((0, 1, 2), (1, 2), (2,))]
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, wanted)


def test_argmax(tmp_path: Path) -> None:
    net = image(2, 3, 4)
    for top, text in {
        "whole": "",
        "pairs": "out_max_val: true",
        "three": "top_k: 3 out_max_val: true",
        "channel": "axis: 1",
        "value": "axis: 1 out_max_val: true",
        "two": "axis: -1 top_k: 2",
    }.items():
        net += layer("ArgMax", f"argmax_param {{ {text} }}", top=top)
    x = numbers(2, 3, 4)
    flat = x.reshape(2, 12)
    order = np.argsort(-flat, axis=1)
    best = np.take_along_axis(flat, order, axis=1)
    wanted = [
        order[:, None, :1],
        np.stack([order[:, :1], best[:, :1]], axis=1),
        np.stack([order[:, :3], best[:, :3]], axis=1),
        x.argmax(axis=1)[:, None],
        x.max(axis=1)[:, None],
        np.argsort(-x, axis=2)[:, :, :2],
    ]
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, wanted)


def test_argmax_names_the_last_of_equals(tmp_path: Path) -> None:
    conversion = convert_net(image(1, 4) + layer("ArgMax", "argmax_param { axis: 1 }"), {}, tmp_path)
    assert run(conversion, {"data": np.array([[1, 5, 5, 0]], np.float32)})["out"].item() == 2


@pytest.mark.parametrize(
    ("kind", "text", "bottoms", "blobs", "message"),
    [
        ("Eltwise", "", "data small", [], "bottoms of different shapes"),
        ("Eltwise", "eltwise_param { coeff: 1 }", "data data", [], "has 1 coeff for 2 bottoms"),
        ("Scale", "", "data small", [], "does not fit its input of shape"),
        ("Scale", "scale_param { num_axes: 7 }", "data", [[1]], "covers 7 axes"),
        ("Scale", "", "data", [[1, 2]], r"weight 0 has shape \(2,\), the prototxt wants \(3,\)"),
        ("BatchNorm", "", "data", [], "has no weights in the caffemodel"),
        ("BatchNorm", "batch_norm_param { use_global_stats: false }", "data", [[1]], "take that line out"),
        ("BatchNorm", "", "data", [[1]] * 5, "has 5 weights"),
        ("Axpy", "", "small data data", [], "has bottoms of the shapes"),
    ],
)
def test_what_does_not_fit_is_named_with_its_layer(
    kind: str, text: str, bottoms: str, blobs: list, message: str, tmp_path: Path
) -> None:
    net = image(1, 3, 4, 4) + image(1, 2, name="small")
    net += layer("InnerProduct", "inner_product_param { num_output: 1 bias_term: false }", "small", "used")
    net += layer(kind, text, bottoms, "bad")
    with pytest.raises(ModelError, match=rf"layer 'bad' \({kind}\): .*{message}"):
        convert_net(net, {"bad": blobs, "used": [[[1, 2]]]}, tmp_path)
