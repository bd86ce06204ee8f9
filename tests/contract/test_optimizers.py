"""What every optimizer owes its callers: new numbers only, the same whatever the order of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import knight
from knight import model as models, optimizing
from knight.kept_samples import KeptSamples
from knight.observer import OBSERVERS
from knight.optimizers import Optimizer, optimizers
from knight.optimizing import Verdict
from knight.rewriter import rewrite
from knight.runner import Session
from knight.solver import solve
from knight.targets import load_target
from tests import small_models
from tests.passes.equivalence import build, random
from tests.stages import bench_of, plan_of

names = pytest.mark.parametrize("name", optimizers.names())
CHIPS = ("onnxruntime", "TX5368AV200", "generic", "tensorrt")
BLOCK = """
    c = Conv<pads = [1, 1, 1, 1], group = 4>(x, w, b)  r = Relu(c)  d = Conv(r, v, i)  a = Add(d, x)
    k = Concat<axis = 1>(a, d)  f = Conv(k, u, e)  p = Relu(f)  g = GlobalAveragePool(p)  h = Flatten(g)
    y = Gemm(h, s, t)
"""
NUMBERS = {
    "w": random(4, 1, 3, 3, seed=1) * np.array([1, 40, 0.1, 8], np.float32).reshape(4, 1, 1, 1),
    "b": random(4, seed=2),
    "v": random(4, 4, 1, 1, seed=3),
    "e": random(4, seed=4),
    "i": random(4, seed=8),
    "u": random(4, 8, 1, 1, seed=5),
    "s": random(4, 6, seed=6),
    "t": random(6, seed=7),
}
MODELS: dict[str, Callable[[Path], ir.Model]] = {
    "block": lambda folder: build(BLOCK, NUMBERS, inputs={"x": (2, 4, 6, 6)}),
    "conv": lambda folder: models.load(small_models.conv_net(folder)),
    "two inputs": lambda folder: models.load(small_models.two_inputs(folder)),
    "nothing quantized": lambda folder: build("y = Exp(x)"),
}
sources = pytest.mark.parametrize("source", MODELS, ids=lambda name: name.replace(" ", "_"))


def samples_of(model: ir.Model, count: int = 24) -> list[dict[str, np.ndarray]]:
    return [
        {
            value.name or "": random(*(int(dim) for dim in value.shape or ()), seed=seed)
            for value in model.graph.inputs
        }
        for seed in range(count)
    ]


@names
def test_what_it_declares_exists(name: str) -> None:
    optimizer = optimizers.get(name)
    assert isinstance(optimizer, Optimizer)
    assert optimizer.changes in ("float", "rounding") and optimizer.samples >= optimizing.ENOUGH
    plan = plan_of(build(BLOCK, NUMBERS, inputs={"x": (2, 4, 6, 6)}), load_target("onnxruntime"))
    values = {tensor.value for tensor in plan.tensors.values()}
    for value, kinds in optimizer.needs(plan).items():
        assert value in values and kinds <= OBSERVERS.keys()


@names
@sources
@pytest.mark.parametrize("chip", CHIPS)
def test_a_patch_is_new_numbers_and_no_new_graph(name: str, source: str, chip: str, tmp_path: Path) -> None:
    model = MODELS[source](tmp_path)
    before = models.to_bytes(model)
    bench = bench_of(model, load_target(chip), samples_of(model, 8))
    patch = optimizers.get(name).run(bench)
    assert models.to_bytes(model) == before  # the source is left alone
    for constant, array in patch.constants.items():
        known = models.constant(model.graph.initializers[constant])
        assert known is not None and (known.shape, known.dtype) == (array.shape, array.dtype)
        assert np.isfinite(array).all()
    assert patch.biases.keys() <= bench.parameters.biases.keys()
    assert all(np.isfinite(array).all() for array in patch.biases.values())
    assert patch.activations.keys() <= bench.plan.groups.keys()
    assert patch.weights.keys() <= bench.plan.weights.keys()
    assert patch.moved <= {value.name for node in model.graph for value in node.outputs}
    base = model if optimizers.get(name).changes != "float" else models.with_constants(model, patch.constants)
    params = solve(base, bench.plan, bench.statistics, patch=patch)
    plain, patched = rewrite(model, bench.plan, bench.parameters), rewrite(base, bench.plan, params)
    assert [node.name for node in plain.graph] == [node.name for node in patched.graph]
    assert plain.graph.initializers.keys() == patched.graph.initializers.keys()


@names
@sources
def test_a_float_model_goes_on_computing_what_it_did(name: str, source: str, tmp_path: Path) -> None:
    if optimizers.get(name).changes != "float":
        pytest.skip("it leaves the float model as it is")
    model = MODELS[source](tmp_path)
    samples = samples_of(model, 4)
    patch = optimizers.get(name).run(bench_of(model, load_target("onnxruntime"), samples))
    other = models.with_constants(model, patch.constants)
    for feeds in samples:
        for wanted, got in zip(Session(model).run(feeds), Session(other).run(feeds), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def quantized(
    model: ir.Model, samples: Sequence[dict[str, np.ndarray]], name: str | None
) -> knight.QuantizedModel:
    chosen = () if name is None else (name,)
    return knight.quantize(
        model, samples, target="onnxruntime", method="min_max", optimizers=chosen, threads=1
    )


@names
@sources
def test_the_order_of_the_samples_does_not_change_a_byte(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizing, "_against", lambda before, after: "")  # taken in any case
    model = MODELS[source](tmp_path)
    samples = samples_of(model)
    found = [quantized(model, order, name) for order in (samples, samples[::-1], samples[7:] + samples[:7])]
    assert len({models.to_bytes(one.model) for one in found}) == 1
    assert found[0].report["optimizers"] == found[1].report["optimizers"]


@names
def test_what_does_not_help_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = MODELS["block"](tmp_path)
    samples = samples_of(model)
    plain = quantized(model, samples, None)
    monkeypatch.setattr(optimizing, "_against", lambda before, after: "it does not help")
    refused = quantized(model, samples, name)
    assert models.to_bytes(refused.model) == models.to_bytes(plain.model)
    (verdict,) = refused.report["optimizers"]
    assert not verdict["accepted"] and verdict["check_samples"] == 12  # of 24 calls with two samples each
    assert f"optimizer {name} was refused: it does not help: " in refused.report["warnings"][-1]
    assert refused.report["weights"] == plain.report["weights"]


@names
def test_with_fewer_than_16_samples_rounding_is_plain_and_that_is_said(name: str, tmp_path: Path) -> None:
    model = MODELS["conv"](tmp_path)
    samples = samples_of(model, 15)
    found = quantized(model, samples, name)
    assert models.to_bytes(found.model) == models.to_bytes(quantized(model, samples, None).model)
    assert "takes 16 samples" in found.report["warnings"][-1]
    assert found.report["optimizers"][0]["reason"].startswith("plain rounding")


@names
def test_it_is_taken_only_where_the_outputs_gain(name: str, tmp_path: Path) -> None:
    for make in MODELS.values():
        model = make(tmp_path)
        report = quantized(model, samples_of(model), name).report
        (found,) = report["optimizers"]
        if found["accepted"]:
            assert found["after_db"] > found["before_db"] and found["reason"] == ""
        verdict = Verdict(**{key: value for key, value in found.items() if key != "accepted"})
        assert verdict.accepted == found["accepted"]


def test_nothing_is_kept_where_no_optimizer_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[int] = []
    monkeypatch.setattr(KeptSamples, "offer", lambda self, feeds: offered.append(self._count))
    model = build("y = Conv(x, w, b)", {"w": random(4, 4, 1, 1), "b": random(4)})
    quantized(model, samples_of(model, 4), None)
    assert set(offered) == {0}
