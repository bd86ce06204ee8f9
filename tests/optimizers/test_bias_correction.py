"""The corrected biases are the mean errors that NumPy finds, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from knight.bench import Bench
from knight.listener import Listener
from knight.optimizers.bias_correction import run
from knight.quantizer import fake_quantize, quantize
from knight.targets import load_target
from knight.types import FloatArray
from tests.passes.equivalence import build, random
from tests.stages import bench_of

ORT = load_target("onnxruntime")
SAMPLES = [{"x": random(2, 4, 5, 5, seed=seed, low=0, high=1)} for seed in range(6)]


def conv1x1(x: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """NumPy's statement of a Conv with a 1x1 kernel, in float64."""
    found = np.einsum("nchw,oc->nohw", x.astype(np.float64), weight[:, :, 0, 0].astype(np.float64))
    return found + bias.astype(np.float64).reshape(-1, 1, 1)


def rounded_bias(bench: Bench, node: str, bias: FloatArray) -> FloatArray:
    params = bench.parameters.biases[node]
    return quantize(bias, params) * params.scale.astype(np.float64)


def test_one_layer_takes_back_its_mean_error() -> None:
    numbers = {"w": random(3, 4, 1, 1, seed=1), "b": random(3, seed=2)}
    numbers["w"][1] = [
        [[120.0]],
        [[0.4]],
        [[0.4]],
        [[0.4]],
    ]  # three weights below half a step: all rounded off
    bench = bench_of(build("y = Conv(x, w, b)", numbers, inputs={"x": (2, 4, 5, 5)}), ORT, SAMPLES)
    x = np.concatenate([feeds["x"] for feeds in SAMPLES])
    weight = fake_quantize(numbers["w"], bench.parameters.weights["w"])
    got = conv1x1(
        fake_quantize(x, bench.parameters.activation(bench.plan, "x")),
        weight,
        rounded_bias(bench, "node0", numbers["b"]),
    )
    error = (conv1x1(x, numbers["w"], numbers["b"]) - got).mean(axis=(0, 2, 3))
    assert abs(error[1] - 3 * 0.4 * 0.5) < 0.2  # the weights that are lost, times the mean of what they read
    patch = run(bench)
    assert patch.biases.keys() == {"node0"} and not patch.constants and not patch.moved
    np.testing.assert_allclose(patch.biases["node0"], numbers["b"] + error, rtol=1e-5, atol=1e-5)


