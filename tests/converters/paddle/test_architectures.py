"""Whole networks as Paddle defines them, randomly initialised: converted, and three of them quantized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knight
from tests.converters.checks import assert_same
from tests.converters.paddle import nets
from tests.converters.paddle.nets import paddle

vision = paddle.vision.models
NETS: dict[str, tuple[Callable[[], Any], int]] = {
    "resnet18": (lambda: vision.resnet18(num_classes=10), 32),
    "mobilenet_v1": (lambda: vision.mobilenet_v1(scale=0.25, num_classes=10), 32),
    "mobilenet_v2": (lambda: vision.mobilenet_v2(scale=0.5, num_classes=10), 32),
    "mobilenet_v3_small": (lambda: vision.mobilenet_v3_small(scale=0.5, num_classes=10), 32),
    "shufflenet_v2": (lambda: vision.shufflenet_v2_x0_25(num_classes=10), 32),
    "squeezenet1_1": (lambda: vision.squeezenet1_1(num_classes=10), 64),
    "densenet121": (lambda: vision.densenet121(num_classes=10), 32),
    "inception_v3": (lambda: vision.inception_v3(num_classes=10), 96),
    "vgg11": (lambda: vision.vgg11(num_classes=0), 32),
    "googlenet": (lambda: vision.googlenet(num_classes=10), 224),
    "resnext50": (lambda: vision.resnext50_32x4d(num_classes=10), 32),
}
QUANTIZED = ("resnet18", "mobilenet_v1", "squeezenet1_1")


@pytest.mark.parametrize("name", NETS)
def test_network_computes_what_paddle_computes(tmp_path: Path, name: str) -> None:
    paddle.seed(0)
    build, size = NETS[name]
    conversion = nets.convert(nets.save(build(), tmp_path / name, ((None, 3, size, size), "float32")))
    assert_same(conversion, batches=(1, 2))
    if name in QUANTIZED:
        generator = np.random.default_rng(0)
        samples = [generator.standard_normal((1, 3, size, size)).astype(np.float32) for _ in range(4)]
        quantized = knight.quantize(conversion.model, samples, target="onnxruntime")
        assert conversion.reference is not None
        (wanted,) = conversion.reference({"x0": samples[0]})
        (found,) = quantized.run(samples[0])
        assert np.sum(wanted**2) > 30 * np.sum((found - wanted) ** 2)
