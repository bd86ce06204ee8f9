"""LSTM and RNN against their equations; sequences that begin in the middle of a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knight.errors import ModelError
from tests.converters.caffe.nets import assert_matches, convert_net, image, layer, numbers

T, N, F, H = 4, 3, 5, 6
CONT = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]], np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_steps(
    x: np.ndarray, blobs: list[np.ndarray], h: np.ndarray, c: np.ndarray, static: np.ndarray
) -> list[np.ndarray]:
    """All outputs, the last output, the last state."""
    w, bias, recurrent = blobs[0], blobs[1], blobs[-1]
    outputs = []
    for t in range(T):
        cont = CONT[t][:, None]
        gates = x[t].reshape(N, -1) @ w.T + bias + (cont * h) @ recurrent.T + static
        i, f, o, g = np.split(gates, 4, axis=1)
        c = cont * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return [np.stack(outputs), h[None], c[None]]


def inputs(*more: str) -> str:
    return image(T, N, F) + image(T, N, name="cont") + "".join(more)


def test_lstm(tmp_path: Path) -> None:
    blobs = [numbers(4 * H, F), numbers(4 * H, seed=1), numbers(4 * H, H, seed=2) / 2]
    net = inputs() + layer("LSTM", f"recurrent_param {{ num_output: {H} }}", bottom="data cont")
    x, zero = numbers(T, N, F), np.zeros((N, H), np.float32)
    wanted = lstm_steps(x, blobs, zero, zero, np.zeros(1))[:1]
    assert_matches(convert_net(net, {"out": blobs}, tmp_path), {"data": x, "cont": CONT}, wanted)


def test_lstm_with_all_that_it_may_have(tmp_path: Path) -> None:
    static_weight = numbers(4 * H, 2, seed=4)
    blobs = [numbers(4 * H, F), numbers(4 * H, seed=1), static_weight, numbers(4 * H, H, seed=2) / 2]
    more = image(N, 2, name="static") + image(1, N, H, name="h0") + image(1, N, H, name="c0")
    text = f"recurrent_param {{ num_output: {H} expose_hidden: true }}"
    net = inputs(more) + layer("LSTM", text, bottom="data cont static h0 c0", top="out hT cT")
    x, static, h, c = (
        numbers(T, N, F),
        numbers(N, 2, seed=5),
        numbers(1, N, H, seed=6),
        numbers(1, N, H, seed=7),
    )
    cont = CONT.copy()
    wanted = lstm_steps(x, blobs, h[0], c[0], static @ static_weight.T)
    feeds = {"data": x, "cont": cont, "static": static, "h0": h, "c0": c}
    assert_matches(convert_net(net, {"out": blobs}, tmp_path), feeds, wanted)


def test_rnn(tmp_path: Path) -> None:
    blobs = [
        numbers(H, F),
        numbers(H, seed=1),
        numbers(H, H, seed=2) / 2,
        numbers(H, H, seed=3),
        numbers(H, seed=4),
    ]
    net = inputs() + layer("RNN", f"recurrent_param {{ num_output: {H} }}", bottom="data cont")
    x, h, outputs = numbers(T, N, F), np.zeros((N, H), np.float32), []
    for t in range(T):
        h = np.tanh(x[t] @ blobs[0].T + blobs[1] + (CONT[t][:, None] * h) @ blobs[2].T)
        outputs.append(np.tanh(h @ blobs[3].T + blobs[4]))
    assert_matches(convert_net(net, {"out": blobs}, tmp_path), {"data": x, "cont": CONT}, [np.stack(outputs)])


def test_what_does_not_fit(tmp_path: Path) -> None:
    text = f"recurrent_param {{ num_output: {H} }}"
    with pytest.raises(ModelError, match=r"layer 'out' \(LSTM\): has 1 bottoms, wants the input, cont"):
        convert_net(image(T, N, F) + layer("LSTM", text), {}, tmp_path)
    with pytest.raises(ModelError, match=r"weight 0 has shape \(3, 5\), the prototxt wants \(24, 5\)"):
        net = inputs() + layer("LSTM", text, bottom="data cont")
        convert_net(net, {"out": [numbers(3, F)]}, tmp_path)
