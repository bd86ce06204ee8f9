"""Joining all dimensions but the first is a Flatten, however it is written."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes.flatten_from_reshape import run
from tests.passes.equivalence import build, check_fused, check_untouched


@pytest.mark.parametrize("target", [[0, -1], [2, -1], [-1, 324], [2, 324]])
def test_fixed_batch(target: list[int]) -> None:
    fused = check_fused(build("y = Reshape(x, t)", {"t": np.array(target)}), run, "Flatten")
    assert fused.graph.node(0).name == "node0"


@pytest.mark.parametrize("target", [[0, -1], [0, 24]])
def test_open_batch(target: list[int]) -> None:
    check_fused(
        build("y = Reshape(x, t)", {"t": np.array(target)}, inputs={"x": ("n", 4, 3, 2)}), run, "Flatten"
    )


def test_squeeze() -> None:
    model = build("y = Squeeze(x, a)", {"a": np.array([2, 3])}, inputs={"x": (2, 4, 1, 1)})
    check_fused(model, run, "Flatten")


@pytest.mark.parametrize(
    ("nodes", "target", "shape"),
    [
        ("y = Reshape(x, t)", [4, -1], (2, 4, 3, 3)),
        ("y = Reshape(x, t)", [0, 0, -1], (2, 4, 3, 3)),
        ("y = Reshape(x, t)", [2, -1], (2, 6)),
        ("y = Squeeze(x, t)", [0, 2], (1, 4, 1, 3)),
        ("y = Reshape(x, t)", [0, -1], ("n", "c", 3)),
    ],
)
def test_what_joins_other_dimensions_stays(nodes: str, target: list[int], shape: tuple[int, ...]) -> None:
    check_untouched(build(nodes, {"t": np.array(target)}, inputs={"x": shape}), run)
