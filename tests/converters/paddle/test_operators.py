"""Operators of Paddle, each against Paddle itself; several share a net, so that conversions are few."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knight.errors import ModelError
from knight.runner import Session
from tests.converters.checks import random_feeds
from tests.converters.paddle import nets
from tests.converters.paddle.nets import paddle

F = paddle.nn.functional
L = paddle.nn
IMAGE = ((None, 4, 8, 10), "float32")
ROWS = ((None, 6), "float32")
SEQUENCE = ((None, 5, 8), "float32")

Operator = Callable[[Any], Any]
ACTIVATIONS = (
    "relu",
    "relu6",
    "elu",
    "selu",
    "gelu",
    "silu",
    "swish",
    "mish",
    "hardswish",
    "hardsigmoid",
    "hardtanh",
    "hardshrink",
    "leaky_relu",
    "sigmoid",
    "log_sigmoid",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "thresholded_relu",
    "log_softmax",
    "softmax",
)
SIGNED = (
    "abs",
    "ceil",
    "floor",
    "round",
    "sign",
    "exp",
    "square",
    "sin",
    "cos",
    "sinh",
    "cosh",
    "atan",
    "erf",
    "neg",
    "isnan",
    "isfinite",
    "isinf",
)
POSITIVE = ("sqrt", "rsqrt", "log", "log2", "log10", "log1p", "reciprocal")


def _image() -> dict[str, Operator]:
    return {
        "conv2d": L.Conv2D(4, 6, 3, padding=1),
        "conv2d_stride": L.Conv2D(4, 6, 3, stride=2, bias_attr=False),
        "conv2d_dilation": L.Conv2D(4, 6, 3, padding=2, dilation=2),
        "conv2d_groups": L.Conv2D(4, 6, 3, groups=2),
        "conv2d_uneven_pads": L.Conv2D(4, 6, 3, padding=[1, 2, 0, 1]),
        "conv2d_same": L.Conv2D(4, 6, 3, stride=2, padding="SAME"),
        "conv2d_valid": L.Conv2D(4, 6, 3, padding="VALID"),
        "conv2d_replicate": L.Conv2D(4, 6, 3, padding=1, padding_mode="replicate"),
        "depthwise_conv2d": L.Conv2D(4, 4, 3, groups=4, padding=1),
        "depthwise_multiplier": L.Conv2D(4, 8, 3, groups=4, padding=1),
        "conv2d_transpose": L.Conv2DTranspose(4, 3, 3, stride=2, padding=1),
        "conv2d_transpose_output_padding": L.Conv2DTranspose(4, 3, 3, stride=2, padding=1, output_padding=1),
        "conv2d_transpose_groups": L.Conv2DTranspose(4, 6, 2, stride=2, groups=2),
        "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
        "max_pool2d_ceil": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
        "avg_pool2d": lambda x: F.avg_pool2d(x, 2, 2),
        "avg_pool2d_exclusive": lambda x: F.avg_pool2d(x, 3, 2, 1),
        "avg_pool2d_inclusive": lambda x: F.avg_pool2d(x, 3, 2, 1, exclusive=False),
        "adaptive_avg_pool2d_1": lambda x: F.adaptive_avg_pool2d(x, 1),
        "adaptive_avg_pool2d_uneven": lambda x: F.adaptive_avg_pool2d(x, [3, 4]),
        "adaptive_avg_pool2d_larger": lambda x: F.adaptive_avg_pool2d(x, [11, 10]),
        "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, [4, 5]),
        "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 2),
        "batch_norm": L.BatchNorm2D(4),
        "group_norm": L.GroupNorm(2, 4),
        "instance_norm": L.InstanceNorm2D(4),
        "local_response_norm": lambda x: F.local_response_norm(x, 3),
        "prelu": L.PReLU(4, init=0.3),
        "interpolate_nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        "interpolate_size": lambda x: F.interpolate(x, [12, 15], mode="nearest"),
        "interpolate_bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        "interpolate_corners": lambda x: F.interpolate(x, [16, 15], mode="bilinear", align_corners=True),
        "interpolate_bicubic": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
        "pad_constant": lambda x: F.pad(x, [1, 2, 3, 0], value=0.5),
        "pad_reflect": lambda x: F.pad(x, [1, 2, 3, 0], mode="reflect"),
        "pad_replicate": lambda x: F.pad(x, [1, 2, 3, 0], mode="replicate"),
        "zero_pad2d": L.ZeroPad2D([1, 0, 2, 1]),
        "channel_shuffle": lambda x: x.reshape([0, 2, 2, 8, 10]).transpose([0, 2, 1, 3, 4]).flatten(1, 2),
        "unfold": lambda x: F.unfold(x, [2, 2], strides=2),
        "strided_slice": lambda x: x[:, :, 1:7:2, ::3],
        "flatten": lambda x: x.flatten(1),
        "squeeze_excite": lambda x: x * F.sigmoid(x.mean([2, 3], keepdim=True)),
    }


def _activations() -> dict[str, Operator]:
    found: dict[str, Operator] = {name: getattr(F, name) for name in ACTIVATIONS}
    found["gelu_tanh"] = lambda x: F.gelu(x, approximate=True)
    found["softmax_axis"] = lambda x: F.softmax(x, axis=0)
    found["glu"] = lambda x: F.glu(x, axis=1)
    return found


def _elementwise() -> dict[str, Operator]:
    def unary(name: str) -> Operator:
        result: Operator = getattr(paddle, name)
        return result

    def positive(name: str) -> Operator:
        return lambda x: getattr(paddle, name)(x.abs() + 0.5)

    found = {name: unary(name) for name in SIGNED} | {name: positive(name) for name in POSITIVE}
    found |= {
        "tan": lambda x: paddle.tan(0.3 * paddle.tanh(x)),
        "asin": lambda x: paddle.asin(0.9 * paddle.tanh(x)),
        "acos": lambda x: paddle.acos(0.9 * paddle.tanh(x)),
        "pow": lambda x: x.pow(2.0),
        "pow_tensor": lambda x: paddle.pow(x.abs() + 0.1, x),
        "add": lambda x: x + x * 2,
        "subtract": lambda x: 1.0 - x,
        "multiply": lambda x: x * x[:, :1],
        "divide": lambda x: x / (x.abs() + 1.0),
        "floor_divide": lambda x: paddle.floor_divide(
            (x * 10).cast("int32").abs(), paddle.full([1], 3, "int32")
        ),
        "remainder": lambda x: paddle.remainder((x * 10).cast("int64").abs(), paddle.full([1], 3, "int64")),
        "maximum": lambda x: paddle.maximum(x, -x),
        "minimum": lambda x: paddle.minimum(x, -x),
        "clip": lambda x: x.clip(-0.5, 0.5),
        "scale": lambda x: paddle.scale(x, 2.0, 3.0, bias_after_scale=False),
        "cast": lambda x: (x * 3).cast("int32"),
        "equal": lambda x: x.round() == 1.0,
        "not_equal": lambda x: x.round() != 1.0,
        "greater_than": lambda x: x > 0.1,
        "greater_equal": lambda x: x >= 0.1,
        "less_than": lambda x: x < 0.1,
        "less_equal": lambda x: x <= 0.1,
        "logical_and": lambda x: paddle.logical_and(x > 0, x < 1),
        "logical_or": lambda x: paddle.logical_or(x > 1, x < 0),
        "logical_xor": lambda x: paddle.logical_xor(x > 1, x < 0),
        "logical_not": lambda x: paddle.logical_not(x > 0),
        "bitwise_and": lambda x: paddle.bitwise_and((x * 9).cast("int32"), (x * 5).cast("int32")),
        "where": lambda x: paddle.where(x > 0, x, x * 0.1),
        "full_like": lambda x: paddle.full_like(x, 2.0) + x,
        "assign": lambda x: paddle.assign(x) + 1.0,
    }
    return found


def _reductions() -> dict[str, Operator]:
    return {
        "mean": lambda x: x.mean(1),
        "mean_keepdim": lambda x: x.mean(-1, keepdim=True),
        "sum": lambda x: x.sum([0, 1]),
        "max": lambda x: x.max(1),
        "min": lambda x: x.min(1),
        "prod": lambda x: x.prod(1),
        "all": lambda x: (x > -1).all(1),
        "any": lambda x: (x > 1).any(1),
        "logsumexp": lambda x: x.logsumexp(1),
        "norm": lambda x: x.norm(2, 1),
        "norm_1": lambda x: x.norm(1, 1),
        "normalize": lambda x: F.normalize(x, axis=1),
        "var": lambda x: x.var(1),
        "std": lambda x: x.std(1),
        "argmax": lambda x: x.argmax(1),
        "argmin": lambda x: x.argmin(1, keepdim=True),
        "topk": lambda x: paddle.topk(x, 3, axis=1),
        "sort": lambda x: paddle.sort(x, axis=1),
        "argsort": lambda x: paddle.argsort(x, axis=1, descending=True),
        "cumsum": lambda x: x.cumsum(1),
        "linear": L.Linear(6, 3),
        "matmul": lambda x: x.matmul(x, transpose_y=True),
        "mm": lambda x: paddle.mm(x.t(), x),
        "einsum": lambda x: paddle.einsum("ij,kj->ik", x, x),
        "dot": lambda x: paddle.dot(x, x),
        "batch_norm1d": L.BatchNorm1D(6),
    }


def _shapes() -> dict[str, Operator]:
    found: dict[str, Operator] = {
        "concat": lambda x: paddle.concat([x, x * 2], 1),
        "split": lambda x: paddle.split(x, 2, 2),
        "split_sections": lambda x: paddle.split(x, [1, 3, -1], 1),
        "chunk": lambda x: paddle.chunk(x, 4, 2),
        "stack": lambda x: paddle.stack([x, x + 1], 1),
        "unstack": lambda x: paddle.unstack(x, 1),
        "unbind": lambda x: paddle.unbind(x, 1),
        "slice": lambda x: x[:, 1:3, 2:],
        "slice_index": lambda x: x[:, -1],
        "gather": lambda x: paddle.gather(x, _index(), 1),
        "index_select": lambda x: paddle.index_select(x, _index(), 2),
        "gather_nd": lambda x: paddle.gather_nd(x, paddle.zeros([1, 2], "int64")),
        "take_along_axis": lambda x: paddle.take_along_axis(x, x.argsort(1), 1, broadcast=False),
        "reshape": lambda x: x.reshape([-1, 4, 10]),
        "reshape_zero": lambda x: x.reshape([0, 0, 2, 4]),
        "transpose": lambda x: x.transpose([0, 2, 1]),
        "squeeze": lambda x: x[:, :1].squeeze(1),
        "unsqueeze": lambda x: x.unsqueeze([1, 3]),
        "expand": lambda x: x.unsqueeze(1).expand([-1, 3, -1, -1]),
        "expand_as": lambda x: x[:, :, :1].expand_as(x),
        "tile": lambda x: x.tile([1, 2, 1]),
        "flip": lambda x: x.flip([1]),
        "roll": lambda x: x.roll(2, 1),
        "shape": lambda x: paddle.shape(x) + 1,
        "tril": lambda x: x.tril(),
        "triu": lambda x: x.triu(1),
        "one_hot": lambda x: F.one_hot(x.argmax(2), 8),
        "bmm": lambda x: paddle.bmm(x, x.transpose([0, 2, 1])),
        "layer_norm": L.LayerNorm(8),
        "layer_norm_two_axes": L.LayerNorm([5, 8]),
        "dropout": L.Dropout(0.5),
        "arange": lambda x: x + paddle.arange(8, dtype="float32"),
        "scatter": lambda x: paddle.scatter(x[0], _index(), x[0, :2]),
        "put_along_axis": lambda x: paddle.put_along_axis(x, x.argmax(1, keepdim=True), 0.0, 1),
        "masked_fill": lambda x: paddle.where(x > 0, paddle.zeros_like(x), x),
        "meshgrid": lambda x: paddle.meshgrid(x[0, 0], x[0, :, 0]),
        "repeat_interleave": lambda x: paddle.repeat_interleave(x, 2, 1),
        "set_value": _set_value,
    }
    return found


def _index() -> Any:
    return paddle.full([2], 2, "int64") - paddle.arange(2, dtype="int64")


def _set_value(x: Any) -> Any:
    x = x * 1.0
    x[:, 1:2] = 3.0
    return x


def _first(layer: Any) -> Operator:
    result: Operator = nets.net(lambda x: layer(x)[0], part=layer)
    return result


def _attention() -> Operator:
    layer = L.MultiHeadAttention(8, 2)
    result: Operator = nets.net(lambda x: layer(x, x, x), part=layer)
    return result


def _sequence() -> dict[str, Operator]:
    return {
        "lstm": _first(L.LSTM(8, 6)),
        "lstm_bidirectional": _first(L.LSTM(8, 6, direction="bidirect")),
        "lstm_layers": _first(L.LSTM(8, 6, num_layers=2)),
        "gru": _first(L.GRU(8, 6)),
        "multi_head_attention": _attention(),
        "encoder_layer": L.TransformerEncoderLayer(8, 2, 16, 0.0),
        "conv1d": L.Conv1D(5, 4, 3, padding=1),
        "max_pool1d": lambda x: F.max_pool1d(x, 2, 2),
        "avg_pool1d": lambda x: F.avg_pool1d(x, 2, 2),
        "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x, 1),
        "scaled_dot_product": lambda x: F.softmax(x.matmul(x, transpose_y=True) * 0.3, -1).matmul(x),
    }


FAMILIES: dict[str, tuple[Callable[[], dict[str, Operator]], nets.Spec]] = {
    "image": (_image, IMAGE),
    "activations": (_activations, IMAGE),
    "elementwise": (_elementwise, IMAGE),
    "reductions": (_reductions, ROWS),
    "shapes": (_shapes, SEQUENCE),
    "sequence": (_sequence, SEQUENCE),
}
NAMES = [(family, name) for family, (operators, _) in FAMILIES.items() for name in operators()]
NOT_TRANSLATED: dict[str, tuple[Operator, nets.Spec, str]] = {
    "celu": (F.celu, IMAGE, "celu"),
    "expm1": (paddle.expm1, IMAGE, "expm1"),
    "addmm": (lambda x: paddle.addmm(paddle.ones([6, 6]), x.t(), x), ROWS, "addmm"),
    "two": (
        lambda x: paddle.digamma(paddle.lgamma(x) + paddle.digamma(x)),
        ROWS,
        r"lgamma.*digamma \(2 times\)",
    ),
    "simple_rnn": (L.SimpleRNN(8, 6), SEQUENCE, "rnn"),
    "uneven_max_pool": (
        lambda x: F.adaptive_max_pool2d(x, [3, 4]),
        IMAGE,
        r"adaptive max pooling from \[8, 10\] to \[3, 4\]",
    ),
    "open_adaptive_pool": (
        lambda x: F.adaptive_avg_pool2d(x, [3, 5]),
        ((None, 3, None, 32), "float32"),
        r"pool2d.*fixed input shapes \(-is\) may help",
    ),
}


def _flat(result: Any) -> list[Any]:
    if isinstance(result, (list, tuple)):
        return [item for part in result for item in _flat(part)]
    return [result]


Results = dict[str, list[tuple[np.ndarray, np.ndarray]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operators")


@cache
def _results(family: str, folder: Path) -> Results | Exception:
    """Outputs of Paddle and of ONNX Runtime for every operator of a family, or what kept them away."""
    try:
        return _run(family, folder)
    except Exception as error:
        return error


def _run(family: str, folder: Path) -> Results:
    """Two batch sizes for every operator of a family."""
    make, spec = FAMILIES[family]
    operators, counts = make(), {}

    parts = {
        f"part_{name}": operator for name, operator in operators.items() if isinstance(operator, L.Layer)
    }

    def forward(x: Any) -> Any:
        outputs = []
        for name, operator in operators.items():
            results = _flat(operator(x))
            counts[name] = len(results)
            outputs.extend(results)
        return outputs

    conversion = nets.convert(nets.save(nets.net(forward, **parts), folder / family, spec))
    session = Session(conversion.model, level="basic")
    found: Results = {name: [] for name in operators}
    for batch in (1, 3):
        feeds = random_feeds(session, batch, batch)
        assert conversion.reference is not None
        pairs = iter(zip(conversion.reference(feeds), session.run(feeds), strict=True))
        for name in operators:
            found[name].extend(next(pairs) for _ in range(counts[name]))
    return found


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_operator_computes_what_paddle_computes(folder: Path, family: str, name: str) -> None:
    results = _results(family, folder)
    if isinstance(results, Exception):
        raise results
    for wanted, found in results[name]:
        assert found.shape == wanted.shape
        assert found.dtype == wanted.dtype
        if found.dtype.kind == "f":
            span = float(np.ptp(wanted)) or 1.0
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * span)
        else:
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", NOT_TRANSLATED)
def test_what_cannot_be_translated_is_named(tmp_path: Path, name: str) -> None:
    operator, spec, message = NOT_TRANSLATED[name]
    layer = operator if isinstance(operator, L.Layer) else nets.net(operator)
    with pytest.raises(ModelError, match=message) as caught:
        nets.convert(nets.save(layer, tmp_path / name, spec))
    assert "\n" not in str(caught.value)
