"""Convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import fixed_shape
from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates

F = "torch.nn.functional."


def spread(number: Any, count: int) -> list[int]:
    """`number`, or one number per spatial axis, as a list."""
    numbers = list(number) if isinstance(number, (tuple, list)) else [number]
    return [int(item) for item in (numbers * count if len(numbers) == 1 else numbers)]


@translates(*(f"{where}conv{n}d" for where in ("torch.", F) for n in (1, 2, 3)))
def conv(
    t: Translator,
    input: ir.Value,
    weight: ir.Value,
    bias: ir.Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> ir.Value:
    kernel = fixed_shape(weight)[2:]
    count = len(kernel)
    dilations = spread(dilation, count)
    attributes = {
        "kernel_shape": kernel,
        "strides": spread(stride, count),
        "dilations": dilations,
        "pads": _pads(padding, kernel, dilations),
        "group": groups,
    }
    return _batched(t, input, count, lambda x: t.op("Conv", x, weight, bias, **attributes))


def _pads(padding: Any, kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    if padding == "valid":
        return [0] * (2 * len(kernel))
    if padding == "same":  # torch puts the odd element at the end
        total = [step * (size - 1) for size, step in zip(kernel, dilations, strict=True)]
        return [*(amount // 2 for amount in total), *(amount - amount // 2 for amount in total)]
    return spread(padding, len(kernel)) * 2


def _batched(t: Translator, x: ir.Value, spatial: int, operator: Any) -> ir.Value:
    """`operator`, which wants a batch, on `x`, which may be one sample without."""
    if rank(x) == spatial + 2:
        result: ir.Value = operator(x)
        return result
    first = t.constant(np.array([0]))
    return t.op("Squeeze", operator(t.op("Unsqueeze", x, first)), first)


@translates(*(f"{where}conv_transpose{n}d" for where in ("torch.", F) for n in (1, 2, 3)))
def conv_transpose(
    t: Translator,
    input: ir.Value,
    weight: ir.Value,
    bias: ir.Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> ir.Value:
    kernel = fixed_shape(weight)[2:]
    count = len(kernel)
    attributes = {
        "kernel_shape": kernel,
        "strides": spread(stride, count),
        "dilations": spread(dilation, count),
        "pads": spread(padding, count) * 2,
        "output_padding": spread(output_padding, count),
        "group": groups,
    }
    return _batched(t, input, count, lambda x: t.op("ConvTranspose", x, weight, bias, **attributes))


@translates(f"{F}linear", "torch._C._nn.linear")
def linear(t: Translator, input: ir.Value, weight: ir.Value, bias: ir.Value | None = None) -> ir.Value:
    if rank(input) == 2 and rank(weight) == 2:
        return t.op("Gemm", input, weight, bias, transB=1)
    if rank(weight) == 2:
        weight = t.rename(t.op("Transpose", weight, perm=[1, 0]), f"{weight.name}.T")
    product = t.op("MatMul", input, weight)
    return product if bias is None else t.op("Add", product, bias)


@translates(f"{F}bilinear", "torch.bilinear")
def bilinear(
    t: Translator, input1: ir.Value, input2: ir.Value, weight: ir.Value, bias: ir.Value | None = None
) -> ir.Value:
    product = t.op("Einsum", input1, weight, input2, equation="...i,oij,...j->...o")
    return product if bias is None else t.op("Add", product, bias)
