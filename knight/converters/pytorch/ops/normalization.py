"""Normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import shape_of
from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

F = "torch.nn.functional."


def _channels(x: ir.Value) -> int:
    shape = shape_of(x)
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    if not isinstance(channels, int):
        raise ModelError(f"normalization wants a fixed number of channels, {x.name!r} has shape {shape}")
    return channels


def _filled(t: Translator, value: ir.Value | None, count: int, number: float, like: ir.Value) -> ir.Value:
    return t.like(np.full(count, number), like) if value is None else value


@translates(f"{F}batch_norm")
def batch_norm(
    t: Translator,
    input: ir.Value,
    running_mean: ir.Value | None,
    running_var: ir.Value | None,
    weight: ir.Value | None = None,
    bias: ir.Value | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> ir.Value:
    if training or running_mean is None or running_var is None:
        raise ModelError(
            "batch normalization without running statistics normalizes by the batch at hand; "
            "train it with track_running_stats=True and call model.eval()"
        )
    count = _channels(input)
    scale, shift = _filled(t, weight, count, 1.0, input), _filled(t, bias, count, 0.0, input)
    return t.op("BatchNormalization", input, scale, shift, running_mean, running_var, epsilon=float(eps))


@translates("torch.batch_norm")
def torch_batch_norm(
    t: Translator,
    input: ir.Value,
    weight: ir.Value | None,
    bias: ir.Value | None,
    running_mean: ir.Value | None,
    running_var: ir.Value | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> ir.Value:
    return batch_norm(t, input, running_mean, running_var, weight, bias, training, momentum, eps)


@translates(f"{F}instance_norm")
def instance_norm(
    t: Translator,
    input: ir.Value,
    running_mean: ir.Value | None = None,
    running_var: ir.Value | None = None,
    weight: ir.Value | None = None,
    bias: ir.Value | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> ir.Value:
    if not use_input_stats:
        return batch_norm(t, input, running_mean, running_var, weight, bias, False, momentum, eps)
    count = _channels(input)
    scale, shift = _filled(t, weight, count, 1.0, input), _filled(t, bias, count, 0.0, input)
    return t.op("InstanceNormalization", input, scale, shift, epsilon=float(eps))


@translates(f"{F}layer_norm", "torch.layer_norm")
def layer_norm(
    t: Translator,
    input: ir.Value,
    normalized_shape: Sequence[int],
    weight: ir.Value | None = None,
    bias: ir.Value | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> ir.Value:
    scale = t.like(np.ones(tuple(normalized_shape)), input) if weight is None else weight
    axis = -len(normalized_shape)
    return t.op("LayerNormalization", input, scale, bias, axis=axis, epsilon=float(eps))


@translates(f"{F}rms_norm", "torch.rms_norm")
def rms_norm(
    t: Translator,
    input: ir.Value,
    normalized_shape: Sequence[int],
    weight: ir.Value | None = None,
    eps: float | None = None,
) -> ir.Value:
    axes = t.constant(np.arange(-len(normalized_shape), 0))
    mean = t.op("ReduceMean", t.op("Mul", input, input), axes, keepdims=1)
    small = float(np.finfo(np.float32).eps) if eps is None else eps
    result = t.op("Div", input, t.op("Sqrt", t.op("Add", mean, t.like(small, input))))
    return result if weight is None else t.op("Mul", result, weight)


@translates(f"{F}group_norm", "torch.group_norm")
def group_norm(
    t: Translator,
    input: ir.Value,
    num_groups: int,
    weight: ir.Value | None = None,
    bias: ir.Value | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> ir.Value:
    """An instance normalization of groups: GroupNormalization with scales per channel begins at opset 21."""
    groups = t.op("Reshape", input, t.constant(np.array([0, num_groups, -1])))
    ones, zeros = t.like(np.ones(num_groups), input), t.like(np.zeros(num_groups), input)
    normal = t.op("InstanceNormalization", groups, ones, zeros, epsilon=float(eps))
    result = t.op("Reshape", normal, t.op("Shape", input))
    return _per_channel(t, result, weight, bias)


def _per_channel(t: Translator, x: ir.Value, weight: ir.Value | None, bias: ir.Value | None) -> ir.Value:
    trailing = t.constant(np.arange(1, rank(x) - 1))
    if weight is not None:
        x = t.op("Mul", x, t.op("Unsqueeze", weight, trailing) if rank(x) > 2 else weight)
    if bias is not None:
        x = t.op("Add", x, t.op("Unsqueeze", bias, trailing) if rank(x) > 2 else bias)
    return x


@translates(f"{F}local_response_norm")
def local_response_norm(
    t: Translator, input: ir.Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> ir.Value:
    if size % 2:
        return t.op("LRN", input, size=size, alpha=float(alpha), beta=float(beta), bias=float(k))
    channels = _channels(input)  # of an even window, torch takes one more before than after
    window = np.zeros((channels, channels), np.float32)
    for row in range(channels):
        window[row, max(0, row - size // 2) : row + size - size // 2] = alpha / size
    order = [0, *range(2, rank(input)), 1]
    last = t.op("Transpose", t.op("Mul", input, input), perm=order)
    total = t.op("MatMul", last, t.like(window.T, input))
    back = t.op("Transpose", total, perm=np.argsort(order).tolist())
    return t.op("Div", input, t.op("Pow", t.op("Add", back, t.like(k, input)), t.like(beta, input)))


@translates(f"{F}normalize")
def normalize(
    t: Translator, input: ir.Value, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> ir.Value:
    axes = t.constant(np.array(t.axes(input, dim)))
    if p in (1, 2):
        norm = t.op(f"ReduceL{int(p)}", input, axes, keepdims=1)
    elif p == float("inf"):
        norm = t.op("ReduceMax", t.op("Abs", input), axes, keepdims=1)
    else:
        powers = t.op("Pow", t.op("Abs", input), t.like(p, input))
        norm = t.op("Pow", t.op("ReduceSum", powers, axes, keepdims=1), t.like(1 / p, input))
    return t.op("Div", input, t.op("Max", norm, t.like(eps, input)))


@translates(f"{F}cosine_similarity", "torch.cosine_similarity")
def cosine_similarity(t: Translator, x1: ir.Value, x2: ir.Value, dim: int = 1, eps: float = 1e-8) -> ir.Value:
    axes = t.constant(np.array([dim]))
    product = t.op("ReduceSum", t.op("Mul", x1, x2), axes, keepdims=0)
    norms = [t.op("Max", t.op("ReduceL2", x, axes, keepdims=0), t.like(eps, x)) for x in (x1, x2)]
    return t.op("Div", product, t.op("Mul", *norms))


@translates(f"{F}pairwise_distance", "torch.pairwise_distance")
def pairwise_distance(
    t: Translator, x1: ir.Value, x2: ir.Value, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> ir.Value:
    moved = t.op("Abs", t.op("Add", t.op("Sub", x1, x2), t.like(eps, x1)))
    axes, keep = t.constant(np.array([-1])), int(keepdim)
    if p in (1, 2):
        return t.op(f"ReduceL{int(p)}", moved, axes, keepdims=keep)
    total = t.op("ReduceSum", t.op("Pow", moved, t.like(p, x1)), axes, keepdims=keep)
    return t.op("Pow", total, t.like(1 / p, x1))
