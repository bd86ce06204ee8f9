"""Attention: the function, the module, and the layers made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knight.errors import ModelError
from tests.converters.pytorch.nets import check


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def seeded(make: Any) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = make()
    return module.eval()


Q, K, V = normal(2, 3, 4, 8), normal(2, 3, 5, 8, seed=1), normal(2, 3, 5, 6, seed=2)


def test_function() -> None:
    keep = torch.ones(4, 5, dtype=torch.bool).tril(1)

    def calls(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        return [
            F.scaled_dot_product_attention(q, k, v),
            F.scaled_dot_product_attention(q, k, v, scale=0.5),
            F.scaled_dot_product_attention(q, k, v, is_causal=True),
            F.scaled_dot_product_attention(q, k, v, attn_mask=keep),
            F.scaled_dot_product_attention(q, k, v, keep.float() * 2),
            F.scaled_dot_product_attention(q, k, v, torch.where(keep, 0.0, float("-inf"))),
            F.scaled_dot_product_attention(q, k, v, attn_mask=(k[:, :1, :, 0] < 1)[:, :, None]),
            F.scaled_dot_product_attention(q[:, 0], k[:, 0], v[:, 0], dropout_p=0.0),
            torch.softmax(q @ k.transpose(-2, -1) / 8**0.5, dim=-1) @ v,
            F.scaled_dot_product_attention(q[:, :1].repeat(1, 6, 1, 1), k, v, enable_gqa=True),
        ]

    check(calls, Q, K, V)


X, Y = normal(2, 4, 8), normal(2, 5, 8, seed=1)


class Attend(nn.Module):
    def __init__(self, batch_first: bool, **options: Any) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, **options)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        hidden = y[:, :, 0] > 1
        if not self.batch_first:
            x, y = x.transpose(0, 1), y.transpose(0, 1)
        length, source = x.shape[1 - int(not self.batch_first)], 5
        mask = torch.full((length, source), float("-inf")).triu(3)
        z = y[..., : self.attention.vdim]
        k = y[..., : self.attention.kdim]
        return [
            self.attention(x, x, x) if self.attention.kdim == self.attention.vdim == 8 else None,
            self.attention(x, k, z, key_padding_mask=hidden),
            self.attention(x, k, z, attn_mask=mask, need_weights=False),
            self.attention(x, k, z, attn_mask=mask.isinf(), key_padding_mask=hidden),
            self.attention(x, k, z, average_attn_weights=False),
        ]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"kdim": 6, "vdim": 4}, {"add_bias_kv": True}, {"add_zero_attn": True}],
    ids=str,
)
def test_module(batch_first: bool, options: dict[str, Any]) -> None:
    check(seeded(lambda: Attend(batch_first, **options)), X, Y, tolerance=2e-5)


def test_masks_per_head() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            mask = torch.ones(2 * x.shape[0], 4, 4, dtype=torch.bool).triu(2)
            return self.attention(x, x, x, attn_mask=mask)

    check(seeded(Net), X)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder(norm_first: bool, activation: str) -> None:
    def make() -> nn.Module:
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, activation=activation, batch_first=True, norm_first=norm_first
        )
        return nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8))

    net = seeded(make)
    check(net, X, tolerance=2e-5)

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Any:
            causal = nn.Transformer.generate_square_subsequent_mask(4)
            hidden = x[:, :, 0] > 1
            return self.net(x, mask=causal, is_causal=True), self.net(x, src_key_padding_mask=hidden)

    check(Masked().eval(), X, tolerance=2e-5)


def test_decoder_and_whole_transformer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
            self.decoder = nn.TransformerDecoder(layer, 2)
            self.whole = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

        def forward(self, x: Tensor, y: Tensor) -> Any:
            causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return [
                self.decoder(x, y, tgt_mask=causal, tgt_is_causal=True),
                self.decoder(x, y, memory_key_padding_mask=y[..., 0] > 1),
                self.whole(y, x, tgt_mask=causal),
            ]

    check(seeded(Net), X, Y, tolerance=5e-5)


def test_rows_that_are_masked_whole_do_not_spoil_ranges() -> None:
    """Scores that do not count are far below, but no infinity enters the graph."""
    model = check(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), Q, K, V)
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        assert np.isfinite(value.const_value.numpy()).all()


class Windows(nn.Module):
    """Heads by hand, as most code on the way: one projection, unbind, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(8, 24), nn.Linear(8, 8), 2

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(dim=-1)
        q, k, v = qkv.unbind(0)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, c)) + F.scaled_dot_product_attention(
            q, k, v
        ).transpose(1, 2).flatten(2)


def test_heads_by_hand() -> None:
    check(seeded(Windows), X)


def test_wrong_shapes_are_the_users_line() -> None:
    with pytest.raises(ModelError, match=r"test_attention\.py"):
        check(lambda q, k, v: F.scaled_dot_product_attention(q, v, k), Q, K, V)
