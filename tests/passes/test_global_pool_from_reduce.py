"""Means and maxima over all spatial axes are global poolings."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes.global_pool_from_reduce import run
from tests.passes.equivalence import build, check_fused, check_untouched


@pytest.mark.parametrize(("op", "pool"), [("Mean", "Average"), ("Max", "Max")])
@pytest.mark.parametrize("axes", ["[2, 3]", "[-1, -2]"])
def test_attribute_axes(op: str, pool: str, axes: str) -> None:
    check_fused(build(f"y = Reduce{op}<axes = {axes}>(x)"), run, f"Global{pool}Pool")
    nodes = f"y = Reduce{op}<axes = {axes}, keepdims = 0>(x)"
    fused = check_fused(build(nodes), run, f"Global{pool}Pool Flatten")
    assert fused.graph.node(1).name == "node0"


def test_axes_as_an_input_and_an_open_batch() -> None:
    model = build(
        "y = ReduceMean<keepdims = 0>(x, a)",
        {"a": np.array([3, 2])},
        inputs={"x": ("n", 3, 4, 5)},
        opset=18,
    )
    check_fused(model, run, "GlobalAveragePool Flatten")


@pytest.mark.parametrize(
    ("axes", "shape"), [("[1, 2]", (2, 3, 4, 5)), ("[2]", (2, 3, 4, 5)), ("[2]", (2, 3, 4))]
)
def test_other_axes_stay(axes: str, shape: tuple[int, ...]) -> None:
    check_untouched(build(f"y = ReduceMean<axes = {axes}>(x)", inputs={"x": shape}), run)
