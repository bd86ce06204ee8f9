"""Models of quantization-aware training, and PT2E's operators, as QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import (
    FakeQuantize,
    FusedMovingAvgObsFakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)

from knight.converters.pytorch._exported import convert_exported
from knight.converters.pytorch._loaded import Loaded, ready
from knight.converters.pytorch._modules import convert_loaded
from knight.listener import SILENT
from knight.passes import PassOptions, tidy
from tests.converters.checks import assert_same
from tests.converters.pytorch.nets import check

importlib.import_module("torch.ao.quantization.fx._decomposed")  # registers PT2E's operators
decomposed = torch.ops.quantized_decomposed


def fake(kind: str) -> FakeQuantize:
    """A fake quantizer: of activations, of weights, or with a range that is not all of its integers."""
    if kind == "per channel":
        return FakeQuantize(
            MovingAveragePerChannelMinMaxObserver,
            quant_min=-128,
            quant_max=127,
            dtype=torch.qint8,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
        )
    low, high, dtype, scheme = {
        "uint8": (0, 255, torch.quint8, torch.per_tensor_affine),
        "int8": (-128, 127, torch.qint8, torch.per_tensor_symmetric),
        "seven bits": (0, 127, torch.quint8, torch.per_tensor_affine),
        "narrow": (-127, 127, torch.qint8, torch.per_tensor_symmetric),
    }[kind]
    make = FusedMovingAvgObsFakeQuantize if kind == "int8" else FakeQuantize
    return make(MovingAverageMinMaxObserver, quant_min=low, quant_max=high, dtype=dtype, qscheme=scheme)


class Aware(nn.Module):
    """A net as quantization-aware training leaves it."""

    def __init__(self, activations: str = "uint8", weights: str = "per channel") -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.at_input, self.at_conv = fake(activations), fake(activations)
        self.at_weight = fake(weights)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.at_input(x)
        x = nn.functional.conv2d(x, self.at_weight(self.conv.weight), self.conv.bias)
        x = self.at_conv(torch.relu(x))
        return self.head(x.mean((2, 3)))


def trained(**kinds: str) -> Aware:
    torch.manual_seed(0)
    net = Aware(**kinds)
    for _ in range(3):
        net(torch.randn(4, 3, 8, 8))
    return net


@pytest.mark.parametrize("activations", ["uint8", "int8", "seven bits", "narrow"])
@pytest.mark.parametrize("weights", ["per channel", "int8"])
def test_aware_training(activations: str, weights: str) -> None:
    net = ready(trained(activations=activations, weights=weights), SILENT)
    x = torch.randn(2, 3, 8, 8)
    loaded = Loaded(net, [x], input_names=["x"], dynamic_axes={"x": {0: "batch"}})
    conversion = convert_loaded(loaded, SILENT)
    assert_same(conversion, tolerance=0.02)  # a tie may round the other way
    counts = [node.op_type for node in conversion.model.graph]
    assert counts.count("QuantizeLinear") == counts.count("DequantizeLinear") == 3
    graph = conversion.model.graph
    scale = graph.initializers["at_input.scale_1"].const_value
    assert scale is not None and scale.numpy() == net.at_input.scale.numpy()[0]
    kept = [node.op_type for node in tidy(conversion.model, PassOptions()).graph]
    assert kept.count("QuantizeLinear") >= 2 and kept.count("DequantizeLinear") == 3


def test_numbers_are_exactly_those_of_torch() -> None:
    module = fake("uint8")
    module(torch.linspace(-1, 3, 50))
    x = torch.linspace(-2, 4, 601)[None]
    check(ready(module, SILENT), x, tolerance=1e-6)


def test_quantizers_that_are_off_are_not_there() -> None:
    net = trained()
    for module in net.modules():
        if isinstance(module, FakeQuantize):
            module.disable_fake_quant()
    model = convert_loaded(Loaded(ready(net, SILENT), [torch.randn(2, 3, 8, 8)]), SILENT).model
    assert "QuantizeLinear" not in [node.op_type for node in model.graph]


class Exported(nn.Module):
    """What PT2E leaves: weights stored as integers, activations quantized and back."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (4, 3, 3, 3), dtype=torch.int8))
        self.register_buffer("scales", torch.rand(4) / 100 + 0.001)
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> Any:
        x = decomposed.quantize_per_tensor(x, 0.02, 3, -128, 127, torch.int8)
        x = decomposed.dequantize_per_tensor(x, 0.02, 3, -128, 127, torch.int8)
        weight = decomposed.dequantize_per_channel(
            self.weight, self.scales, self.zeros, 0, -128, 127, torch.int8
        )
        x = torch.relu(nn.functional.conv2d(x, weight))
        x = decomposed.quantize_per_tensor(x, 0.03, 0, 0, 255, torch.uint8)
        return decomposed.dequantize_per_tensor(x, 0.03, 0, 0, 255, torch.uint8)


@pytest.mark.parametrize("exported", [False, True])
def test_pt2e(exported: bool) -> None:
    torch.manual_seed(0)
    net, x = Exported().eval(), torch.randn(2, 3, 8, 8)
    if exported:
        conversion = convert_exported(torch.export.export(net, (x,)), SILENT)
    else:
        conversion = convert_loaded(Loaded(net, [x]), SILENT)
    assert_same(conversion, tolerance=0.02)
    counts = [node.op_type for node in conversion.model.graph]
    assert counts.count("QuantizeLinear") == 2 and counts.count("DequantizeLinear") == 3
    stored = [v.const_value for v in conversion.model.graph.initializers.values()]
    assert any(w is not None and w.shape == (4, 3, 3, 3) and w.numpy().dtype == np.int8 for w in stored)
