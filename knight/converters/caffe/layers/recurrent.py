"""Caffe's LSTM and RNN over a fixed number of steps.

``cont`` is zero where a sequence begins: state and output of the step before count nothing there. It may
begin anywhere, which ONNX's recurrent operators cannot say, so the steps are written one after the other.
Where `cont` is known to be one from the second step on, an LSTM is the operator. Gates: i, f, o, g.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.converters._builder import Builder, fixed_shape
from knight.converters.caffe._layers import Layer
from knight.converters.caffe.layers import layer

_MOST_STEPS = 5000  # each has nodes of its own


@dataclass(frozen=True)
class _Sequence:
    """The bottoms by meaning; `x` is [time, batch, features]."""

    x: ir.Value
    cont: ir.Value
    static: ir.Value | None
    states: Sequence[ir.Value]
    steps: int
    batch: int
    features: int


def _sequence(b: Builder, layer: Layer, inputs: list[ir.Value], states: int) -> _Sequence:
    exposed = states if layer.param.expose_hidden else 0
    if not 2 + exposed <= len(inputs) <= 3 + exposed:
        raise layer.error(f"has {len(inputs)} bottoms, wants the input, cont and {exposed} states")
    if len(layer.tops) != 1 + exposed:
        raise layer.error(f"has {len(layer.tops)} tops, wants the output and {exposed} states")
    x, cont, *rest = inputs
    shape = fixed_shape(x)
    layer.check_count(shape[0] if shape else 0, _MOST_STEPS, "steps")
    if len(shape) < 3 or fixed_shape(cont) != shape[:2]:
        raise layer.error(
            f"wants an input [time, batch, ...] and cont [time, batch], has {shape} and {fixed_shape(cont)}"
        )
    static = rest.pop(0) if len(inputs) == 3 + exposed else None
    features = int(np.prod(shape[2:]))
    if len(shape) > 3:
        x = b.op("Reshape", x, b.constant(np.array([shape[0], shape[1], features])))
    return _Sequence(x, cont, static, rest, shape[0], shape[1], features)


def _begins_once(cont: ir.Value) -> bool:
    """`cont` is a constant that is one from the second step on."""
    known = models.constant(cont)
    return known is not None and bool(np.all(known[1:] == 1))


@layer("LSTM", bottoms=(1, math.inf))
def lstm(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """c = cont * f * c + i * g; h = o * tanh(c)."""
    size, given = layer.param.num_output, _sequence(b, layer, inputs, 2)
    w_x = layer.check_blob(0, (4 * size, given.features))
    bias = layer.check_blob(1, (4 * size,))
    place = 2 if given.static is None else 3
    w_h = layer.check_blob(place, (4 * size, size))
    if given.static is None and not given.states and _begins_once(given.cont):
        return [_operator(b, layer, given, w_x, w_h, bias)]
    gates = _projected(b, layer, given, w_x, bias, "W_xc")
    recurrent = b.constant(w_h.T, f"{layer.name}.W_hc")
    zero = b.constant(np.zeros((given.batch, size), np.float32))
    hidden, cell = [_state(b, value, given.batch, size) for value in given.states] or [zero, zero]
    outputs = []
    for x, cont in zip(_steps(b, gates, given), _steps(b, given.cont, given, last=True), strict=True):
        total = b.op("Add", x, b.op("MatMul", b.op("Mul", hidden, cont), recurrent))
        i, f, o, g = b.ops("Split", total, outputs=4, axis=1, num_outputs=4)
        kept = b.op("Mul", b.op("Mul", b.op("Sigmoid", f), cont), cell)
        cell = b.op("Add", kept, b.op("Mul", b.op("Sigmoid", i), b.op("Tanh", g)))
        hidden = b.op("Mul", b.op("Sigmoid", o), b.op("Tanh", cell))
        outputs.append(hidden)
    return [
        _joined(b, outputs),
        *(_leading(b, state) for state in (hidden, cell) if layer.param.expose_hidden),
    ]


def _operator(
    b: Builder, layer: Layer, given: _Sequence, w_x: np.ndarray, w_h: np.ndarray, bias: np.ndarray
) -> ir.Value:
    order = [0, 2, 1, 3]  # ONNX: i, o, f, c

    def sorted_gates(array: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(array, 4)[gate] for gate in order])

    biases = np.concatenate([sorted_gates(bias), np.zeros_like(bias)])
    weights = [
        b.constant(array[None], f"{layer.name}.{name}")
        for array, name in ((sorted_gates(w_x), "W_xc"), (sorted_gates(w_h), "W_hc"), (biases, "b_c"))
    ]
    (y,) = b.ops("LSTM", given.x, *weights, outputs=1, hidden_size=layer.param.num_output)
    return b.op("Squeeze", y, b.constant(np.array([1])))


@layer("RNN", bottoms=(1, math.inf))
def rnn(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """h = tanh(W_hh cont h + W_xh x + b); o = tanh(W_ho h + b_o)."""
    size, given = layer.param.num_output, _sequence(b, layer, inputs, 1)
    w_x, bias = layer.check_blob(0, (size, given.features)), layer.check_blob(1, (size,))
    place = 2 if given.static is None else 3
    recurrent = b.constant(layer.check_blob(place, (size, size)).T, f"{layer.name}.W_hh")
    w_o = b.constant(layer.check_blob(place + 1, (size, size)), f"{layer.name}.W_ho")
    b_o = b.constant(layer.check_blob(place + 2, (size,)), f"{layer.name}.b_o")
    driven = _projected(b, layer, given, w_x, bias, "W_xh")
    zero = b.constant(np.zeros((given.batch, size), np.float32))
    hidden = _state(b, given.states[0], given.batch, size) if given.states else zero
    outputs = []
    for x, cont in zip(_steps(b, driven, given), _steps(b, given.cont, given, last=True), strict=True):
        hidden = b.op("Tanh", b.op("Add", x, b.op("MatMul", b.op("Mul", hidden, cont), recurrent)))
        outputs.append(b.op("Tanh", b.op("Gemm", hidden, w_o, b_o, transB=1)))
    return [_joined(b, outputs), *([_leading(b, hidden)] if layer.param.expose_hidden else [])]


def _projected(
    b: Builder, layer: Layer, given: _Sequence, weight: np.ndarray, bias: np.ndarray, name: str
) -> ir.Value:
    """What the inputs of all steps, and the static one, add to the gates: [time, batch, gates]."""
    product = b.op("MatMul", given.x, b.constant(weight.T, f"{layer.name}.{name}"))
    result = b.op("Add", product, b.constant(bias, f"{layer.name}.bias"))
    if given.static is None:
        return result
    features = int(np.prod(fixed_shape(given.static)[1:]))
    static = b.constant(layer.check_blob(2, (len(bias), features)).T, f"{layer.name}.{name}_static")
    flat = b.op("Reshape", given.static, b.constant(np.array([given.batch, features])))
    return b.op("Add", result, b.op("MatMul", flat, static))


def _steps(b: Builder, value: ir.Value, given: _Sequence, *, last: bool = False) -> list[ir.Value]:
    """`value` [time, batch, ...] cut into its steps, each [batch, ...]; with `last`, [batch, 1]."""
    pieces = [value]
    if given.steps > 1:
        pieces = b.ops("Split", value, outputs=given.steps, axis=0, num_outputs=given.steps)
    if last:
        return [b.op("Reshape", piece, b.constant(np.array([given.batch, 1]))) for piece in pieces]
    return [b.op("Squeeze", piece, b.constant(np.array([0]))) for piece in pieces]


def _state(b: Builder, value: ir.Value, batch: int, size: int) -> ir.Value:
    return b.op("Reshape", value, b.constant(np.array([batch, size])))


def _leading(b: Builder, value: ir.Value) -> ir.Value:
    return b.op("Unsqueeze", value, b.constant(np.array([0])))


def _joined(b: Builder, steps: list[ir.Value]) -> ir.Value:
    leading = [_leading(b, value) for value in steps]
    return leading[0] if len(leading) == 1 else b.op("Concat", *leading, axis=0)
