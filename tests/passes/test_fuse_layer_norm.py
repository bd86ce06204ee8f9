"""Every usual way to write LayerNormalization, and some things that only look like one."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes import PassOptions
from knight.passes.fuse_layer_norm import run
from tests.passes.equivalence import build, check_fused, check_untouched, random

X = {"x": (2, 5, 8)}
CONSTANTS = {
    "g": random(8, seed=1),
    "b": random(8, seed=2),
    "eps": np.array(1e-5, np.float32),
    "two": np.array(2.0, np.float32),
    "one": np.array(1.0, np.float32),
    "axes": np.array([-1]),
    "gw": random(1, 1, 8, seed=3),
    "gm": random(5, 8, seed=4),
    "gt": random(5, 1, seed=5),
    "s1": random(1, seed=6),
    "nhalf": np.array(-0.5, np.float32),
}
MEAN = "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m)"
SQUARES = ("q = Pow(d, two)", "q = Mul(d, d)")
ROOTS = (
    "n = Div(d, s)",
    "r = Reciprocal(s) n = Mul(d, r)",
    "r = Div(one, s) n = Mul(r, d)",
)
AFFINE = ("a = Mul(n, g) y = Add(a, b)", "a = Mul(g, n) y = Add(b, a)")


def constants_of(nodes: str) -> dict[str, np.ndarray]:
    words = nodes.replace("(", " ").replace(")", " ").replace(",", " ").split()
    return {name: array for name, array in CONSTANTS.items() if name in words}


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("affine", AFFINE)
def test_all_forms_become_one_operator(square: str, root: str, affine: str) -> None:
    nodes = f"{MEAN} {square} v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) s = Sqrt(e) {root} {affine}"
    check_fused(build(nodes, constants_of(nodes), inputs=X), run, "LayerNormalization")


def test_axes_as_an_input() -> None:
    nodes = """m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes)
        e = Add(v, eps) s = Sqrt(e) n = Div(d, s) a = Mul(n, g) y = Add(a, b)"""
    check_fused(build(nodes, constants_of(nodes), inputs=X, opset=18), run, "LayerNormalization")


def test_without_gamma_and_beta() -> None:
    nodes = f"{MEAN} q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)"
    check_fused(build(nodes, constants_of(nodes), inputs=X), run, "LayerNormalization")


FORM = f"{MEAN} q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)"


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(
            FORM.replace("ReduceMean<axes = [-1]>(q)", "ReduceMean<axes = [1]>(q)"), id="other axes"
        ),
        pytest.param(FORM.replace("[-1]", "[1]"), id="not the last axis"),
        pytest.param(FORM.replace("Sub(x, m)", "Add(x, m)"), id="no difference"),
        pytest.param(FORM + " z = Neg(d)", id="a part is read elsewhere"),
    ],
)
def test_what_only_looks_like_it_stays(nodes: str) -> None:
    outputs = ("y", "z") if " z =" in nodes else ("y",)
    check_untouched(build(nodes, constants_of(nodes), inputs=X, outputs=outputs), run)


def test_a_target_that_does_not_ask_gets_none() -> None:
    check_untouched(build(FORM, constants_of(FORM), inputs=X), run, options=PassOptions())


def test_a_graph_output_in_the_middle_stays() -> None:
    check_untouched(build(FORM, constants_of(FORM), inputs=X, outputs=("y", "d")), run)


STEPS = f"{MEAN} q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) s = Sqrt(e)"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param(
            f"{STEPS} i = Reciprocal(s) f = Mul(i, g) a = Mul(x, f) t = Mul(m, f) u = Sub(b, t) "
            "y = Add(a, u)",
            "LayerNormalization",
            id="as TensorFlow writes it",
        ),
        pytest.param(
            f"{STEPS} i = Reciprocal(s) f = Mul(g, i) a = Mul(d, f) y = Add(a, b)",
            "LayerNormalization",
            id="gamma in the factor",
        ),
        pytest.param(
            f"{STEPS} h = Mul(g, d) a = Div(h, s) y = Add(a, b)", "LayerNormalization", id="gamma first"
        ),
        pytest.param(
            STEPS.replace("s = Sqrt(e)", "i = Pow(e, nhalf)") + " a = Mul(d, i) h = Mul(a, gw) y = Add(h, b)",
            "LayerNormalization",
            id="a negative power, gamma of three axes",
        ),
        pytest.param(f"{STEPS} n = Div(d, s) y = Mul(n, s1)", "LayerNormalization", id="one gamma for all"),
        pytest.param(
            STEPS.replace("q = Mul(d, d)", "o = ReduceMean<axes = [2]>(x) p = Sub(x, o) q = Pow(p, two)")
            + " n = Div(d, s) a = Mul(n, g) y = Add(a, b)",
            "LayerNormalization",
            id="the difference computed twice",
        ),
        pytest.param(
            STEPS.replace("[-1]", "[-1, -2]") + " n = Div(d, s) a = Mul(n, gm) y = Add(a, b)",
            "LayerNormalization",
            id="two axes",
        ),
        pytest.param(
            f"{STEPS} n = Div(d, s) a = Mul(n, g) z = Neg(a) y = Add(a, b)",
            "LayerNormalization Neg Add",
            id="beta elsewhere",
        ),
        pytest.param(
            f"{STEPS} n = Div(d, s) y = Mul(n, gt)", "LayerNormalization Mul", id="a factor per token"
        ),
    ],
)
def test_rarer_forms(nodes: str, expected: str) -> None:
    outputs = ("y", "z") if " z =" in nodes else ("y",)
    constants = constants_of(nodes)
    check_fused(build(nodes, constants, inputs=X, outputs=outputs), run, expected)
    halves = {name: array.astype(np.float16) for name, array in constants.items()}
    half = build(nodes, halves, inputs=X, outputs=outputs, dtype="float16")
    check_fused(half, run, expected, rtol=3e-2, atol=3e-2)
    doubles = {name: array.astype(np.float64) for name, array in constants.items()}
    check_untouched(build(nodes, doubles, inputs=X, outputs=outputs, dtype="double"), run)


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        pytest.param(FORM.replace("[-1]>(q)", "[-1], keepdims = 0>(q)"), (5, 5, 5), id="a dropped axis"),
        pytest.param(FORM.replace("<axes = [-1]>", ""), (2, 5, 8), id="all axes"),
        pytest.param(FORM.replace("Mul(d, d)", "Mul(x, x)"), (2, 5, 8), id="the square of something else"),
        pytest.param(
            FORM.replace("y = Div(d, s)", "n = Div(d, s) y = Mul(n, s1)"), ("n", "t", "c"), id="no size"
        ),
    ],
)
def test_what_is_not_certain_stays(nodes: str, shape: tuple[int | str, ...]) -> None:
    check_untouched(build(nodes, constants_of(nodes), inputs={"x": shape}), run)


def test_only_the_normalized_axis_needs_a_known_size() -> None:
    nodes = FORM.replace("y = Div(d, s)", "n = Div(d, s) a = Mul(n, g) y = Add(a, b)")
    model = build(nodes, constants_of(nodes), inputs={"x": ("batch", "length", 8)})
    fused = check_fused(model, run, "LayerNormalization")
    assert set(fused.graph.initializers) == {"g", "b"}, "gamma and beta of the model are used as they are"
