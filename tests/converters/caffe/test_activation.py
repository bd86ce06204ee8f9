"""Layers that map every number by itself."""

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

IN_OPENCV = {
    "relu": ("ReLU", ""),
    "leaky": ("ReLU", "relu_param { negative_slope: 0.1 }"),
    "relu6": ("ReLU6", ""),
    "prelu": ("PReLU", ""),
    "shared": ("PReLU", "prelu_param { channel_shared: true }"),
    "elu": ("ELU", ""),
    "sigmoid": ("Sigmoid", ""),
    "tanh": ("TanH", ""),
    "absval": ("AbsVal", ""),
    "bnll": ("BNLL", ""),
    "mish": ("Mish", ""),
    "swish": ("Swish", ""),
    "power": ("Power", "power_param { power: 2 scale: 0.5 shift: 3 }"),
    "shifted": ("Power", "power_param { shift: -3 }"),
    "copied": ("Power", ""),
    "exp": ("Exp", ""),
    "exp2": ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    "dropout": ("Dropout", "dropout_param { dropout_ratio: 0.3 }"),
}


def test_as_opencv_computes_them(tmp_path: Path) -> None:
    net = image(2, 3, 4, 5) + "".join(layer(kind, text, top=top) for top, (kind, text) in IN_OPENCV.items())
    blobs = {"prelu": [numbers(3)], "shared": [numbers(1)]}
    assert_matches_opencv(convert_net(net, blobs, tmp_path))


@pytest.mark.parametrize(
    ("kind", "text", "formula"),
    [
        ("Log", "log_param { base: 10 scale: 2 shift: 9 }", lambda x: np.log10(9 + 2 * x)),
        ("Log", "log_param { shift: 9 }", lambda x: np.log(9 + x)),
        ("Clip", "clip_param { min: -0.5 max: 1 }", lambda x: np.clip(x, -0.5, 1)),
        ("Threshold", "threshold_param { threshold: 0.25 }", lambda x: (x > 0.25).astype(np.float32)),
        ("ELU", "elu_param { alpha: 0.5 }", lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
        ("Swish", "swish_param { beta: 2 }", lambda x: x / (1 + np.exp(-2 * x))),
        ("Exp", "exp_param { base: 3 }", lambda x: 3.0**x),
        ("Dropout", "dropout_param { dropout_ratio: 0.25 scale_train: false }", lambda x: 0.75 * x),
    ],
)
def test_as_their_formula_says(kind: str, text: str, formula, tmp_path: Path) -> None:
    feeds = {"data": numbers(2, 3, 4).clip(-4, 4)}
    conversion = convert_net(image(2, 3, 4) + layer(kind, text), {}, tmp_path)
    assert_matches(conversion, feeds, [formula(feeds["data"].astype(np.float64))])


def test_prelu_of_a_flat_blob(tmp_path: Path) -> None:
    slope, x = numbers(5, seed=1), numbers(2, 5)
    conversion = convert_net(image(2, 5) + layer("PReLU"), {"out": [slope]}, tmp_path)
    assert_matches(conversion, {"data": x}, [np.where(x > 0, x, slope * x)])


def test_a_base_that_has_no_logarithm_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"layer 'out' \(Exp\): has the base -2"):
        convert_net(image(1, 3) + layer("Exp", "exp_param { base: -2 }"), {}, tmp_path)
