"""What an optimizer is handed says what the models compute, and lets nobody change them."""

from __future__ import annotations

import numpy as np
import pytest

from knight import model as models
from knight.bench import Bench, set_constant
from knight.errors import ModelError
from knight.kept_samples import content_hash
from knight.outputs import real_session
from knight.quantizer import fake_quantize, quantize
from knight.rewriter import rewrite
from knight.runner import Session
from knight.targets import load_target
from tests.passes.equivalence import build, random
from tests.stages import bench_of

NET = "c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c) y = Conv(r, v, d)"
NUMBERS = {
    "w": random(4, 4, 3, 3, seed=1),
    "b": random(4, seed=2),
    "v": random(5, 4, 1, 1, seed=3),
    "d": random(5, seed=4),
}
SAMPLES = [{"x": random(2, 4, 9, 9, seed=seed)} for seed in range(5)]


def bench(chip: str = "onnxruntime") -> Bench:
    return bench_of(build(NET, NUMBERS), load_target(chip), SAMPLES)


def test_float_values_come_in_the_order_of_the_hashes() -> None:
    made = bench()
    session = Session(made.prepared.model, taps=["c", "r"])
    wanted = [session.run(feeds, ["c", "y"]) for feeds in sorted(SAMPLES, key=content_hash)]
    got = list(made.capture(["c", "x", "y"]))
    assert len(got) == 5
    for arrays, (c, y), feeds in zip(got, wanted, sorted(SAMPLES, key=content_hash), strict=True):
        assert list(arrays) == ["c", "x", "y"]
        np.testing.assert_array_equal(arrays["c"], c)
        np.testing.assert_array_equal(arrays["y"], y)
        np.testing.assert_array_equal(arrays["x"], feeds["x"])


@pytest.mark.parametrize("chip", ["onnxruntime", "TX5368AV200"])
def test_quantized_values_are_those_before_their_own_rounding(chip: str) -> None:
    made = bench(chip)
    x = made.parameters.activation(made.plan, "x")
    numbers = {**NUMBERS, "w": fake_quantize(NUMBERS["w"], made.parameters.weights["w"])}
    bias = made.parameters.biases["node0"]
    numbers["b"] = (quantize(NUMBERS["b"], bias) * bias.scale.astype(np.float64)).astype(np.float32)
    plain = Session(build(NET, numbers), taps=["c"], level="none")
    fixed_point = rewrite(made.prepared.model, made.plan, made.parameters)
    real = real_session(fixed_point)
    for feeds, arrays in zip(made.samples, made.capture(["c", "y"], quantized=True), strict=True):
        (c,) = plain.run({"x": fake_quantize(feeds["x"], x)}, ["c"])
        np.testing.assert_allclose(arrays["c"], c, rtol=1e-4, atol=1e-5)
        (y,) = real.run(feeds)  # also where the chip's own outputs are fixed-point
        np.testing.assert_array_equal(arrays["y"], y)


def test_a_name_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match="no value 'nonsense' to capture"):
        list(bench().capture(["nonsense"]))


def test_the_quantized_model_is_a_copy() -> None:
    made = bench()
    before = models.to_bytes(made.quantized())
    model = made.quantized()
    node = next(node for node in model.graph if node.name == "node0")
    set_constant(node.inputs[2], np.zeros(4, np.int32))
    assert models.to_bytes(model) != before and models.to_bytes(made.quantized()) == before
    with pytest.raises(ModelError, match="is no quantized constant"):
        set_constant(node.outputs[0], np.zeros(4, np.int32))
    with pytest.raises(ModelError, match="is no quantized constant"):
        set_constant(None, np.zeros(4, np.int32))


def test_a_walk_goes_on_with_what_was_changed() -> None:
    made = bench()
    model = made.quantized()
    nodes = {node.name: node for node in model.graph}
    integers = quantize(NUMBERS["b"] + 1, made.parameters.biases["node0"])
    set_constant(nodes["node0"].inputs[2], integers)
    output = nodes["node2"].outputs[0].name
    session = Session(model, taps=[output])
    wanted = [session.run(feeds, [output])[0] for feeds in made.samples]
    for node, outputs in made.walk(["node0", "node2"]):
        got = list(outputs)
        if node.name == "node0":
            set_constant(node.inputs[2], integers)
        else:
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
