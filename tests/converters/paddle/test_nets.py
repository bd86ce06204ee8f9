"""Nets with several inputs and outputs, integer inputs, names, fake quantization and control flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knight.errors import ModelError
from knight.runner import Session
from tests.converters.checks import assert_same
from tests.converters.paddle import nets
from tests.converters.paddle.nets import paddle

L = paddle.nn
PICTURE = ((None, 3, 8, 8), "float32")


class Tagger(L.Layer):  # type: ignore[misc, name-defined]
    """Words and a picture in, two results out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = L.Embedding(20, 8)
        self.lstm = L.LSTM(8, 6, direction="bidirect")
        self.norm = L.LayerNorm(12)
        self.picture = L.Linear(4, 12)

    def forward(self, words: Any, picture: Any) -> Any:
        state, _ = self.lstm(self.embedding(words))
        both = self.norm(state) + self.picture(picture).unsqueeze(1)
        return both, both.argmax(-1)


class Loop(L.Layer):  # type: ignore[misc, name-defined]
    """As many steps as the data says."""

    def forward(self, x: Any) -> Any:
        while x.sum() < 10.0:
            x = x + 1.0
        return x


class Block(L.Layer):  # type: ignore[misc, name-defined]
    """Layers of one kind, a weight used twice and an input handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = L.Conv2D(3, 3, 3, padding=1)
        self.norm = L.BatchNorm2D(3)
        self.act = L.PReLU(3)

    def forward(self, x: Any) -> Any:
        y = self.act(self.norm(self.first(x)))
        return self.first(y), y, x


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    model = nets.save(Tagger(), tmp_path / "net", ((None, 7), "int64"), ((None, 4), "float32"))
    conversion = nets.convert(model)
    assert_same(conversion)
    assert [value.name for value in conversion.model.graph.inputs] == ["x0", "x1"]
    session = Session(nets.convert(model, input_shapes=((2, 7), (2, 4))).model)
    assert [info.shape for info in session.inputs] == [(2, 7), (2, 4)]


def test_layers_are_named_after_their_parameters(tmp_path: Path) -> None:
    with paddle.utils.unique_name.guard():
        layer = Block()
    conversion = nets.convert(nets.save(layer, tmp_path / "net", PICTURE))
    assert_same(conversion)
    names = [node.name for node in conversion.model.graph if node.op_type != "Constant"]
    for name in ("conv2d_0", "conv2d_0/Add", "conv2d_0/Conv", "batch_norm2d_0", "p_re_lu_0"):
        assert name in names
    assert len(names) == len(set(names))
    values = [value.name for node in conversion.model.graph for value in node.outputs]
    assert len(values) == len(set(values))
    assert {"conv2d_0.w_0", "conv2d_0.b_0"} <= set(values) | set(conversion.model.graph.initializers)


def test_loop(tmp_path: Path) -> None:
    conversion = nets.convert(nets.save(Loop(), tmp_path / "net", ((2, 2), "float32")))
    assert_same(conversion)
    assert_same(conversion, {"x0": np.full((2, 2), 30, np.float32)})


def test_fake_quantization_is_named(tmp_path: Path) -> None:
    from paddle import quantization
    from paddle.quantization import quanters

    quanter = quanters.FakeQuanterWithAbsMaxObserver(moving_rate=0.9)
    training = quantization.QAT(quantization.QuantConfig(activation=quanter, weight=quanter))
    net = training.quantize(L.Sequential(L.Conv2D(3, 4, 3), L.ReLU()))
    with pytest.raises(ModelError, match=r"fake_quantize_\w+ \(\d times\) in QuantedConv2D/") as caught:
        nets.convert(nets.save(net, tmp_path / "net", PICTURE))
    assert "\n" not in str(caught.value)
