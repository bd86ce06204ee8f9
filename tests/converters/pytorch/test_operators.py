"""Every translated function, method and module, against eager torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.converters.pytorch.nets import check

Case = Callable[..., Any]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def positive(*shape: int) -> torch.Tensor:
    return normal(*shape).abs() + 0.1


X = (2, 6, 7, 5)
ELEMENTWISE: dict[str, Case] = {
    "relu": F.relu,
    "relu_": lambda x: torch.relu_(x * 1),
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "rrelu": nn.RReLU(),
    "prelu": nn.PReLU(6, 0.3),
    "prelu one": nn.PReLU(),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.3),
    "gelu": F.gelu,
    "gelu tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(inplace=True),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(inplace=True),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardtanh": nn.Hardtanh(-0.5, 0.7),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp min": lambda x: torch.clamp(x, min=0.1),
    "clamp max": lambda x: x.clamp_max(0.2),
    "clamp tensors": lambda x: torch.clamp(x, x * 0.5, x * 0.5 + 1),
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "tanh": torch.tanh,
    "softplus": nn.Softplus(beta=2),
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "softshrink": nn.Softshrink(0.3),
    "hardshrink": nn.Hardshrink(0.3),
    "threshold": nn.Threshold(0.1, -2.0),
    "glu": lambda x: F.glu(x, dim=1),
    "softmax": lambda x: F.softmax(x, dim=1),
    "softmax no axis": lambda x: F.softmax(x.flatten(1)),
    "softmax method": lambda x: x.softmax(-1),
    "log_softmax": lambda x: torch.log_softmax(x, 1),
    "softmin": nn.Softmin(dim=2),
    "dropout": nn.Dropout(0.5),
    "dropout2d": nn.Dropout2d(0.5),
    "alpha_dropout": nn.AlphaDropout(0.5),
    "abs": torch.abs,
    "neg": lambda x: -x,
    "floor": torch.floor,
    "ceil": lambda x: x.ceil(),
    "round": torch.round,
    "round decimals": lambda x: torch.round(x, decimals=1),
    "trunc": torch.trunc,
    "frac": torch.frac,
    "sign": torch.sign,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "exp2": torch.exp2,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "asinh": torch.asinh,
    "erf": torch.erf,
    "square": torch.square,
    "reciprocal": lambda x: 1 / (x + 10),
    "add alpha": lambda x: torch.add(x, x, alpha=2),
    "sub": lambda x: x.sub(x * 0.5, alpha=3),
    "rsub": lambda x: 2 - x,
    "rsub function": lambda x: torch.rsub(x, 2),
    "mul": lambda x: x * 3,
    "div": lambda x: x / 4,
    "div floor": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "div trunc": lambda x: torch.div(x, 0.3, rounding_mode="trunc"),
    "floor_divide": lambda x: x // 0.7,
    "remainder": lambda x: x % 0.7,
    "fmod": lambda x: torch.fmod(x, 0.7),
    "pow": lambda x: x**2,
    "pow three": lambda x: x.pow(3),
    "pow base": lambda x: 2.0**x,
    "maximum": lambda x: torch.maximum(x, x * 0.5),
    "max other": lambda x: torch.max(x, -x),
    "minimum": lambda x: torch.minimum(x, -x),
    "eq": lambda x: (x == x.round()).float(),
    "ne": lambda x: x != 0,
    "gt": lambda x: x > 0.1,
    "ge": lambda x: x.ge(0.1),
    "lt": lambda x: torch.lt(x, 0.1),
    "le": lambda x: x <= 0,
    "logical": lambda x: torch.logical_and(x > 0, x < 1) | ~(x > -1) ^ (x > 2),
    "isnan": lambda x: torch.isnan(x / x.round()),
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "where method": lambda x: x.where(x > 0, x * 2),
    "where scalar": lambda x: torch.where(x > 0, 1.0, x),
    "masked_fill": lambda x: x.masked_fill(x > 0, -1.5),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.5),
    "lerp": lambda x: torch.lerp(x, x * 2, 0.3),
    "atan2": lambda x: torch.atan2(x, x.flip(1)),
    "integers": lambda x: (x * 10).long() // 3 + (x * 10).int() % 4,
    "true division of integers": lambda x: (x * 10).long() / 3,
    "integer and float": lambda x: (x * 10).long() + 0.5,
    "bool arithmetic": lambda x: (x > 0) * x + (x > 1).float(),
}
POSITIVE: dict[str, Case] = {
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "log": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "acosh": lambda x: torch.acosh(x + 1),
    "asin": lambda x: torch.asin(x / 10),
    "acos": lambda x: torch.acos(x / 10),
    "atanh": lambda x: torch.atanh(x / 10),
    "tan": lambda x: torch.tan(x / 10),
    "cosh": torch.cosh,
    "pow half": lambda x: x**0.5,
    "pow tensor": lambda x: x**x,
    "lp_pool": nn.LPPool2d(2, 2),
    "norm three": lambda x: torch.norm(x, p=3, dim=1),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str) -> None:
    check(ELEMENTWISE[name], normal(*X))


@pytest.mark.parametrize("name", POSITIVE)
def test_of_positive_numbers(name: str) -> None:
    check(POSITIVE[name], positive(*X))


CONV: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 11)),
    "conv2d": (nn.Conv2d(4, 6, 3, padding=(1, 2), bias=False), (2, 4, 9, 8)),
    "conv2d groups dilation": (nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding=2), (2, 4, 9, 8)),
    "conv2d same": (nn.Conv2d(4, 6, (4, 3), padding="same"), (2, 4, 9, 8)),
    "conv2d valid": (nn.Conv2d(4, 6, 3, padding="valid"), (2, 4, 9, 8)),
    "conv2d reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 9, 8)),
    "conv2d circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9, 8)),
    "conv3d": (nn.Conv3d(2, 3, 3, padding=1), (2, 2, 5, 6, 7)),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 9)),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (2, 4, 5, 6)),
    "conv_transpose2d groups": (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, dilation=2), (2, 4, 5, 6)),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 2, 3, 4, 5)),
    "linear": (nn.Linear(8, 5), (3, 8)),
    "linear no bias": (nn.Linear(8, 5, bias=False), (3, 8)),
    "linear of three": (nn.Linear(8, 5), (3, 4, 8)),
    "max_pool1d": (nn.MaxPool1d(3, 2, 1), (2, 3, 10)),
    "max_pool2d": (nn.MaxPool2d(3, 2, padding=1), (2, 3, 9, 10)),
    "max_pool2d ceil": (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 3, 10, 12)),
    "max_pool2d ceil padding": (nn.MaxPool2d(2, 2, padding=1, ceil_mode=True), (2, 3, 9, 10)),
    "max_pool2d dilation": (nn.MaxPool2d(3, 1, dilation=2), (2, 3, 9, 10)),
    "max_pool2d indices": (nn.MaxPool2d(2, return_indices=True), (2, 3, 8, 6)),
    "max_pool3d": (nn.MaxPool3d(2), (2, 3, 4, 6, 8)),
    "avg_pool1d": (nn.AvgPool1d(3, 2, 1), (2, 3, 10)),
    "avg_pool2d": (nn.AvgPool2d(3, 2, padding=1), (2, 3, 9, 10)),
    "avg_pool2d exclude": (nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), (2, 3, 9, 10)),
    "avg_pool2d ceil": (nn.AvgPool2d(3, 2, ceil_mode=True), (2, 3, 10, 12)),
    "avg_pool2d ceil padding": (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), (2, 3, 10, 12)),
    "avg_pool2d ceil exclude": (
        nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
        (2, 3, 10, 12),
    ),
    "avg_pool2d divisor": (nn.AvgPool2d(2, divisor_override=3), (2, 3, 8, 6)),
    "avg_pool3d": (nn.AvgPool3d(2), (2, 3, 4, 6, 8)),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(1), (2, 3, 10)),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d((3, None)), (2, 3, 9, 10)),
    "adaptive_avg_pool2d uneven": (nn.AdaptiveAvgPool2d((4, 7)), (2, 3, 9, 10)),
    "adaptive_avg_pool3d uneven": (nn.AdaptiveAvgPool3d((2, 3, 4)), (2, 3, 5, 7, 9)),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d(1), (2, 3, 9, 10)),
    "adaptive_max_pool2d even": (nn.AdaptiveMaxPool2d((3, 5)), (2, 3, 9, 10)),
    "adaptive_max_pool2d uneven": (nn.AdaptiveMaxPool2d((4, 3)), (2, 3, 9, 10)),
    "layer_norm": (nn.LayerNorm((5, 8)), (3, 5, 8)),
    "layer_norm plain": (nn.LayerNorm(8, elementwise_affine=False), (3, 5, 8)),
    "group_norm": (nn.GroupNorm(3, 6), (2, 6, 5, 4)),
    "group_norm plain": (nn.GroupNorm(2, 6, affine=False), (2, 6, 5)),
    "instance_norm": (nn.InstanceNorm2d(6, affine=True), (2, 6, 5, 4)),
    "instance_norm statistics": (nn.InstanceNorm1d(6, track_running_stats=True), (2, 6, 5)),
    "batch_norm1d": (nn.BatchNorm1d(6), (3, 6)),
    "batch_norm1d of three": (nn.BatchNorm1d(6), (3, 6, 4)),
    "batch_norm2d plain": (nn.BatchNorm2d(6, affine=False), (2, 6, 5, 4)),
    "batch_norm3d": (nn.BatchNorm3d(6), (2, 6, 3, 4, 5)),
    "rms_norm": (nn.RMSNorm(8), (3, 5, 8)),
    "local_response_norm": (nn.LocalResponseNorm(3), (2, 6, 5, 4)),
    "local_response_norm even": (nn.LocalResponseNorm(4, alpha=0.5), (2, 6, 5, 4)),
    "upsample nearest": (nn.Upsample(scale_factor=2), (2, 3, 4, 5)),
    "upsample bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4, 5)),
    "upsample corners": (nn.Upsample(size=(9, 11), mode="bilinear", align_corners=True), (2, 3, 4, 5)),
    "upsample bicubic": (nn.Upsample(size=(8, 10), mode="bicubic"), (2, 3, 4, 5)),
    "upsample linear": (nn.Upsample(scale_factor=1.5, mode="linear"), (2, 3, 8)),
    "upsample exact": (nn.Upsample(scale_factor=2, mode="nearest-exact"), (2, 3, 4, 5)),
    "pixel_shuffle": (nn.PixelShuffle(2), (2, 12, 4, 5)),
    "pixel_unshuffle": (nn.PixelUnshuffle(2), (2, 3, 4, 6)),
    "channel_shuffle": (nn.ChannelShuffle(3), (2, 12, 4, 5)),
    "zero_pad": (nn.ZeroPad2d((1, 2, 0, 3)), (2, 3, 4, 5)),
    "constant_pad": (nn.ConstantPad1d((1, 2), 0.7), (2, 3, 4)),
    "negative pad": (nn.ZeroPad2d((-1, 1, 0, -1)), (2, 3, 4, 5)),
    "reflection_pad": (nn.ReflectionPad2d(2), (2, 3, 4, 5)),
    "replication_pad": (nn.ReplicationPad2d((1, 0, 2, 1)), (2, 3, 4, 5)),
    "circular_pad": (nn.CircularPad2d(1), (2, 3, 4, 5)),
    "unfold": (nn.Unfold(3, padding=1, stride=2), (2, 3, 6, 7)),
    "flatten": (nn.Flatten(), (2, 3, 4, 5)),
    "unflatten": (nn.Unflatten(1, (2, 3)), (2, 6, 5)),
    "lstm": (nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True), (3, 6, 5)),
    "lstm no bias": (nn.LSTM(5, 4, bias=False, batch_first=True), (3, 6, 5)),
    "gru": (nn.GRU(5, 4, num_layers=2, bidirectional=True, batch_first=True), (3, 6, 5)),
    "rnn": (nn.RNN(5, 4, batch_first=True), (3, 6, 5)),
    "rnn relu": (nn.RNN(5, 4, nonlinearity="relu", bidirectional=True, batch_first=True), (3, 6, 5)),
    "encoder layer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (3, 5, 8)),
    "encoder first": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), (3, 5, 8)),
    "identity": (nn.Sequential(nn.Identity(), nn.ReLU()), (3, 5)),
    "cosine": (nn.Sequential(nn.Linear(5, 4), nn.Softmax(-1)), (3, 5)),
}


@pytest.mark.parametrize("name", CONV)
def test_modules(name: str) -> None:
    torch.manual_seed(1)
    module, shape = CONV[name]
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(
                torch.rand_like(tensor) + 0.1 if "norm" in name else torch.randn_like(tensor) / 2
            )
    check(module, normal(*shape), tolerance=2e-5)


FUNCTIONS: dict[str, tuple[Case, tuple[tuple[int, ...], ...]]] = {
    "view": (lambda x: x.view(x.size(0), -1), (X,)),
    "view whole": (lambda x: x.view(-1), (X,)),
    "reshape": (lambda x: x.reshape(x.shape[0], 6, -1), (X,)),
    "reshape split": (lambda x: torch.reshape(x, (-1, 3, 2, 35)), (X,)),
    "view_as": (lambda x, y: x.view_as(y), ((2, 6), (2, 3, 2))),
    "flatten": (lambda x: torch.flatten(x, 1), (X,)),
    "flatten middle": (lambda x: x.flatten(1, 2), (X,)),
    "flatten batch": (lambda x: x.flatten(0, 1), (X,)),
    "squeeze": (lambda x: x.mean(2, keepdim=True).squeeze(2), (X,)),
    "squeeze other": (lambda x: x.squeeze(1), (X,)),
    "unsqueeze": (lambda x: x.unsqueeze(-1).unsqueeze(1), (X,)),
    "transpose": (lambda x: x.transpose(1, -1), (X,)),
    "permute": (lambda x: x.permute(0, 2, 3, 1).contiguous(), (X,)),
    "movedim": (lambda x: torch.movedim(x, (1, 2), (3, 1)), (X,)),
    "T": (lambda x: x.flatten(1).T, (X,)),
    "mT": (lambda x: x.mT, (X,)),
    "expand": (lambda x: x[:, :1].expand(-1, 4, 7, 5), (X,)),
    "expand batch": (lambda x: torch.ones(1, 6).expand(x.shape[0], -1), (X,)),
    "expand_as": (lambda x: x[:, :1].expand_as(x), (X,)),
    "repeat": (lambda x: x.repeat(1, 2, 1, 1), (X,)),
    "repeat more": (lambda x: x.flatten(1).repeat(2, 1, 1), (X,)),
    "tile": (lambda x: torch.tile(x, (1, 2)), (X,)),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, dim=1), (X,)),
    "cat": (lambda x: torch.cat([x, x * 2], dim=1), (X,)),
    "cat mixed": (lambda x: torch.cat((x, (x > 0).long()), -1), (X,)),
    "stack": (lambda x: torch.stack((x, x * 2), dim=-1), (X,)),
    "hstack": (lambda x: torch.hstack((x, x)), (X,)),
    "split": (lambda x: torch.split(x, 4, dim=1), (X,)),
    "split sizes": (lambda x: x.split([1, 2, 3], 1), (X,)),
    "chunk": (lambda x: x.chunk(4, dim=2)[1], (X,)),
    "tensor_split": (lambda x: torch.tensor_split(x, 4, dim=1)[0], (X,)),
    "unbind": (lambda x: x.unbind(1)[2], (X,)),
    "unpack": (lambda x: sum(part.mean((1, 2)) for part in x.unbind(1)), (X,)),
    "narrow": (lambda x: x.narrow(1, 2, 3), (X,)),
    "select": (lambda x: x.select(1, -1), (X,)),
    "roll": (lambda x: torch.roll(x, (2, -1), (2, 3)), (X,)),
    "flip": (lambda x: x.flip(1, 3), (X,)),
    "index": (lambda x: x[:, 1:-1, ::2, 3], (X,)),
    "index ellipsis": (lambda x: x[..., None, -1], (X,)),
    "index negative": (lambda x: x[:, -2:, -1], (X,)),
    "index list": (lambda x: x[:, [2, 0, 1]], (X,)),
    "index tensor": (lambda x: x[:, :, torch.tensor([3, -1])], (X,)),
    "index pairs": (lambda x: x[:, torch.tensor([0, 1, 2]), torch.tensor([3, 1, 0])], (X,)),
    "index front": (lambda x: x[torch.tensor([0, 1]), torch.tensor([3, 1])], (X,)),
    "index computed": (lambda x: x[:, :, : x.shape[2] // 2], (X,)),
    "index_select": (lambda x: torch.index_select(x, 1, torch.tensor([5, 0])), (X,)),
    "gather": (lambda x: x.gather(1, (x > 0).long()), (X,)),
    "scatter": (lambda x: x.scatter(1, (x[:, :1] > 0).long(), x[:, :1]), ((2, 6, 4),)),
    "scatter_add": (lambda x: torch.zeros_like(x).scatter_add(1, (x > 0).long(), x), ((2, 6, 4),)),
    "take_along_dim": (lambda x: torch.take_along_dim(x, x.argsort(1), 1), (X,)),
    "setitem": (lambda x: _assigned(x, (slice(None), 1), 0.5), (X,)),
    "setitem slice": (lambda x: _assigned(x, (slice(None), slice(1, 5, 2)), x[:, :2] * 2), (X,)),
    "setitem broadcast": (lambda x: _assigned(x, (Ellipsis, slice(0, 2)), x[:, :, :, :1]), (X,)),
    "setitem mask": (lambda x: _assigned(x, x > 0, -1.0), (X,)),
    "setitem plus": (lambda x: _increased(x), (X,)),
    "sum": (lambda x: x.sum((2, 3)), (X,)),
    "sum all": (lambda x: x.sum(), (X,)),
    "mean": (lambda x: torch.mean(x, dim=1, keepdim=True), (X,)),
    "amax": (lambda x: x.amax((1, 2)), (X,)),
    "max dim": (lambda x: torch.max(x, dim=1), (X,)),
    "max values": (lambda x: x.max(2, keepdim=True).values, (X,)),
    "max indices": (lambda x: x.max(2).indices, (X,)),
    "max all": (lambda x: x.max(), (X,)),
    "min dim": (lambda x: x.min(dim=-1)[0], (X,)),
    "argmax": (lambda x: x.argmax(1), (X,)),
    "argmin": (lambda x: torch.argmin(x, 1, keepdim=True), (X,)),
    "prod": (lambda x: x.prod(2), (X,)),
    "var": (lambda x: x.var((2, 3), keepdim=True), (X,)),
    "var biased": (lambda x: torch.var(x, 1, unbiased=False), (X,)),
    "std": (lambda x: x.std(1), (X,)),
    "var_mean": (lambda x: torch.var_mean(x, 1), (X,)),
    "norm": (lambda x: x.norm(dim=1, keepdim=True), (X,)),
    "norm one": (lambda x: torch.norm(x, 1, 2), (X,)),
    "vector_norm": (lambda x: torch.linalg.vector_norm(x, dim=(1, 2)), (X,)),
    "logsumexp": (lambda x: torch.logsumexp(x, 1), (X,)),
    "cumsum": (lambda x: x.cumsum(2), (X,)),
    "all any": (lambda x: ((x > -3).all(1), (x > 1).any(2)), (X,)),
    "normalize": (lambda x: F.normalize(x, dim=1), (X,)),
    "cosine_similarity": (F.cosine_similarity, (X, X)),
    "pairwise_distance": (F.pairwise_distance, ((3, 8), (3, 8))),
    "topk": (lambda x: x.topk(3, dim=1), (X,)),
    "sort": (lambda x: torch.sort(x, 1, descending=True), (X,)),
    "matmul": (torch.matmul, ((2, 3, 4, 5), (2, 3, 5, 6))),
    "at": (lambda x, y: x @ y, ((2, 4, 5), (2, 5, 6))),
    "bmm": (torch.bmm, ((2, 4, 5), (2, 5, 6))),
    "mm": (lambda x: torch.mm(x, torch.ones(5, 3)), ((2, 5),)),
    "addmm": (lambda x: torch.addmm(torch.ones(3), x, torch.ones(5, 3), beta=0.5, alpha=2), ((2, 5),)),
    "baddbmm": (lambda x, y: torch.baddbmm(torch.ones(1), x, y), ((2, 4, 5), (2, 5, 6))),
    "einsum": (lambda x, y: torch.einsum("b i j, b j k -> b i k", x, y), ((2, 4, 5), (2, 5, 6))),
    "outer": (lambda x: torch.outer(x[0], x[0]), ((2, 5),)),
    "bilinear": (lambda x, y: F.bilinear(x, y, torch.ones(3, 4, 5)), ((2, 4), (2, 5))),
    "cdist": (torch.cdist, ((2, 4, 5), (2, 3, 5))),
    "cross": (lambda x, y: torch.linalg.cross(x, y), ((2, 3), (2, 3))),
    "interpolate size": (
        lambda x, y: F.interpolate(x, size=y.shape[2:], mode="bilinear"),
        (X, (2, 1, 9, 11)),
    ),
    "interpolate recompute": (
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
        (X,),
    ),
    "interpolate area": (lambda x: F.interpolate(x, size=(3, 4), mode="area"), (X,)),
    "grid_sample": (lambda x, y: F.grid_sample(x, y.tanh(), align_corners=False), (X, (2, 4, 3, 2))),
    "grid_sample nearest": (
        lambda x, y: F.grid_sample(x, y.tanh(), mode="nearest", padding_mode="border", align_corners=True),
        (X, (2, 4, 3, 2)),
    ),
    "attention": (F.scaled_dot_product_attention, ((2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 8))),
    "attention causal": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
        ((2, 3, 4, 8),) * 3,
    ),
    "attention mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.eye(4).bool()),
        ((2, 3, 4, 8),) * 3,
    ),
    "triu": (lambda x: torch.triu(x, 1) + x.tril(-1), (X,)),
    "zeros": (lambda x: torch.zeros(x.shape[0], 3) + x[:, 0, 0, :3], (X,)),
    "full": (lambda x: torch.full((x.size(0), 2), 0.5), (X,)),
    "new_zeros": (lambda x: x.new_zeros(x.size(0), 2), (X,)),
    "like": (lambda x: torch.ones_like(x) + torch.full_like(x, 2.0), (X,)),
    "arange": (lambda x: torch.arange(x.shape[0]).view(-1, 1) + x[:, :, 0, 0], (X,)),
    "arange fixed": (lambda x: x + torch.arange(x.shape[3], dtype=x.dtype), (X,)),
    "meshgrid": (
        lambda x: x + torch.stack(torch.meshgrid(torch.arange(7), torch.arange(5), indexing="ij")).sum(0),
        (X,),
    ),
    "type_as": (lambda x: torch.arange(5).type_as(x) * x, (X,)),
    "to": (lambda x: (x * 3).to(torch.int64).to(x.dtype), (X,)),
    "numel": (lambda x: x.sum() / x.numel(), (X,)),
    "dim": (lambda x: x * x.dim() * x.ndim, (X,)),
    "in place chain": (lambda x: (x * 1).add_(1).mul_(2).clamp_(0, 3), (X,)),
}


def _assigned(x: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    y = x.clone()
    y[index] = value
    return y


def _increased(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[..., :2] += 1
    y[:, 0] *= x[:, 1]
    return y


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    function, shapes = FUNCTIONS[name]
    check(function, *(normal(*shape, seed=i) for i, shape in enumerate(shapes)), tolerance=2e-5)


class Initial(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = getattr(nn, kind)(5, 4, num_layers=2, bidirectional=True)

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> Any:
        return self.net(x, state if len(state) == 2 else state[0])


@pytest.mark.parametrize(("kind", "states"), [("LSTM", 2), ("GRU", 1), ("RNN", 1)])
def test_initial_states(kind: str, states: int) -> None:
    inputs = [normal(6, 3, 5), *(normal(4, 3, 4, seed=i) for i in range(states))]
    check(Initial(kind), *inputs, dynamic=False)


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(5, 4), nn.GRUCell(5, 4), nn.RNNCell(5, 4)

    def forward(self, x: torch.Tensor) -> Any:
        h, c = self.lstm(x)
        for _ in range(2):
            h, c = self.lstm(x, (h, c))
        return h, self.gru(x, c), self.rnn(x, h)


def test_cells() -> None:
    check(Cells(), normal(3, 5))


class Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        padding = y[:, :, 0] > 1
        mask = torch.ones(x.shape[1], y.shape[1]).triu(3).bool()
        return self.attention(x, y, y, key_padding_mask=padding, attn_mask=mask)


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 6}, {"bias": False}])
def test_multi_head_attention(options: dict[str, Any]) -> None:
    width = options.get("kdim", 8)
    check(Attention(**options), normal(2, 4, 8), normal(2, 5, width))


def test_embedding() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[1, 2, 3], [4, 0, 1]])
    check(nn.Embedding(7, 5), ids)
    check(lambda x: F.one_hot(x, 6), ids)
    check(lambda x: x.float() @ torch.ones(3, 2), ids)


def test_decoder() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    check(layer, normal(2, 4, 8), normal(2, 5, 8), tolerance=2e-5)
