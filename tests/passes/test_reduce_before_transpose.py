"""Reductions skip a Transpose that only turned the axes which they drop."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes.reduce_before_transpose import run
from tests.passes.equivalence import build, check_fused, check_untouched

NHWC = "t = Transpose<perm = [0, 2, 3, 1]>(x) "


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceL2"])
@pytest.mark.parametrize("axes", ["[1, 2]", "[-2, -3]", "[1]", "[3]", "[0, 1, 2, 3]"])
def test_dropped_axes(op: str, axes: str) -> None:
    kept_in_order = axes != "[1]"
    model = build(f"{NHWC} y = {op}<axes = {axes}, keepdims = 0>(t)")
    if kept_in_order:
        check_fused(model, run, op)
    else:
        check_untouched(model, run)


def test_axes_as_an_input_and_other_readers() -> None:
    model = build(
        f"{NHWC} y = ReduceSum<keepdims = 0>(t, a)", {"a": np.array([1, 2])}, inputs={"x": ("n", 3, 4, 5)}
    )
    check_fused(model, run, "ReduceSum")
    shared = build(f"{NHWC} y = ReduceMean<axes = [1, 2], keepdims = 0>(t) z = Relu(t)", outputs=("y", "z"))
    check_fused(shared, run, "Transpose ReduceMean Relu")


def test_kept_axes_stay() -> None:
    check_untouched(build(f"{NHWC} y = ReduceMean<axes = [1, 2], keepdims = 1>(t)"), run)
