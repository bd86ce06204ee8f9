"""On real nets: what is won where rounding shifts means, and that nothing is lost elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

import knight
from knight import model as models
from knight.judge import Judge
from tests.compare._kit import samples

MOBILENET, SQUEEZENET = "mobilenet_v1_0.25_224.onnx", "squeezenet_v1.1.onnx"


def quantized(kit: Path, name: str, count: int, *chosen: str) -> tuple[knight.QuantizedModel, float]:
    """The model from every third picture, and its SQNR on as many others."""
    pictures = samples(kit, name, 300)
    path = kit / "onnx" / name
    made = knight.quantize(path, pictures[::3][:count], target="onnxruntime", optimizers=chosen, threads=2)
    found = Judge(models.load(path), pictures[1::3][:count], threads=2).closeness(made.model).sqnr_db
    assert found is not None
    return made, found


def test_a_depthwise_net_gains_eight_decibels(kit: Path) -> None:
    _, plain = quantized(kit, MOBILENET, 100)
    made, corrected = quantized(kit, MOBILENET, 100, "bias_correction")
    (verdict,) = made.report["optimizers"]
    assert verdict["accepted"] and verdict["check_samples"] == 25
    assert plain < 14 and corrected >= 21


@pytest.mark.parametrize("name", ["bias_correction", "equalization"])
def test_what_harms_a_net_is_refused_aloud(kit: Path, name: str) -> None:
    plain, _ = quantized(kit, SQUEEZENET, 64)
    made, _ = quantized(kit, SQUEEZENET, 64, name)
    (verdict,) = made.report["optimizers"]
    assert not verdict["accepted"] and verdict["after_db"] < verdict["before_db"]
    assert models.to_bytes(made.model) == models.to_bytes(plain.model)
    assert f"{verdict['before_db']:.2f} dB without, {verdict['after_db']:.2f} dB with it" in "".join(
        made.report["warnings"]
    )
