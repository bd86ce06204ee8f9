"""A Pad of volumes of depth one is a Pad of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from knight.passes.pad_without_unsqueeze import run
from tests.passes.equivalence import build, check_fused, check_untouched

CHAIN = "u = Unsqueeze(x, a) p = Pad{}(u, n{}) y = Squeeze(p, b)"


@pytest.mark.parametrize(("mode", "value"), [("", ", v"), ("", ""), ('<mode = "reflect">', "")])
def test_depth_one(mode: str, value: str) -> None:
    constants = {"a": np.array([2]), "b": np.array([-3]), "n": np.array([0, 0, 0, 1, 2, 0, 0, 0, 3, 0])}
    if value:
        constants["v"] = np.float32(1.5)
    fused = check_fused(build(CHAIN.format(mode, value), constants), run, "Pad")
    assert fused.graph.node(0).name == "node1"


def test_other_axes_stay() -> None:
    other = {"a": np.array([0]), "b": np.array([2]), "n": np.array([0] * 10)}
    check_untouched(build(CHAIN.format("", ""), other, inputs={"x": (4, 1, 3, 3)}), run)


def test_what_is_read_between_stays() -> None:
    constants = {"a": np.array([2]), "b": np.array([2]), "n": np.array([0] * 8 + [1, 1])}
    check_untouched(build(CHAIN.format("", ""), constants, outputs=("y", "p")), run)
