"""Attention: softmax(Q K^T / sqrt(d) + mask) V, by itself and with its projections."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import shape_of
from knight.converters.pytorch._translator import Translator, rank
from knight.converters.pytorch.ops import translates
from knight.errors import ModelError

F = "torch.nn.functional."
MASKED = -1e9
"""Added to scores that must not count: far below every score, and harmless where a range is taken."""


@translates(f"{F}scaled_dot_product_attention", "torch._C._nn.scaled_dot_product_attention")
def scaled_dot_product_attention(
    t: Translator,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    attn_mask: ir.Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> ir.Value:
    if enable_gqa:
        key, value = (_repeated(t, x, t.inputs[0][0].shape[-3]) for x in (key, value))
    width = t.inputs[0][0].shape[-1]
    factor = 1 / np.sqrt(width) if scale is None else scale
    if is_causal:
        attn_mask = _causal(t, query, key)
    return _attend(t, query, key, value, factor, attn_mask)[0]


def _attend(
    t: Translator, query: ir.Value, key: ir.Value, value: ir.Value, factor: float, *masks: ir.Value | None
) -> tuple[ir.Value, ir.Value]:
    """The weighted values, and the weights."""
    order = [*range(rank(key) - 2), rank(key) - 1, rank(key) - 2]
    scores = t.op("MatMul", t.op("Mul", query, t.like(factor, query)), t.op("Transpose", key, perm=order))
    for mask in masks:
        if mask is not None:
            scores = t.op("Add", scores, _bias(t, mask, keep=True))
    weights = t.op("Softmax", scores, axis=-1)
    return t.op("MatMul", weights, value), weights


def _repeated(t: Translator, x: ir.Value, heads: int) -> ir.Value:
    """[batch, groups, length, width] with every group as often as gives `heads`."""
    groups, width = (shape_of(x) or ())[-3], (shape_of(x) or ())[-1]
    if not isinstance(groups, int) or rank(x) != 4:
        raise ModelError("enable_gqa wants four dimensions and a fixed number of heads")
    apart = t.op("Unsqueeze", x, t.constant(np.array([2])))
    tiled = t.op("Tile", apart, t.constant(np.array([1, 1, heads // groups, 1, 1])))
    return t.op("Reshape", tiled, t.ints([0, heads, -1, width]))


def _causal(t: Translator, query: ir.Value, key: ir.Value) -> ir.Value:
    lengths = {
        (arguments[0].shape[-2], arguments[1].shape[-2]) for arguments in t.inputs if len(arguments) > 1
    }
    if len(lengths) == 1:
        return t.constant(np.tri(*lengths.pop(), dtype=bool))
    last = t.constant(np.array([-2]))
    sizes = [t.op("Gather", t.op("Shape", x), last, axis=0) for x in (query, key)]
    ones = t.op("Expand", t.constant(np.ones((1, 1), np.float32)), t.op("Concat", *sizes, axis=0))
    return t.value(t.op("Trilu", ones, upper=0), np.bool_)


def _bias(t: Translator, mask: ir.Value, *, keep: bool) -> ir.Value:
    """What to add to the scores. keep: booleans are true where scores count, not where they are left out."""
    if mask.dtype != ir.DataType.BOOL:
        return t.op("Max", mask, t.like(MASKED, mask))  # minus infinity has no range
    yes, no = (0.0, MASKED) if keep else (MASKED, 0.0)
    return t.op("Where", mask, t.constant(np.float32(yes)), t.constant(np.float32(no)))


@translates(f"{F}multi_head_attention_forward")
def multi_head_attention(
    t: Translator,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: ir.Value | None,
    in_proj_bias: ir.Value | None,
    bias_k: ir.Value | None,
    bias_v: ir.Value | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: ir.Value,
    out_proj_bias: ir.Value | None,
    training: bool = True,
    key_padding_mask: ir.Value | None = None,
    need_weights: bool = True,
    attn_mask: ir.Value | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: ir.Value | None = None,
    k_proj_weight: ir.Value | None = None,
    v_proj_weight: ir.Value | None = None,
    static_k: ir.Value | None = None,
    static_v: ir.Value | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    """torch's layout: [length, batch, width]."""
    if static_k is not None or static_v is not None or rank(query) != 3:
        raise ModelError("MultiheadAttention with static keys, or without a batch: unsqueeze(0) its inputs")
    weights: list[ir.Value | None] = [q_proj_weight, k_proj_weight, v_proj_weight]
    if in_proj_weight is not None:
        weights = list(t.ops("Split", in_proj_weight, outputs=3, axis=0, num_outputs=3))
    biases: list[ir.Value | None] = [None] * 3
    if in_proj_bias is not None:
        biases = list(t.ops("Split", in_proj_bias, outputs=3, axis=0, num_outputs=3))
    width = embed_dim_to_check // num_heads
    queries, keys, values = (
        _project(t, x, weight, bias)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    masks = [_mask_of_scores(t, attn_mask, num_heads), _mask_of_keys(t, key_padding_mask)]
    for more_k, more_v in [(bias_k, bias_v)] * (bias_k is not None) + [(None, None)] * add_zero_attn:
        keys, values = _lengthened(t, keys, more_k), _lengthened(t, values, more_v)
        masks = [None if mask is None else _widened(t, mask) for mask in masks]
    parts = [_heads(t, x, num_heads, width) for x in (queries, keys, values)]
    mixed, shares = _attend(t, parts[0], parts[1], parts[2], float(width**-0.5), *masks)
    joined = t.op("Reshape", t.op("Transpose", mixed, perm=[2, 0, 1, 3]), t.constant(np.array([0, 0, -1])))
    output = _project(t, joined, out_proj_weight, out_proj_bias)
    if not need_weights:
        return output, None
    if average_attn_weights:
        shares = t.op("ReduceMean", shares, t.constant(np.array([1])), keepdims=0)
    return output, shares


def _lengthened(t: Translator, x: ir.Value, more: ir.Value | None) -> ir.Value:
    """[length, batch, width] with one more element: `more`, [1, 1, width], or zeros."""
    first = t.op("Slice", x, t.constant(np.array([0])), t.constant(np.array([1])), t.constant(np.array([0])))
    zeros = t.op("Mul", first, t.like(0.0, x))
    return t.op("Concat", x, zeros if more is None else t.op("Add", zeros, more), axis=0)


def _widened(t: Translator, mask: ir.Value) -> ir.Value:
    """A mask of scores for one more key, which counts."""
    return t.op("Pad", mask, t.constant(np.array([0, 1])), t.like(0.0, mask), t.constant(np.array([-1])))


def _project(t: Translator, x: ir.Value, weight: ir.Value | None, bias: ir.Value | None) -> ir.Value:
    assert weight is not None
    product = t.op("MatMul", x, t.op("Transpose", weight, perm=[1, 0]))
    return product if bias is None else t.op("Add", product, bias)


def _heads(t: Translator, x: ir.Value, count: int, width: int) -> ir.Value:
    """[length, batch, count * width] as [batch, count, length, width]."""
    parted = t.op("Reshape", x, t.constant(np.array([0, 0, count, width])))
    return t.op("Transpose", parted, perm=[1, 2, 0, 3])


def _mask_of_scores(t: Translator, mask: ir.Value | None, heads: int) -> ir.Value | None:
    """[target, source], or one per batch and head: [batch * heads, target, source]."""
    if mask is None:
        return None
    bias = _bias(t, mask, keep=False)
    if rank(mask) == 2:
        return bias
    shape = t.op("Shape", mask)
    tail = t.op("Slice", shape, *map(t.constant, (np.array([1]), np.array([3]))))
    front = t.constant(np.array([-1, heads]))
    return t.op("Reshape", bias, t.op("Concat", front, tail, axis=0))


def _mask_of_keys(t: Translator, mask: ir.Value | None) -> ir.Value | None:
    """[batch, source], true (or minus infinity) for what is padding."""
    if mask is None:
        return None
    return t.op("Unsqueeze", _bias(t, mask, keep=False), t.constant(np.array([1, 2])))
