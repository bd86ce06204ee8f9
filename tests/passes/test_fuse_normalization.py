"""Norms along an axis, of a channel, of a token, in the spellings of exporters."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes import PassOptions
from knight.passes.fuse_normalization import run
from tests.passes.equivalence import build, check_fused, check_untouched, random

CONSTANTS = {
    "eps": np.array(1e-5, np.float32),
    "two": np.array(2.0, np.float32),
    "g": random(4, 1, 1, seed=1),
    "b": random(1, 4, 1, 1, seed=2),
    "gl": random(8, seed=3),
}


def graph(nodes: str, shape: tuple[int, ...] = (2, 4, 5, 6), **options: object):  # type: ignore[no-untyped-def]
    words = nodes.replace("(", " ").replace(")", " ").replace(",", " ").split()
    constants = {name: array for name, array in CONSTANTS.items() if name in words}
    return build(nodes, constants, inputs={"x": shape}, **options)


@pytest.mark.parametrize(
    "nodes",
    [
        "n = ReduceL2<axes = [1]>(x) y = Div(x, n)",
        "n = ReduceL1<axes = [1]>(x) y = Div(x, n)",
        "q = Mul(x, x) s = ReduceSumSquare<axes = [1]>(x) n = Sqrt(s) y = Div(x, n)",
        "a = Abs(x) n = ReduceL1<axes = [1]>(x) y = Div(x, n)",
    ],
)
def test_a_norm_along_one_axis(nodes: str) -> None:
    model = graph(nodes)
    for node in [node for node in model.graph if not any(output.uses() for output in node.outputs)]:
        if not node.outputs[0].is_graph_output():
            model.graph.remove(node, safe=True)
    check_fused(model, run, "LpNormalization")


CHANNEL = """m = ReduceMean<axes = [2, 3]>(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<axes = [2, 3]>(q)
    e = Add(v, eps) s = Sqrt(e) n = Div(d, s)"""


def test_a_channel_of_a_picture() -> None:
    check_fused(graph(f"{CHANNEL} a = Mul(n, g) y = Add(a, b)"), run, "InstanceNormalization")


def test_a_token_by_its_root_mean_square() -> None:
    nodes = "q = Mul(x, x) v = ReduceMean(q, axes) e = Add(v, eps) s = Sqrt(e) n = Div(x, s) y = Mul(n, gl)"
    model = build(
        nodes,
        {"eps": CONSTANTS["eps"], "gl": CONSTANTS["gl"], "axes": np.array([-1])},
        inputs={"x": (2, 5, 8)},
        opset=23,
    )
    check_fused(model, run, "RMSNormalization")


@pytest.mark.parametrize(
    "nodes",
    [
        "n = ReduceL2<axes = [1, 2]>(x) y = Div(x, n)",
        "n = ReduceL2<axes = [1]>(x) k = Max(n, eps) y = Div(x, k)",  # kept above epsilon: another function
        "n = ReduceL2<axes = [1]>(x) y = Div(n, x)",
    ],
)
def test_what_only_looks_like_it_stays(nodes: str) -> None:
    check_untouched(graph(nodes), run)


def test_a_target_that_does_not_ask_gets_none() -> None:
    check_untouched(graph("n = ReduceL2<axes = [1]>(x) y = Div(x, n)"), run, options=PassOptions())
