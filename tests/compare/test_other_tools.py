"""Models that ONNX Runtime quantized: nearly all layers are paired, and their figures are plausible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from knight import model as models
from knight.compare.comparison import Comparison
from knight.compare.models import Options, compare_models
from knight.executor import RunSettings
from knight.feeding import counted
from tests.compare._kit import FILES, samples
from tests.compare._tools import by_onnxruntime

PER_CHANNEL = frozenset({"resnet20_cifar10.onnx", "vit_cifar10.onnx", "squeezenet_v1.1.onnx"})
"""Nets whose opset knows scales per channel; ONNX Runtime cannot load its own QDQ form of older ones."""
REWRITTEN = ("vit_cifar10.onnx", "fastestdet_352.onnx", "resnet20_cifar10.onnx")
"""Nets that quant_pre_process changes most, and one that it hardly changes."""
COARSE = {"mobilenet_v1_0.25_224.onnx": 0.75, "silero_vad_16k_op15.onnx": 0.85}
"""Share of the layers above 20 dB, where less than 95 %: depthwise weights under one scale, squares
whose range spans all loudnesses."""


def compared(reference: ir.Model, result: ir.Model, feeds: list[dict[str, np.ndarray]]) -> Comparison:
    infer, _ = counted(feeds)
    settings = RunSettings(iteration=len(feeds))
    return compare_models(reference, result, infer, settings, options=Options(remedies=False, threads=1))


def check(found: Comparison, coarse: float = 0.95) -> None:
    unpaired = [each for each in found.unpaired if each.side == "quantized"]
    assert len(found.layers) >= 0.95 * (len(found.layers) + len(unpaired)), unpaired
    own = np.array([layer.own_sqnr for layer in found.layers if layer.own_sqnr is not None])
    assert np.mean(own > 20) >= coarse
    for layer in found.layers:
        assert layer.own_sqnr is not None or "body of its own" in (layer.own_missing or ""), layer.output


CASES = [(file, form, False) for file in FILES for form in ("QDQ", "QOperator")]
CASES += [(file, form, True) for file in REWRITTEN for form in ("QDQ", "QOperator")]


@pytest.mark.parametrize(("file", "form", "prepared"), CASES)
def test_kit_nets(kit: Path, tmp_path: Path, file: str, form: str, prepared: bool) -> None:
    feeds = samples(kit, file, 2)
    source = kit / "onnx" / file
    per_channel = file in PER_CHANNEL and not prepared
    result = by_onnxruntime(source, tmp_path, feeds, form, prepared=prepared, per_channel=per_channel)
    found = compared(models.load(source), result, feeds[:1])
    check(found, COARSE.get(file, 0.95))
    assert found.output_sqnr is not None and found.output_sqnr > (-3 if file in COARSE else 5)
