"""Every kit model of every framework: proven, as good as its ONNX twin when quantized, and the same graph."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from knight import model as models
from knight.conversion import Converted, convert
from knight.passes import PassOptions, prepare
from knight.targets import load_target

BENCH = Path(__file__).resolve().parent.parent / "scripts" / "bench"
sys.path.append(str(BENCH))  # the scripts there import each other by name
formats: Any = importlib.import_module("formats")

PICTURES = 100
TWINS = {
    "resnet20": "resnet20_cifar10",
    "mobilenetv1_025": "mobilenet_v1_0.25_224",
    "squeezenet11": "squeezenet_v1.1",
}


@cache
def converted(kit: Path, number: int) -> Converted:
    """The case of that number, converted once per process."""
    case = formats.CASES[number]
    return convert(case.framework, formats.source_of(kit, case), threads=1)


@pytest.mark.parametrize("number", range(len(formats.CASES)), ids=lambda n: f"{formats.CASES[n].file}-{n}")
def test_kit(number: int, kit: Path) -> None:
    case, result = formats.CASES[number], converted(kit, number)
    assert result.error is not None and result.error < 1e-4
    if case.net is None:
        return
    samples, pictures = formats.data(kit, case.net, PICTURES)
    if case.nhwc:
        samples, pictures = ([x.transpose(0, 2, 3, 1).copy() for x in xs] for xs in (samples, pictures))
    found = formats.quantized_sqnr(result.model, samples, pictures)
    assert abs(found - formats.twin_sqnr(kit, case.net, PICTURES)) < 0.5
    assert not differences(kit, case, result)


def differences(kit: Path, case: Any, result: Converted) -> dict[str, int]:
    """Operators that the prepared graph has more often (or less) than the twin's, but for the explained.

    The Keras and Paddle MobileNets have their classifier as a Conv of one pixel where the twin has a Gemm, an
    NHWC input is turned by a Transpose, and SqueezeNet in Caffe leaves its scores as pictures of one pixel.
    """
    names = formats.logits_of(result.model)
    recognise = load_target("onnxruntime").recognise
    counts = []
    for model, outputs in (
        (result.model, names),
        (models.load(kit / "onnx" / f"{TWINS[case.net]}.onnx"), ()),
    ):
        options = PassOptions(
            batch_size=1, static_shapes=True, opset=20, recognise=recognise, output_names=outputs
        )
        counts.append(Counter(node.op_type for node in prepare(model, options).graph))
    found, twin = counts
    more = {op: found[op] - twin[op] for op in {*found, *twin} if found[op] != twin[op]}
    if case.framework in ("paddle", "tensorflow") and more.get("Conv") == 1 and more.get("Gemm") == -1:
        del more["Conv"], more["Gemm"]
    if case.framework == "caffe" and more.get("Flatten") == -1:
        del more["Flatten"]
    if case.nhwc and more.get("Transpose") == 1:
        del more["Transpose"]
    return more
