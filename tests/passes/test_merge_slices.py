"""Slices along different axes are one Slice."""

from __future__ import annotations

import numpy as np

from knight.passes.merge_slices import run
from tests.passes.equivalence import build, check_fused, check_untouched


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_rows_then_columns() -> None:
    model = build(
        "a = Slice(x, s, e, r, t) y = Slice(a, s, e, c, t)",
        {"s": ints(0), "e": ints(2**62), "r": ints(2), "c": ints(-1), "t": ints(2)},
    )
    fused = check_fused(model, run, "Slice")
    assert fused.graph.node(0).name == "node1"


def test_three_in_a_row_backwards_and_without_axes() -> None:
    model = build(
        "a = Slice(x, s0, e0) b = Slice(a, s1, e1, r, t) y = Slice(b, s0, e2, c)",
        {
            "s0": ints(0),
            "e0": ints(1),
            "s1": ints(-1),
            "e1": ints(-(2**62)),
            "r": ints(2),
            "t": ints(-2),
            "e2": ints(5),
            "c": ints(3),
        },
    )
    check_fused(model, run, "Slice")


def test_the_same_axis_stays() -> None:
    constants = {"s": ints(1), "e": ints(5), "r": ints(2), "c": ints(-2)}
    check_untouched(build("a = Slice(x, s, e, r) y = Slice(a, s, e, c)", constants), run)


def test_what_is_read_between_stays() -> None:
    constants = {"s": ints(1), "e": ints(5), "r": ints(2), "c": ints(3)}
    model = build("a = Slice(x, s, e, r) y = Slice(a, s, e, c)", constants, outputs=("y", "a"))
    check_untouched(model, run)


def test_computed_bounds_stay() -> None:
    constants = {"s": ints(1), "r": ints(2), "c": ints(3)}
    nodes = "h = Shape<start = 2, end = 3>(x) a = Slice(x, s, h, r) y = Slice(a, s, h, c)"
    check_untouched(build(nodes, constants), run)
