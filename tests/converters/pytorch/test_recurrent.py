"""Recurrent layers in every arrangement, and cells in loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knight.errors import ModelError
from tests.converters.pytorch.nets import check

X = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(3))


def seeded(make: Any) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = make()
    return module.eval()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_layers(kind: str, layers: int, bidirectional: bool, batch_first: bool) -> None:
    def make() -> nn.Module:
        return getattr(nn, kind)(
            5, 4, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first
        )

    check(seeded(make), X, dynamic=batch_first)


class Started(nn.Module):
    """Begins with zeros that forward makes, or with states that it is given."""

    def __init__(self, kind: str, layers: int) -> None:
        super().__init__()
        self.kind = kind
        self.net = getattr(nn, kind)(5, 4, num_layers=layers, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Any:
        if h is None:
            h = torch.zeros(self.net.num_layers * 2, x.size(0), 4, device=x.device)
        else:
            h = h.transpose(0, 1).contiguous()
        if self.kind != "LSTM":
            return self.net(x, h)
        c = h * 0.5 if c is None else c.transpose(0, 1)
        y, (h, c) = self.net(x, (h, c))
        return y, h, c


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("layers", [1, 2])
def test_initial_states(kind: str, layers: int) -> None:
    net = seeded(lambda: Started(kind, layers))
    check(net, X)
    check(net, X, torch.randn(3, 2 * layers, 4))


class Decoder(nn.Module):
    """Cells in a Python loop, whose states go on."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(5, 4), nn.GRUCell(4, 3, bias=False)
        self.plain, self.relu = nn.RNNCell(3, 3), nn.RNNCell(3, 2, nonlinearity="relu")
        self.answer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        h, c = x.new_zeros(x.size(0), 4), x.new_zeros(x.size(0), 4)
        g, answers = None, []
        for step in range(x.shape[1]):
            h, c = self.lstm(x[:, step], (h, c))
            g = self.gru(h, g)
            answers.append(self.answer(self.relu(self.plain(g))))
        return torch.stack(answers, dim=1), (h, c)


def test_cells_in_a_loop() -> None:
    check(seeded(Decoder), X[:, :3])


class Last(nn.Module):
    """What classifiers of sequences take: the last output, or the last states of both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.GRU(5, 4, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        self.net.flatten_parameters()
        y, h = self.net(x)
        return y[:, -1], torch.cat([h[-2], h[-1]], dim=1), h.view(1, 2, -1, 4)[:, 0], y.mean(1)


def test_what_classifiers_take() -> None:
    check(seeded(Last), X)


def test_one_sequence_without_a_batch() -> None:
    check(seeded(lambda: nn.LSTM(5, 4, bidirectional=True)), X[0], dynamic=False)
    check(seeded(lambda: nn.GRU(5, 4, num_layers=2)), X[0], dynamic=False)


def test_a_layer_is_one_node() -> None:
    model = check(seeded(lambda: nn.LSTM(5, 4)), X, dynamic=False)
    (node,) = [node for node in model.graph if node.op_type == "LSTM"]
    assert node.attributes["hidden_size"].as_int() == 4


def test_projections_are_named() -> None:
    with pytest.raises(ModelError, match="proj_size"):
        check(seeded(lambda: nn.LSTM(5, 4, proj_size=3, batch_first=True)), X)
