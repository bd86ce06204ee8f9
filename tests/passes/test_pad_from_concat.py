"""Zeros around a tensor are a Pad."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes.pad_from_concat import run
from tests.passes.equivalence import build, check_fused, check_untouched, random

ZEROS = {"z": np.zeros((2, 3, 9, 9), np.float32), "o": np.zeros((2, 1, 9, 9), np.float32)}


@pytest.mark.parametrize("order", ["z, x, o", "x, z", "z, o, x"])
def test_zeros_on_any_side(order: str) -> None:
    used = {name: array for name, array in ZEROS.items() if name in order}
    fused = check_fused(build(f"y = Concat<axis = -3>({order})", used), run, "Pad")
    assert fused.graph.node(0).name == "node0"


def test_zeros_of_the_size_of_the_batch() -> None:
    model = build(
        "n = Shape<end = 1>(x) s = Concat<axis = 0>(n, t) z = Expand(c, s) y = Concat<axis = 1>(z, x)",
        {"t": np.array([3, 5, 5]), "c": np.zeros((1, 3, 5, 5), np.float32)},
        inputs={"x": ("n", 4, 5, 5)},
    )
    changed = model.clone()
    assert run(changed, None) == 1  # type: ignore[arg-type]
    assert "Pad" in [node.op_type for node in changed.graph]


def test_what_is_not_zero_stays() -> None:
    check_untouched(build("y = Concat<axis = 1>(x, c)", {"c": random(2, 3, 9, 9)}), run)
    check_untouched(build("y = Concat<axis = 1>(x, x, z)", {"z": ZEROS["z"]}), run)
