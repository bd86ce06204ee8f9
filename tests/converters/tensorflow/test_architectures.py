"""Architectures of keras.applications, randomly initialised at small size; some are quantized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import knight
from knight.passes import PassOptions, tidy
from tests.converters.checks import assert_same
from tests.converters.tensorflow.nets import convert_keras

apps = keras.applications
NETS: dict[str, tuple[Callable[..., Any], int, dict[str, Any]]] = {
    "MobileNet": (apps.MobileNet, 32, {"alpha": 0.25}),
    "MobileNetV2": (apps.MobileNetV2, 32, {"alpha": 0.35}),
    "MobileNetV3": (apps.MobileNetV3Small, 32, {}),
    "EfficientNetB0": (apps.EfficientNetB0, 32, {}),
    "ResNet50": (apps.ResNet50, 32, {}),
    "DenseNet121": (apps.DenseNet121, 32, {}),
    "InceptionV3": (apps.InceptionV3, 75, {}),
    "VGG16": (apps.VGG16, 32, {"include_top": False, "pooling": "avg"}),
    "ConvNeXt": (apps.ConvNeXtTiny, 32, {}),
}
QUANTIZED = ("MobileNet", "MobileNetV2", "ResNet50")


@pytest.mark.parametrize("name", NETS)
def test_applications(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    make, size, options = NETS[name]
    if options.get("include_top", True):  # logits: softmax makes all classes of a random net alike
        options = {"classes": 10, "classifier_activation": None, **options}
    conversion = convert_keras(
        tmp_path, make(weights=None, input_shape=(size, size, 3), **options), nchw=True
    )
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 3, size, size)).astype(np.float32)
    name_of_input = conversion.model.graph.inputs[0].name or ""
    assert_same(conversion, {name_of_input: pictures})
    if name in QUANTIZED:
        model = tidy(conversion.model, PassOptions())
        samples = [pictures[i : i + 1] for i in range(2)]
        report = knight.quantize(model, samples, target="onnxruntime", method="min_max").report
        assert report["sqnr_db"] > 10, report["float_operator_names"]
