"""MatMul + Add is a Gemm for matrices with constant weights, and for nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes import PassOptions
from knight.passes.gemm_from_matmul_add import run
from tests.passes.equivalence import build, check_fused, check_untouched, random

MATRIX = {"x": ("n", 4)}


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), (), (1, 1)])
@pytest.mark.parametrize("order", ["c, k", "k, c"])
def test_vector_in_either_order(shape: tuple[int, ...], order: str) -> None:
    model = build(
        f"c = MatMul(x, w) y = Add({order})", {"w": random(4, 5), "k": random(*shape)}, inputs=MATRIX
    )
    fused = check_fused(model, run, "Gemm")
    bias = fused.graph.node(0).inputs[2]
    assert bias is not None and bias.shape == (5,)


def test_after_flatten() -> None:
    model = build("f = Flatten(x) c = MatMul(f, w) y = Add(c, k)", {"w": random(324, 5), "k": random(5)})
    fused = check_fused(model, run, "Flatten Gemm")
    assert set(fused.graph.initializers) == {"w", "w_bias"}


def test_weights_that_another_reads_stay_shared() -> None:
    model = build(
        "c = MatMul(x, w) d = MatMul(x, w) m = Add(c, k) y = Mul(m, d)",
        {"w": random(4, 5), "k": random(5)},
        inputs=MATRIX,
    )
    fused = check_fused(model, run, "Gemm MatMul Mul")
    assert set(fused.graph.initializers) == {"w", "w_bias"}


def test_constant_nodes() -> None:
    model = build(
        "k = Constant<value = float[2] {3.0, 4.0}>() w = Constant<value = float[4,2] {1,2,3,4,5,6,7,8}>() "
        "c = MatMul(x, w) y = Add(c, k)",
        inputs=MATRIX,
    )
    check_fused(model, run, "Gemm")


@pytest.mark.parametrize(
    "factors", ["alpha=0.5", "beta=2.0", "alpha=3.0,beta=0.25,transB=1", "alpha=2.0,transA=1"]
)
def test_factors_go_into_the_constants(factors: str) -> None:
    weight = random(5, 4) if "transB" in factors else random(4, 5)
    model = build(
        f"y = Gemm<{factors}>(x, w, k)",
        {"w": weight, "k": random(5)},
        inputs={"x": (4, 3) if "transA" in factors else (3, 4)},
    )
    fused = check_fused(model, run, "Gemm")
    assert not {"alpha", "beta"} & set(fused.graph.node(0).attributes)


def test_a_gemm_without_factors_is_left() -> None:
    check_untouched(build("y = Gemm(x, w, k)", {"w": random(4, 5), "k": random(5)}, inputs=MATRIX), run)


REFUSED = {
    "three axes": ("c = MatMul(x, w) y = Add(c, k)", {"k": random(5)}, {"x": (2, 3, 4)}),
    "a widening constant": ("c = MatMul(x, w) y = Add(c, k)", {"k": random(2, 1, 5)}, MATRIX),
    "a constant per row": ("c = MatMul(x, w) y = Add(c, k)", {"k": random(3, 1)}, {"x": (3, 4)}),
    "one column made many": (
        "c = MatMul(x, v) y = Add(c, k)",
        {"v": random(4, 1), "k": random(5)},
        MATRIX,
    ),
    "two readers": ("c = MatMul(x, w) d = Add(c, k) y = Mul(c, d)", {"k": random(5)}, MATRIX),
    "a computed sum": ("c = MatMul(x, w) d = Relu(c) e = MatMul(x, w) y = Add(e, d)", {}, MATRIX),
    "two computed matrices": (
        "c = MatMul(x, z) y = Add(c, k)",
        {"k": random(5)},
        {"x": (3, 4), "z": (4, 5)},
    ),
    "factors of a computed matrix": (
        "y = Gemm<alpha=2.0>(x, z, k)",
        {"k": random(5)},
        {"x": (3, 4), "z": (4, 5)},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    nodes, constants, inputs = REFUSED[case]
    if "w" in nodes:
        constants = {"w": random(4, 5), **constants}
    check_untouched(build(nodes, constants, inputs=inputs), run)


def test_unknown_rank_is_left() -> None:
    model = build("c = MatMul(x, w) y = Add(c, k)", {"w": random(4, 5), "k": random(5)}, inputs=MATRIX)
    model.graph.inputs[0].shape = None
    assert run(model, PassOptions()) == 0


def test_a_graph_output_in_the_middle_is_left() -> None:
    nodes = "c = MatMul(x, w) y = Add(c, k)"
    check_untouched(build(nodes, {"w": random(4, 5), "k": random(5)}, inputs=MATRIX, outputs=("c", "y")), run)


def test_half_precision() -> None:
    numbers = {"w": random(4, 5).astype(np.float16), "k": random(5).astype(np.float16)}
    model = build("c = MatMul(x, w) y = Add(c, k)", numbers, inputs=MATRIX, dtype="float16")
    check_fused(model, run, "Gemm", rtol=1e-2, atol=1e-2)
