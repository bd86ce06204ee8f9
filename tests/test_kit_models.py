"""Real trained models: each quantizes for a runtime and for a chip, loads, and gives the same bytes again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

import knight
from knight import model as models
from knight.runner import Session

MODELS = (
    "fastestdet_352.onnx",
    "fastestdet_fruits_512.onnx",
    "mnist-8_onnxruntime_example.onnx",
    "mobilenet_v1_0.25_224.onnx",
    "nanodet_m_416.onnx",
    "resnet20_cifar10.onnx",
    "silero_vad_16k_op15.onnx",
    "squeezenet_v1.1.onnx",
    "version-RFB-320.onnx",
    "vit_cifar10.onnx",
)
SMALL = ("mnist-8_onnxruntime_example.onnx", "resnet20_cifar10.onnx", "vit_cifar10.onnx")
FIXED = {"silero_vad_16k_op15.onnx": {"input": (1, 576), "state": (2, 1, 128), "sr": ()}}


def samples(path: Path, count: int = 3) -> list[dict[str, np.ndarray]]:
    """Smooth random pictures: neighbouring pixels are alike, as in real ones."""
    session, found = Session(models.load(path)), []
    for seed in range(count):
        random = np.random.default_rng(seed)
        feeds: dict[str, np.ndarray] = {}
        for info in session.inputs:
            shape = FIXED.get(path.name, {}).get(info.name) or tuple(dim or 1 for dim in info.shape)
            if info.dtype == np.int64:
                feeds[info.name] = np.full(FIXED[path.name][info.name], 16_000)
                continue
            array = np.cumsum(random.normal(size=shape), axis=-1)
            feeds[info.name] = (array / max(1.0, float(np.abs(array).max()))).astype(np.float32)
        found.append(feeds)
    return found


@pytest.mark.parametrize("chip", ["onnxruntime", "TX5368AV200"])
@pytest.mark.parametrize("name", MODELS)
def test_quantizes_loads_and_repeats(kit: Path, tmp_path: Path, name: str, chip: str) -> None:
    path = kit / "onnx" / name
    data = samples(path)
    if name in FIXED and chip != "onnxruntime":
        with pytest.raises(knight.KnightError, match="fixed shapes only"):
            knight.quantize(path, data, target=chip)  # its window length may vary: the chip takes none such
        return
    first, second = (knight.quantize(path, data, target=chip, method="min_max") for _ in range(2))
    file = first.save(tmp_path / "first.onnx")
    assert file.read_bytes() == second.save(tmp_path / "second.onnx").read_bytes()
    onnx.checker.check_model(str(file), full_check=True)
    assert first.report["integer_operators"] > 0
    assert first.report["sqnr_db"] > 8, first.report["sqnr_db"]


@pytest.mark.parametrize("chip", ["onnxruntime", "TX5368AV200"])
@pytest.mark.parametrize("name", SMALL)
def test_the_reference_evaluator_agrees(kit: Path, name: str, chip: str) -> None:
    """Sums in another order move a value by a step now and then, and the steps add up over the layers."""
    path = kit / "onnx" / name
    (sample,) = samples(path, 1)
    model = knight.quantize(path, [sample], target=chip, method="min_max").model
    (expected,) = onnx.reference.ReferenceEvaluator(ir.to_proto(model)).run(None, sample)
    (exact,) = Session(model, level="none").run(sample)
    (optimised,) = Session(model).run(sample)
    span = float(np.abs(expected).max())
    assert np.abs(exact - expected).max() <= 0.05 * span
    assert np.abs(optimised - expected).max() <= 0.05 * span
