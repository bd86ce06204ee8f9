"""The printed figures are those of the file: real nets against integers added up in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import knight
from knight import model as models
from knight.coverage import optimised_coverage
from knight.executor import Executor
from knight.outputs import dequantized, output_scales
from knight.runner import Session
from tests import integers
from tests.compare._kit import samples

NETS = {
    "resnet20_cifar10.onnx": 100,
    "squeezenet_v1.1.onnx": 12,
    "mobilenet_v1_0.25_224.onnx": 60,
    "vit_cifar10.onnx": 100,
}
"""Classifiers, and how many pictures are compared as a whole."""


def decibels(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    left, right = (np.concatenate(arrays).astype(np.float64) for arrays in (wanted, got))
    return float(10 * np.log10(np.square(left).sum() / np.square(right - left).sum()))


def _has_weight(node: ir.Node) -> bool:
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return False
    source = node.inputs[1].producer() if node.inputs[1] is not None else None
    return source is not None and models.is_constant(source.inputs[0])


class Counted:
    """Feeds samples, and remembers how many the fixed-point pass took."""

    def __init__(self, feeds: Sequence[dict[str, np.ndarray]]) -> None:
        self.feeds = feeds
        self.taken = 0

    def __call__(self, executor: Executor) -> None:
        self.taken = 0
        for feed in self.feeds[: executor.iteration]:
            if executor.early_stop_flag:
                break
            executor.forward(*feed.values())
            self.taken += 1


CHIPS = pytest.mark.parametrize("chip", ["onnxruntime", "TX5368AV200"])


@CHIPS
@pytest.mark.parametrize("name", NETS)
def test_every_layer_is_that_of_integers_in_numpy(kit: Path, name: str, chip: str) -> None:
    """On the integers that arrive: a number just between two steps may be rounded to either."""
    feeds = samples(kit, name, 2)
    model = knight.quantize(kit / "onnx" / name, feeds, target=chip).model
    taps = [node.outputs[0].name or "" for node in model.graph if node.op_type == "QuantizeLinear"]
    session = Session(model, taps=taps)
    for feed in feeds:
        given = dict(zip((info.name for info in session.outputs), session.run(feed), strict=True))
        seen = 0
        for value, apart in integers.steps_apart(model, feed, given):
            assert apart.max(initial=0) <= 1 and np.mean(apart) <= 0.002, value
            seen += 1
        assert seen == len(taps) > 20


@CHIPS
@pytest.mark.parametrize("name", NETS)
def test_sqnr_is_that_of_integers_in_numpy(kit: Path, name: str, chip: str) -> None:
    """Of the whole net: the few numbers that are rounded the other way change others behind them."""
    feed = Counted(samples(kit, name, NETS[name]))
    found = knight.quantize(kit / "onnx" / name, feed, target=chip, iterations=len(feed.feeds))
    reference = Session(models.load(kit / "onnx" / name))
    names, scales = [info.name for info in reference.outputs], output_scales(found.model)
    wanted, got = [], []
    for sample in feed.feeds[: feed.taken]:
        wanted += reference.run(sample)
        got += dequantized(names, integers.outputs(found.model, sample), scales)
    assert found.report["sqnr_db"] == pytest.approx(decibels(wanted, got), abs=0.2)


@pytest.mark.parametrize("name", NETS)
def test_uint8_weights_are_the_same_integers_everywhere(kit: Path, name: str) -> None:
    feeds = samples(kit, name, 4)
    old, new = (
        knight.quantize(kit / "onnx" / name, feeds, target=chip)
        for chip in ("onnxruntime-avx2", "onnxruntime")
    )
    assert old.report["sqnr_db"] == pytest.approx(new.report["sqnr_db"], abs=0.1)
    assert old.report["host"]["replay"] is None  # this CPU's own kernels are exact
    assert old.report["integer_operators"] == new.report["integer_operators"]
    floats = optimised_coverage(old.model).float_compute
    assert floats == optimised_coverage(new.model).float_compute
    weighted = [node.name or "" for node in new.model.graph if _has_weight(node)]
    assert not [each for each in floats if any(name and name in each for name in weighted)]


def test_a_net_that_saturates_where_it_can(tmp_path: Path) -> None:
    """Positive weights and activations: 10.9 dB instead of 57.5 with kernels that saturate."""
    from tests.passes.equivalence import build

    random = np.random.default_rng(0)
    weight = (np.abs(random.normal(1, 0.05, (16, 16, 3, 3))) / 144).astype(np.float32)
    model = build("y = Conv<pads = [1, 1, 1, 1]>(x, w)", {"w": weight}, inputs={"x": (1, 16, 12, 12)})
    feeds = [
        {"x": np.clip(random.normal(0.8, 0.15, (1, 16, 12, 12)), 0, 1).astype(np.float32)} for _ in range(6)
    ]
    for options in ({"target": "onnxruntime"}, {"target": "TX5368AV200"}, {"target": "onnxruntime-avx2"}):
        found = knight.quantize(model, feeds, **options)
        scales = output_scales(found.model)
        wanted = [Session(model).run(feed)[0] for feed in feeds]
        got = [dequantized(["y"], integers.outputs(found.model, feed), scales)[0] for feed in feeds]
        assert found.report["sqnr_db"] == pytest.approx(decibels(wanted, got), abs=0.1)
        assert found.report["sqnr_db"] > 45
    seven = knight.quantize(model, feeds, target="onnxruntime", reduce_range=True)
    assert 45 < seven.report["sqnr_db"] < found.report["sqnr_db"] + 1
