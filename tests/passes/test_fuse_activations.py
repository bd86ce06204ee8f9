"""Activation functions in many spellings, each with one canonical form."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes import PassOptions
from knight.passes.fuse_activations import run
from tests.passes.equivalence import build, check_fused, check_untouched

NUMBERS = {
    "zero": 0.0,
    "one": 1.0,
    "minus": -1.0,
    "three": 3.0,
    "six": 6.0,
    "sixth": 1 / 6,
    "half": 0.5,
    "slope": 0.1,
    "steep": 1.7,
    "huge": float(np.finfo(np.float32).max),
}


def graph(nodes: str, **options: object):  # type: ignore[no-untyped-def]
    words = nodes.replace("(", " ").replace(")", " ").replace(",", " ").split()
    constants = {name: np.array(number, np.float32) for name, number in NUMBERS.items() if name in words}
    return build(nodes, constants, **{"opset": 18, **options})


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Max(x, zero)", "Relu"),
        ("y = Clip(x, zero)", "Relu"),
        ("y = Clip(x, zero, huge)", "Relu"),
        ("a = Max(x, minus) y = Min(a, three)", "Clip"),
        ("a = Relu(x) y = Clip(a, minus, six)", "Clip"),
        ("a = Relu(x) y = Relu(a)", "Relu"),
        ("a = Mul(x, slope) y = Max(x, a)", "LeakyRelu"),
        ("n = Neg(x) e = Exp(n) s = Add(e, one) y = Div(one, s)", "Sigmoid"),
        ("n = Neg(x) e = Exp(n) s = Add(one, e) y = Reciprocal(s)", "Sigmoid"),
        ("n = Neg(x) e = Exp(n) s = Add(e, one) y = Div(x, s)", "Sigmoid Mul"),
        ("a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)", "HardSigmoid"),
        ("a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)", "HardSwish"),
        ("a = Add(x, three) c = Clip(a, zero, six) d = Mul(c, sixth) y = Mul(d, x)", "HardSwish"),
        ("h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, h)", "HardSwish"),
        ("s = Softplus(x) t = Tanh(s) y = Mul(x, t)", "Mish"),
        ("e = Exp(x) a = Add(e, one) s = Log(a) t = Tanh(s) y = Mul(t, x)", "Mish"),
    ],
)
def test_canonical_form(nodes: str, expected: str) -> None:
    check_fused(graph(nodes), run, expected)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Relu(x)",
        "y = Clip(x, zero, six)",
        "y = Max(x, z)",
        "a = Mul(x, steep) y = Max(x, a)",  # steeper than 1: not a LeakyRelu
        "h = HardSigmoid(x) y = Mul(x, h)",  # another slope
        "a = Add(x, three) c = Clip(a, zero, three) y = Div(c, six)",
    ],
)
def test_what_is_canonical_or_something_else_stays(nodes: str) -> None:
    inputs = {"x": (2, 3), "z": (2, 3)} if "z)" in nodes else {"x": (2, 3)}
    check_untouched(graph(nodes, inputs=inputs), run)


def test_a_chain_that_is_read_in_the_middle_is_not_merged() -> None:
    check_untouched(graph("a = Relu(x) y = Clip(a, minus, six) z = Neg(a)", outputs=("y", "z")), run)


def test_only_what_the_target_has_is_recognised() -> None:
    nodes = "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)"
    check_untouched(graph(nodes), run, options=PassOptions())


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("a = Add(three, x) c = Clip(a, zero, six) d = Div(x, six) y = Mul(d, c)", "HardSwish"),
        ("a = Add(x, three) r = Relu(a) c = Min(r, six) d = Mul(x, c) y = Mul(d, sixth)", "HardSwish"),
        ("a = Add(x, three) r = Max(a, zero) c = Min(r, six) d = Mul(x, c) y = Div(d, six)", "HardSwish"),
        ("a = Div(x, six) r = Add(half, a) h = Clip(r, zero, one) y = Mul(h, x)", "HardSwish"),
        ("a = Mul(x, sixth) r = Add(a, half) y = Clip(r, zero, one)", "HardSigmoid"),
        ("a = Min(x, six) b = Max(a, zero) c = Relu(b) y = Clip(c, minus, three)", "Clip"),
        ("a = Clip(x, , six) y = Relu(a)", "Clip"),
        ("y = Min(x, six)", "Clip"),
        ("a = Clip(x, minus, one) b = Clip(a, three, six) y = Neg(b)", "Clip Neg"),  # ranges that do not meet
    ],
)
@pytest.mark.parametrize("dtype", ["float", "float16", "double"])
def test_chains_and_orders_in_every_type(nodes: str, expected: str, dtype: str) -> None:
    words = nodes.replace("(", " ").replace(")", " ").replace(",", " ").split()
    kind = {"float": np.float32, "float16": np.float16, "double": np.float64}[dtype]
    constants = {name: np.array(number, kind) for name, number in NUMBERS.items() if name in words}
    model = build(nodes, constants, opset=18, dtype=dtype)
    check_fused(
        model, run, expected, rtol=1e-2 if dtype == "float16" else 1e-4, atol=1e-2 if "16" in dtype else 1e-5
    )


def test_limits_of_several_elements_stay() -> None:
    check_untouched(build("y = Max(x, low)", {"low": np.zeros(9, np.float32)}), run)


def test_a_limit_that_adds_an_axis_stays() -> None:
    limit = {"limit": np.ones(1, np.float32)}
    check_untouched(build("r = ReduceMax<keepdims = 0>(x) y = Min(r, limit)", limit), run)
    check_fused(build("r = Neg(x) y = Min(r, limit)", limit), run, "Neg Clip")


def test_two_readers_of_a_relu_keep_it() -> None:
    check_untouched(
        graph("r = Relu(x) z = Clip(r, zero, six) y = Clip(r, zero, three)", outputs=("y", "z")), run
    )


def test_a_hard_swish_that_is_read_inside_stays() -> None:
    nodes = "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six) z = Neg(c)"
    check_untouched(graph(nodes, outputs=("y", "z")), run)