def test_a_layer_is_corrected_for_what_is_left_after_those_before() -> None:
    numbers = {
        "w": random(4, 4, 1, 1, seed=1),
        "b": random(4, seed=2),
        "v": random(3, 4, 1, 1, seed=3),
        "d": random(3, seed=4),
    }
    model = build("c = Conv(x, w, b) r = Relu(c) y = Conv(r, v, d)", numbers, inputs={"x": (2, 4, 5, 5)})
    bench = bench_of(model, ORT, SAMPLES)
    patch = run(bench)
    x = np.concatenate([feeds["x"] for feeds in SAMPLES])
    plan, params = bench.plan, bench.parameters
    w, v = (fake_quantize(numbers[name], params.weights[name]) for name in ("w", "v"))
    first = conv1x1(x, numbers["w"], numbers["b"])
    xq = fake_quantize(x, params.activation(plan, "x"))
    error = (first - conv1x1(xq, w, rounded_bias(bench, "node0", numbers["b"]))).mean(axis=(0, 2, 3))
    corrected = (numbers["b"] + error).astype(np.float32)
    np.testing.assert_allclose(patch.biases["node0"], corrected, rtol=1e-5, atol=1e-5)

    made = conv1x1(xq, w, rounded_bias(bench, "node0", patch.biases["node0"]))
    rq = fake_quantize(np.maximum(made, 0).astype(np.float32), params.activation(plan, "r"))
    wanted = conv1x1(np.maximum(first, 0), numbers["v"], numbers["d"])
    error = (wanted - conv1x1(rq, v, rounded_bias(bench, "node2", numbers["d"]))).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(patch.biases["node2"], numbers["d"] + error, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(("beta", "shape"), [(1.0, (3,)), (0.5, (3,)), (2.0, (1, 3))])
def test_the_bias_of_a_gemm_counts_as_often_as_beta_says(beta: float, shape: tuple[int, ...]) -> None:
    numbers = {"v": random(4, 3, seed=1), "d": random(*shape, seed=2)}
    model = build(f"y = Gemm<beta = {beta}>(x, v, d)", numbers, inputs={"x": (2, 4)})
    samples = [{"x": random(2, 4, seed=seed)} for seed in range(6)]
    bench = bench_of(model, ORT, samples)
    (got, wanted) = (
        np.concatenate([arrays["y"] for arrays in bench.capture(["y"], quantized=on)]) for on in (True, False)
    )
    error = (wanted.astype(np.float64) - got).mean(axis=0)
    patch = run(bench)
    assert patch.biases["node0"].shape == shape
    np.testing.assert_allclose(
        patch.biases["node0"].ravel(), numbers["d"].ravel() + error / beta, rtol=1e-4, atol=1e-5
    )


def test_a_shared_bias_becomes_each_layers_own() -> None:
    numbers = {"w": random(4, 4, 1, 1, seed=1), "v": random(4, 4, 1, 1, seed=2), "b": random(4, seed=3)}
    model = build("c = Conv(x, w, b) r = Relu(c) y = Conv(r, v, b)", numbers, inputs={"x": (2, 4, 5, 5)})
    patch = run(bench_of(model, ORT, SAMPLES))
    assert patch.biases.keys() == {"node0", "node2"}
    assert not np.array_equal(patch.biases["node0"], patch.biases["node2"])


def test_layers_without_a_bias_are_named() -> None:
    class Ear(Listener):
        heard: list[str] = []  # noqa: RUF012  # one test's own

        def detail(self, text: str) -> None:
            self.heard.append(text)

    numbers = {"w": random(4, 4, 1, 1, seed=1), "v": random(4, 4, 1, 1, seed=2), "d": random(4, seed=3)}
    model = build("c = Conv(x, w) r = Relu(c) y = Conv(r, v, d)", numbers, inputs={"x": (2, 4, 5, 5)})
    made = bench_of(model, ORT, SAMPLES)
    bench = Bench(made.prepared, made.plan, made.parameters, made.statistics, made.samples, listener=Ear())
    assert run(bench).biases.keys() == {"node2"}
    assert Ear.heard == ["bias_correction: node0 (Conv) has no bias and is not corrected"]


def test_all_means_are_of_the_same_samples() -> None:
    """Where nothing is rounded away, nothing is corrected, whatever the samples."""
    numbers = {"w": np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1), "b": np.zeros(4, np.float32)}
    samples = [{"x": np.rint(255 * feeds["x"]).astype(np.float32) / 255} for feeds in SAMPLES]
    samples[0]["x"].flat[:2] = (0, 1)
    bench = bench_of(build("y = Conv(x, w, b)", numbers, inputs={"x": (2, 4, 5, 5)}), ORT, samples)
    np.testing.assert_allclose(run(bench).biases["node0"], 0, atol=1e-6)


def test_a_mean_is_over_samples_and_positions_of_any_size() -> None:
    numbers = {"w": random(3, 4, 1, 1, seed=1), "b": random(3, seed=2)}
    model = build("y = Conv(x, w, b)", numbers, inputs={"x": ("N", 4, "H", "W")})
    samples = [{"x": random(1 + seed, 4, 2 + seed, 3, seed=seed)} for seed in range(4)]
    bench = bench_of(model, ORT, samples)
    total, count = np.zeros(3), 0
    weight, bias = fake_quantize(numbers["w"], bench.parameters.weights["w"]), numbers["b"]
    for feeds in samples:
        wanted = conv1x1(feeds["x"], numbers["w"], bias)
        rounded = fake_quantize(feeds["x"], bench.parameters.activation(bench.plan, "x"))
        total += (wanted - conv1x1(rounded, weight, rounded_bias(bench, "node0", bias))).sum(axis=(0, 2, 3))
        count += wanted[:, 0].size
    np.testing.assert_allclose(run(bench).biases["node0"], numbers["b"] + total / count, rtol=1e-4, atol=1e-5)
