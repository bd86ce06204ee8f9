"""Recurrent layers: torch's gates in the order of ONNX's, layer after layer.

torch orders the gates of LSTM as input, forget, cell, output, ONNX as input, output, forget, cell; of GRU
torch as reset, update, new, ONNX as update, reset, hidden (``linear_before_reset``, as torch computes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

GATES = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}


@translates("module torch.nn.LSTM", "module torch.nn.GRU", "module torch.nn.RNN")
def recurrent(t: Translator, module: Any, input: ir.Value, hx: Any = None) -> Any:
    kind = "RNN" if module.mode.startswith("RNN") else module.mode
    if getattr(module, "proj_size", 0):
        raise ModelError(
            "LSTM with proj_size has no ONNX operator; write the projection as a Linear after it"
        )
    given = list(hx) if isinstance(hx, (tuple, list)) else [] if hx is None else [hx]
    single, batch = rank(input) == 2, t.constant(np.array([1]))
    if single:  # one sequence, without a batch
        input, given = t.op("Unsqueeze", input, batch), [t.op("Unsqueeze", state, batch) for state in given]
    batch_first = module.batch_first and not single
    x = t.op("Transpose", input, perm=[1, 0, 2]) if batch_first else input
    directions = 2 if module.bidirectional else 1
    states = [_per_layer(t, state, module.num_layers, directions) for state in given]
    lasts: list[list[ir.Value]] = []
    for layer in range(module.num_layers):
        x, *ends = _layer(t, module, kind, layer, x, [state[layer] for state in states])
        lasts.append(ends)
    output = t.op("Transpose", x, perm=[1, 0, 2]) if batch_first else x
    ends = [
        parts[0] if len(parts) == 1 else t.op("Concat", *parts, axis=0) for parts in zip(*lasts, strict=True)
    ]
    if single:
        output, *ends = [t.op("Squeeze", part, batch) for part in (output, *ends)]
    return output, (tuple(ends) if kind == "LSTM" else ends[0])


def _per_layer(t: Translator, state: ir.Value, layers: int, directions: int) -> list[ir.Value]:
    return [state] if layers == 1 else t.ops("Split", state, outputs=layers, axis=0, num_outputs=layers)


def _layer(
    t: Translator, module: Any, kind: str, layer: int, x: ir.Value, states: list[ir.Value]
) -> tuple[ir.Value, ...]:
    suffixes = [f"l{layer}", f"l{layer}_reverse"] if module.bidirectional else [f"l{layer}"]

    def stacked(which: str) -> np.ndarray:
        return np.stack([_gates(getattr(module, f"{which}_{suffix}"), kind) for suffix in suffixes])

    w, r = t.constant(stacked("weight_ih")), t.constant(stacked("weight_hh"))
    bias = None
    if module.bias:
        bias = t.constant(np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1))
    attributes: dict[str, Any] = {"hidden_size": module.hidden_size}
    if module.bidirectional:
        attributes["direction"] = "bidirectional"
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    if module.mode == "RNN_RELU":
        attributes["activations"] = ["Relu"] * len(suffixes)
    count = 3 if kind == "LSTM" else 2
    y, *ends = t.ops(kind, x, w, r, bias, None, *states, outputs=count, **attributes)
    joined = t.op("Transpose", y, perm=[0, 2, 1, 3])  # [time, batch, direction, hidden]
    return (t.op("Reshape", joined, t.constant(np.array([0, 0, -1]))), *ends)


def _gates(parameter: Any, kind: str) -> np.ndarray:
    array = parameter.detach().cpu().numpy()
    blocks = np.split(array, len(GATES[kind]))
    return np.concatenate([blocks[gate] for gate in GATES[kind]])


def _linear(t: Translator, x: ir.Value, weight: ir.Value, bias: ir.Value | None) -> ir.Value:
    return t.op("Gemm", x, weight, bias, transB=1)


@translates("torch.lstm_cell", "torch._C._VariableFunctions.lstm_cell")
def lstm_cell(
    t: Translator,
    x: ir.Value,
    hx: Any,
    w_ih: ir.Value,
    w_hh: ir.Value,
    b_ih: ir.Value | None = None,
    b_hh: ir.Value | None = None,
) -> tuple[ir.Value, ir.Value]:
    state, cell = hx
    gates = t.op("Add", _linear(t, x, w_ih, b_ih), _linear(t, state, w_hh, b_hh))
    i, f, g, o = t.ops("Split", gates, outputs=4, axis=1, num_outputs=4)
    kept = t.op("Mul", t.op("Sigmoid", f), cell)
    new = t.op("Add", kept, t.op("Mul", t.op("Sigmoid", i), t.op("Tanh", g)))
    return t.op("Mul", t.op("Sigmoid", o), t.op("Tanh", new)), new


@translates("torch.gru_cell", "torch._C._VariableFunctions.gru_cell")
def gru_cell(
    t: Translator,
    x: ir.Value,
    hx: ir.Value,
    w_ih: ir.Value,
    w_hh: ir.Value,
    b_ih: ir.Value | None = None,
    b_hh: ir.Value | None = None,
) -> ir.Value:
    inner = t.ops("Split", _linear(t, x, w_ih, b_ih), outputs=3, axis=1, num_outputs=3)
    outer = t.ops("Split", _linear(t, hx, w_hh, b_hh), outputs=3, axis=1, num_outputs=3)
    reset = t.op("Sigmoid", t.op("Add", inner[0], outer[0]))
    update = t.op("Sigmoid", t.op("Add", inner[1], outer[1]))
    new = t.op("Tanh", t.op("Add", inner[2], t.op("Mul", reset, outer[2])))
    return t.op("Add", new, t.op("Mul", update, t.op("Sub", hx, new)))


def _plain_cell(activation: str) -> Any:
    def handler(
        t: Translator,
        x: ir.Value,
        hx: ir.Value,
        w_ih: ir.Value,
        w_hh: ir.Value,
        b_ih: ir.Value | None = None,
        b_hh: ir.Value | None = None,
    ) -> ir.Value:
        return t.op(activation, t.op("Add", _linear(t, x, w_ih, b_ih), _linear(t, hx, w_hh, b_hh)))

    return handler


translates("torch.rnn_tanh_cell")(_plain_cell("Tanh"))
translates("torch.rnn_relu_cell")(_plain_cell("Relu"))
