"""Real nets in the form of integer operators: nothing that computes is left in float, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import knight
from knight import model as models
from knight.exporters import export
from knight.outputs import dequantized, output_scales
from knight.runner import Session
from tests import integers
from tests.compare._kit import samples

NETS = {"resnet20_cifar10.onnx": 20, "squeezenet_v1.1.onnx": 6, "mobilenet_v1_0.25_224.onnx": 12}
"""Classifiers, and how many pictures are run."""

COMPUTE = ("Conv", "Gemm", "MatMul")


@pytest.mark.parametrize("name", NETS)
def test_all_that_computes_is_integer_and_as_exact_as_before(kit: Path, name: str) -> None:
    feeds = samples(kit, name, NETS[name])
    model = knight.quantize(kit / "onnx" / name, feeds, target="onnxruntime").model
    twin = export("qoperator", model).model
    before, after = ([node.op_type for node in each.graph] for each in (model, twin))
    computing = sum(map(before.count, COMPUTE))
    assert computing >= 20 and not set(after) & set(COMPUTE)
    assert sum(map(after.count, ("QLinearConv", "QGemm", "QLinearMatMul"))) == computing
    assert after.count("DequantizeLinear") <= 1 == after.count("QuantizeLinear")
    wanted = [Session(models.load(kit / "onnx" / name)).run(feed)[0] for feed in feeds]
    qdq, qoperator = (_sqnr(wanted, [Session(each).run(feed)[0] for feed in feeds]) for each in (model, twin))
    assert qoperator == pytest.approx(qdq, abs=0.2)


def _sqnr(wanted: list[np.ndarray], got: list[np.ndarray]) -> float:
    left, right = (np.concatenate(arrays).astype(np.float64) for arrays in (wanted, got))
    return float(10 * np.log10(np.square(left).sum() / np.square(right - left).sum()))


@pytest.mark.parametrize("chip", ["onnxruntime", "TX5368AV200", "tensorrt"])
@pytest.mark.parametrize("name", ["resnet20_cifar10.onnx", "mobilenet_v1_0.25_224.onnx"])
def test_every_layer_is_that_of_the_qdq_model_in_numpy(kit: Path, name: str, chip: str) -> None:
    """On the integers that arrive, in the standard operators of a chip too."""
    feeds = samples(kit, name, 2)
    model = knight.quantize(kit / "onnx" / name, feeds, target=chip).model
    twin = export("qoperator", model).model
    taps = [node.outputs[0].name or "" for node in model.graph if node.op_type == "QuantizeLinear"]
    session = Session(twin, taps=taps)
    given = dict(zip((info.name for info in session.outputs), session.run(feeds[0]), strict=True))
    seen = 0
    for value, apart in integers.steps_apart(model, feeds[0], given):
        assert apart.max(initial=0) <= 1 and np.mean(apart) <= 0.002, value
        seen += 1
    assert seen == len(taps) > 20
    outputs = [info.name for info in session.outputs][: len(model.graph.outputs)]
    scales = output_scales(model)
    both = (dequantized(outputs, Session(each).run(feeds[1]), scales) for each in (model, twin))
    for wanted, got in zip(*both, strict=True):
        assert np.linalg.norm(got - wanted) < 0.1 * np.linalg.norm(wanted)  # single steps, many layers on
