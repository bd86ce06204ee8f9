"""Which channel of an input comes where, and what normalizes it, read off the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from knight.input_ways import Stays, way_from
from tests.passes.equivalence import build, random

MEAN, STD = np.array([3.0, 5, 7, 11]), np.array([2.0, 4, 8, 16])
CONSTANTS: Mapping[str, np.ndarray] = {
    "m": MEAN.astype(np.float32)[:, None, None],
    "s": STD.astype(np.float32)[:, None, None],
    "t": np.float32(4),
    "w": random(4, 4, 3, 3),
    "v": random(4, 2, 3, 3),
    "u": random(5, 36),
    "turned": np.array([3, 2, 1, 0]),
    "halves": np.array([2, 2]),
    "edges": np.array([0, 0, 0, 1, 0, 0, 0, 0]),
}


def net(nodes: str) -> ir.Model:
    used = {name: array for name, array in CONSTANTS.items() if f"{name})" in nodes or f"{name}," in nodes}
    return build(nodes, used, inputs={"x": (1, 4, 3, 3)})


def source(model: ir.Model) -> ir.Value:
    return model.graph.inputs[0]


@pytest.mark.parametrize(
    ("nodes", "mean", "scale"),
    [
        ("c = Sub(x, m) n = Div(c, s) y = Conv(n, w)", MEAN, 1 / STD),
        ("c = Mul(s, x) n = Add(c, m) y = Conv(n, w)", -MEAN / STD, STD),
        ("c = Sub(m, x) y = Conv(c, w)", MEAN, -np.ones(4)),
        ("c = Div(x, t) n = Sub(c, t) y = Conv(n, w)", [16], [0.25]),
        ("y = Conv(x, w)", [0], [1]),
    ],
)
def test_scale_and_mean_of_what_stands_before(nodes: str, mean: np.ndarray, scale: np.ndarray) -> None:
    model = net(nodes)
    way = way_from(model, source(model))
    np.testing.assert_allclose(way.mean.reshape(-1), mean)
    np.testing.assert_allclose(way.scale.reshape(-1), scale)
    assert way.mean.shape == way.scale.shape and way.mean.ndim == 4


@pytest.mark.parametrize(
    ("nodes", "channels", "padded"),
    [
        ("c = Sub(x, m) y = Conv(c, w)", [[0, 1, 2, 3]], False),
        ("c = Sub(x, m) y = Conv<pads = [0, 1, 0, 0]>(c, w)", [[0, 1, 2, 3]], True),
        ("c = Sub(x, m) y = Conv<auto_pad = 'SAME_UPPER'>(c, w)".replace("'", '"'), [[0, 1, 2, 3]], True),
        ("c = Sub(x, m) g = Gather<axis = 1>(c, turned) y = Conv(g, w)", [[3, 2, 1, 0]], False),
        ("c = Sub(x, m) p = Pad(c, edges) y = Conv(p, w)", [[0, 1, 2, 3]], True),
        (
            "c = Sub(x, m) a, b = Split<axis = 1>(c, halves) d = Conv(b, v) e = Conv(a, v) y = Add(d, e)",
            [[2, 3], [0, 1]],
            False,
        ),
        (
            "c = Sub(x, m) f = Flatten(c) y = Gemm<transB = 1>(f, u)",
            [np.repeat(np.arange(4), 9).tolist()],
            False,
        ),
    ],
)
def test_the_channel_of_every_feature(nodes: str, channels: list[list[int]], padded: bool) -> None:
    model = net(nodes)
    way = way_from(model, source(model))
    assert [found.tolist() for found in way.readers.values()] == channels
    assert way.padded is padded


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("c = Sub(x, m) y = Sin(c)", "Sin 'node1' reads it as well"),
        ("c = Sub(x, m) y = Identity(c)", "'y' is an output of the model"),
        ("c = Sub(m, x) p = MaxPool<kernel_shape = [1, 1]>(c) y = Conv(p, w)", "turns the order"),
    ],
)
def test_why_there_is_none(nodes: str, said: str) -> None:
    model = net(nodes)
    with pytest.raises(Stays, match=said):
        way_from(model, source(model))
