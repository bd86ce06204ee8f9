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
    "s1": random(1, seed=4),
    "ones": np.ones(4, np.float32),
    "zeros": np.zeros(4, np.float32),
    "two1": np.ones(2, np.float32),
    "flat": np.array([0, 4, -1]),
    "groups": np.array([2, 2, -1]),
    "back": np.array([2, 4, 5, 6]),
    "axes": np.array([-1]),
    "nhalf": np.array(-0.5, np.float32),
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


FLAT = "r = Reshape(x, {}) {} o = Reshape(i, back)"
PLAIN = "i = InstanceNormalization(r, ones, zeros)"
WRITTEN_OUT = """m = ReduceMean<axes = [2]>(r) d = Sub(r, m) q = Mul(d, d) v = ReduceMean<axes = [2]>(q)
    e = Add(v, eps) s = Sqrt(e) i = Div(d, s)"""


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param(f"{CHANNEL} y = Relu(n)", "InstanceNormalization Relu", id="no parameters"),
        pytest.param(
            f"{CHANNEL} a = Mul(n, s1) y = Add(a, b)", "InstanceNormalization", id="one gamma for all"
        ),
        pytest.param(
            FLAT.format("flat", PLAIN) + " a = Mul(o, g) y = Add(a, b)",
            "InstanceNormalization",
            id="flattened",
        ),
        pytest.param(
            FLAT.format("flat", WRITTEN_OUT) + " a = Mul(o, g) y = Add(a, b)",
            "InstanceNormalization",
            id="flattened and written out",
        ),
        pytest.param(
            FLAT.format("groups", WRITTEN_OUT) + " a = Mul(o, g) y = Add(a, b)",
            "Reshape InstanceNormalization Reshape Mul Add",
            id="groups of channels",
        ),
    ],
)
def test_forms_of_instance_normalization(nodes: str, expected: str) -> None:
    check_fused(graph(nodes), run, expected)


def test_groups_are_no_channels() -> None:
    check_untouched(
        graph("r = Reshape(x, groups) i = InstanceNormalization(r, two1, two1) y = Reshape(i, back)"), run
    )


def test_the_last_of_three_axes_is_left_to_the_layer_norm() -> None:
    check_untouched(graph(WRITTEN_OUT.replace("(r", "(x").replace("i = ", "y = "), shape=(2, 5, 8)), run)


@pytest.mark.parametrize(
    "nodes",
    [
        "q = Pow(x, two) r = ReduceSum(q, axes) n = Sqrt(r) y = Div(x, n)",
        "q = Abs(x) r = ReduceSum(q, axes) y = Div(x, r)",
    ],
)
def test_norms_from_sums(nodes: str) -> None:
    check_fused(graph(nodes), run, "LpNormalization")


@pytest.mark.parametrize(
    "nodes",
    [
        "q = Mul(x, x) v = ReduceMean(q, axes) e = Add(v, eps) s = Sqrt(e) i = Reciprocal(s) "
        "a = Mul(x, i) y = Mul(gl, a)",
        "q = Pow(x, two) v = ReduceMean(q, axes) e = Add(v, eps) i = Pow(e, nhalf) y = Mul(x, i)",
    ],
)
def test_root_mean_square_in_other_words(nodes: str) -> None:
    check_fused(graph(nodes, shape=(2, 5, 8), opset=23), run, "RMSNormalization")
    check_untouched(graph(nodes, shape=(2, 5, 8), opset=22), run)  # the operator is younger
