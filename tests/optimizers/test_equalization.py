"""Equalization keeps the function, meets its formula, and leaves alone what it must not touch."""

from __future__ import annotations

import numpy as np
import pytest

from knight import model as models
from knight.optimizers.equalization import factors, pairs, run
from knight.runner import Session
from knight.targets import load_target
from tests.passes.equivalence import build, random
from tests.stages import bench_of

ORT = load_target("onnxruntime")
SPREAD = np.array([1, 30, 0.05, 4], np.float32)
CONV = {
    "w": random(4, 4, 3, 3, seed=1) * SPREAD.reshape(4, 1, 1, 1),
    "b": random(4, seed=2) * SPREAD,
    "v": random(5, 4, 1, 1, seed=3),
    "d": random(5, seed=4),
    "k": random(4, 1, 3, 3, seed=5),
    "g": random(6, 2, 1, 1, seed=6),
    "m": random(4, seed=7),
}
PADS = "pads = [1, 1, 1, 1]"


def pairs_of(nodes: str, **changes: object) -> list[tuple[str, str]]:
    model = build(nodes, CONV, **changes)  # type: ignore[arg-type]
    names = [node.name or "" for node in model.graph]
    return [(pair.first.name or "", pair.second.name or "") for pair in pairs(model.graph, names)]


@pytest.mark.parametrize(
    "between",
    [
        "r = Relu(c)",
        "r = LeakyRelu<alpha = 0.1>(c)",
        "p = MaxPool<kernel_shape = [2, 2]>(c) r = Relu(p)",
        "p = Relu(c) r = AveragePool<kernel_shape = [2, 2]>(p)",
        "p = Relu(c) r = GlobalAveragePool(p)",
    ],
)
def test_what_lets_a_factor_pass(between: str) -> None:
    found = pairs_of(f"c = Conv<{PADS}>(x, w, b) {between} y = Conv(r, v, d)")
    assert len(found) == 1 and found[0][0] == "node0"


@pytest.mark.parametrize(
    "nodes",
    [
        f"c = Conv<{PADS}>(x, w, b) r = Clip(c) y = Conv(r, v, d)",
        f"c = Conv<{PADS}>(x, w, b) r = Sigmoid(c) y = Conv(r, v, d)",
        f"c = Conv<{PADS}>(x, w, b) r = Relu(c) a = Conv(r, v, d) y = Concat<axis = 1>(a, r)",
        f"c = Conv<{PADS}>(x, w, b) r = Relu(c) a = Conv(r, v) s = Conv(x, v) y = Sum(a, s)",
        f"c = Conv<{PADS}>(x, w, b) r = Relu(c) a = Conv(r, v, d) s = Add(x, r) y = Concat<axis = 1>(a, s)",
    ],
    ids=["clip", "sigmoid", "read twice", "weight read twice", "skip"],
)
def test_what_stops_it(nodes: str) -> None:
    assert pairs_of(nodes) == []


def test_a_value_that_leaves_the_model_is_not_scaled() -> None:
    nodes = f"c = Conv<{PADS}>(x, w, b) r = Relu(c) y = Conv(r, v, d)"
    assert pairs_of(nodes) and pairs_of(nodes, outputs=("y", "r")) == []


def test_the_formula() -> None:
    made, read = np.array([4.0, 1.0, 9.0]), np.array([1.0, 4.0, 9.0])
    s = factors(made, read)
    np.testing.assert_allclose(s, np.sqrt(made * read) / read)
    np.testing.assert_allclose(made / s, read * s)  # both are the same afterwards
    np.testing.assert_array_equal(factors(np.array([0.0, 2.0]), np.array([3.0, 0.0])), 1.0)


@pytest.mark.parametrize("chip", ["onnxruntime", "tensorrt"])
def test_one_pair_is_what_numpy_makes_of_it(chip: str) -> None:
    model = build(f"c = Conv<{PADS}>(x, w, b) r = Relu(c) y = Conv(r, v, d)", CONV)
    samples = [{"x": random(2, 4, 9, 9, seed=seed)} for seed in range(3)]
    patch = run(bench_of(model, load_target(chip), samples))
    r1 = np.abs(CONV["w"]).reshape(4, -1).max(axis=1).astype(np.float64)
    r2 = np.abs(CONV["v"]).max(axis=(0, 2, 3)).astype(np.float64)
    s = np.sqrt(r1 * r2) / r2
    np.testing.assert_allclose(patch.constants["w"], CONV["w"] / s.reshape(4, 1, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(patch.constants["b"], CONV["b"] / s, rtol=1e-6)
    np.testing.assert_allclose(patch.constants["v"], CONV["v"] * s.reshape(1, 4, 1, 1), rtol=1e-6)
    np.testing.assert_array_equal(patch.constants["d"], CONV["d"])
    assert patch.moved == {"c", "r"} and not patch.biases


def test_layers_in_a_row_settle_and_the_function_stays() -> None:
    nodes = f"""
        c = Conv<{PADS}>(x, w, b) r = Relu(c) e = Conv<{PADS}, group = 4>(r, k, m) f = Relu(e)
        y = Conv<group = 2>(f, g)
    """
    model = build(nodes, CONV)
    samples = [{"x": random(2, 4, 9, 9, seed=seed)} for seed in range(3)]
    patch = run(bench_of(model, ORT, samples))
    w, k, g = (patch.constants[name].astype(np.float64) for name in ("w", "k", "g"))
    made = np.abs(w).reshape(4, -1).max(axis=1)
    depthwise = np.abs(k).reshape(4, -1).max(axis=1)
    read = np.abs(g).reshape(2, 3, 2).max(axis=1).reshape(-1)  # two groups, three outputs, two inputs each
    np.testing.assert_allclose(made, depthwise, rtol=2e-3)
    np.testing.assert_allclose(depthwise, read, rtol=2e-3)
    other = models.with_constants(model, patch.constants)
    for feeds in samples:
        wanted = Session(model).run(feeds)[0]
        np.testing.assert_allclose(Session(other).run(feeds)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("second", [0, 1])
def test_gemms_either_way_round(first: int, second: int) -> None:
    u, v = random(4, 6, seed=1) * np.linspace(0.1, 9, 6, dtype=np.float32), random(6, 3, seed=2)
    numbers = {"u": u.T.copy() if first else u, "b": random(1, 6, seed=3), "v": v.T.copy() if second else v}
    nodes = f"a = Gemm<transB = {first}, alpha = 0.5>(x, u, b) r = Relu(a) y = Gemm<transB = {second}>(r, v)"
    model = build(nodes, numbers, inputs={"x": (2, 4)})
    samples = [{"x": random(2, 4, seed=seed)} for seed in range(3)]
    patch = run(bench_of(model, ORT, samples))
    scaled = patch.constants["u"].T if first else patch.constants["u"]
    np.testing.assert_allclose(
        np.abs(scaled).max(axis=0),
        np.sqrt(np.abs(u).max(axis=0) * np.abs(v).max(axis=1)),
        rtol=1e-5,
    )
    other = models.with_constants(model, patch.constants)
    for feeds in samples:
        np.testing.assert_allclose(
            Session(other).run(feeds)[0], Session(model).run(feeds)[0], rtol=1e-4, atol=1e-4
        )


def test_nothing_to_equalize_is_an_empty_patch() -> None:
    model = build(f"c = Conv<{PADS}>(x, w, b) r = Clip(c) y = Conv(r, v, d)", CONV)
    assert not run(bench_of(model, ORT, [{"x": random(2, 4, 9, 9)}]))
