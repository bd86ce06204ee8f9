"""Gelu in the orders in which exporters write its factors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from knight.passes import PassOptions
from knight.passes.fuse_gelu import run
from tests.passes.equivalence import build, check_fused, check_untouched

NUMBERS = {
    "r2": math.sqrt(2),
    "r05": math.sqrt(0.5),
    "one": 1.0,
    "half": 0.5,
    "two": 2.0,
    "three": 3.0,
    "c": 0.044715,
    "k": math.sqrt(2 / math.pi),
    "kc": math.sqrt(2 / math.pi) * 0.044715,
}
X = {"x": (2, 5, 8)}
ERFS = ("u = Div(x, r2) f = Erf(u)", "u = Mul(x, r05) f = Erf(u)", "u = Mul(r05, x) f = Erf(u)")
ORDERS = (
    "s = Add(f, one) p = Mul(x, s) y = Mul(p, half)",
    "s = Add(one, f) h = Mul(half, x) y = Mul(h, s)",
    "s = Add(f, one) h = Mul(s, half) y = Mul(x, h)",
    "s = Add(f, one) p = Mul(x, s) y = Div(p, two)",
)
TANH = "q = Pow(x, three) t = Mul(c, q) a = Add(x, t) v = Mul(k, a) f = Tanh(v)"


def graph(nodes: str, **options: object):  # type: ignore[no-untyped-def]
    words = nodes.replace("(", " ").replace(")", " ").replace(",", " ").split()
    constants = {name: np.array(number, np.float32) for name, number in NUMBERS.items() if name in words}
    return build(nodes, constants, inputs=X, **{"opset": 20, **options})


@pytest.mark.parametrize("erf", ERFS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_erf_form(erf: str, order: str) -> None:
    check_fused(graph(f"{erf} {order}"), run, "Gelu")


@pytest.mark.parametrize("order", ORDERS)
def test_the_tanh_form(order: str) -> None:
    fused = check_fused(graph(f"{TANH} {order}"), run, "Gelu")
    (gelu,) = [node for node in fused.graph if node.op_type == "Gelu"]
    assert gelu.attributes.get_string("approximate") == "tanh"


def test_what_is_no_gelu_stays() -> None:
    form = f"{ERFS[0]} {ORDERS[0]}"
    check_untouched(graph(form.replace("Add(f, one)", "Add(f, half)")), run)
    check_untouched(graph(form, outputs=("y", "f")), run)
    check_untouched(graph(form, opset=17), run)  # the operator is younger
    check_untouched(graph(form), run, options=PassOptions())


TANHS = (
    "q = Mul(x, x) w = Mul(q, x) t = Mul(c, w) a = Add(x, t) v = Mul(a, k)",
    "q = Mul(x, x) t = Mul(q, c) p = Add(t, one) w = Mul(x, k) v = Mul(w, p)",
    "q = Mul(x, c) t = Mul(x, q) p = Add(one, t) w = Mul(x, k) v = Mul(w, p)",
    "q = Mul(x, x) t = Mul(q, c) p = Add(t, one) w = Mul(k, p) v = Mul(x, w)",
    "q = Pow(x, two) t = Mul(q, kc) p = Add(t, k) v = Mul(x, p)",
)


@pytest.mark.parametrize("tanh", TANHS)
@pytest.mark.parametrize("order", ["h = Mul(f, half) s = Add(h, half) y = Mul(s, x)", ORDERS[1]])
def test_the_tanh_form_in_other_words(tanh: str, order: str) -> None:
    nodes = f"{tanh} f = Tanh(v) {order}"
    check_fused(graph(nodes), run, "Gelu")
    check_untouched(graph(nodes.replace("Tanh", "Sigmoid")), run)


def test_half_precision_constants_are_near_enough() -> None:
    nodes = f"{TANH} {ORDERS[0]}"
    words = nodes.replace("(", " ").replace(")", " ").replace(",", " ").split()
    halves = {name: np.array(number, np.float16) for name, number in NUMBERS.items() if name in words}
    model = build(nodes, halves, inputs=X, opset=20, dtype="float16")
    check_fused(model, run, "Gelu", rtol=2e-2, atol=1e-2)
