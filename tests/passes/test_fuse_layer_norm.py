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
