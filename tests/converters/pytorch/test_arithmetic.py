"""Arithmetic with torch's promotion of types, its roundings and its forms; against eager torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.converters.pytorch.nets import check

FUNCTIONS: tuple[Callable[[Any], Any], ...] = (
    lambda x: torch.add(x, x, alpha=2) - torch.sub(x, 1, alpha=3),
    lambda x: 1 - x + torch.rsub(x, 2),
    lambda x: torch.div(x, 0.3, rounding_mode="floor") + x // 0.7,
    lambda x: torch.div(x * 3, 0.7, rounding_mode="trunc"),
    lambda x: x % 0.7 + torch.remainder(x, -0.3) + torch.fmod(x, 0.6),
    lambda x: x**2 + x**3 + 2**x + x.abs() ** 0.5 + (x.abs() + 1) ** (-1),
    lambda x: (x.abs() + 1).rsqrt(),
    lambda x: (x.abs() + 1).log2() + x.abs().log1p() + (x.abs() + 1).log10(),
    lambda x: x.sin() + x.cos() + x.tan() * 0.1 + x.atan() + x.sinh(),
    lambda x: x.erf() + torch.special.erf(x) + x.erfc(),
    lambda x: torch.maximum(x, -x) + torch.minimum(x, x * 2) + torch.max(x, x * 2),
    lambda x: (x > 0) & (x < 1) | ~(x == x),
    lambda x: torch.logical_and(x > 0, x) ^ torch.logical_not(x > 1),
    lambda x: torch.where(x > 0, 1.0, x) + torch.where(x > 0, 0, 1),
    lambda x: torch.lerp(x, x * 2, 0.3) + x.lerp(x + 1, x),
    lambda x: torch.addcmul(x, x, x, value=0.5) + torch.addcdiv(x, x, x.abs() + 1, value=2),
    lambda x: x.round() + x.floor() + x.ceil() + x.trunc() + x.frac() + (x * 10).round(decimals=1) * 0,
    lambda x: x.sign() + x.sgn() + x.abs().neg() + abs(x) + -x + +x,
    lambda x: torch.hypot(x, x + 1),
    lambda x: torch.atan2(x, x.roll(1, 0)),
    lambda x: (x > 0) * x + (x > 0) * 2 + (x > 0) * 0.5,
    lambda x: (x > 0).sum((1, 2)) + (x > 0).int().sum(),
    lambda x: x.long() * 0.5 + x.long() / 2 + x.int() // 2 + x.to(torch.int16) * 3 + x.long() * x,
    lambda x: (x * 9).long() // 2 + (x * 9).long() % 3 + torch.div((x * 9).long(), -2, rounding_mode="trunc"),
    lambda x: (x * 3).long() ** 2,
    lambda x: (x * 3).long().abs().sqrt() + (x * 3).int().exp() * 0.001,
    lambda x: (x * 3).int() & 1 | (x * 3).int() ^ 2,
    lambda x: ((x * 3).abs().int() << 1) + ((x * 9).abs().int() >> 1),
    lambda x: torch.nan_to_num(x / 0 * 0 + x),
    lambda x: torch.isfinite(x / (x * 0)),
    lambda x: x.cumsum(1),
    lambda x: torch.logit(x.sigmoid(), 0.001),
    lambda x: torch.xlogy(x, x.abs()),
    torch.sinc,
    lambda x: torch.heaviside(x, torch.tensor(0.5)),
    lambda x: x * torch.tensor(2) + torch.tensor(3.0, dtype=torch.float64),
    lambda x: x.long().float().add_(1).sub_(2).mul_(3).div_(4).pow_(2).clamp_(0, 1),
    lambda x: torch.logaddexp(x, x * 2),
    lambda x: x.square() + x.exp2() + x.expm1() + x.positive(),
    lambda x: torch.floor_divide(x * 5, 2) + (x * 5).__rfloordiv__(3) * 0,
    lambda x: 3 / x.abs().add(1) + 7 // (x.abs() + 1) + 5 % (x.abs() + 1) + 2.0**x,
    lambda x: x.eq(0).logical_not().float() + x.ne(1).float() + x.isclose(x + 1e-09).float(),
    lambda x: (x * 5).long().clamp(-2, 3),
    lambda x: torch.minimum((x * 5).long(), torch.tensor(2)),
    lambda x: (x * 5).int().relu(),
    lambda x: (x * 5).int().abs() + (x * 5).int().sign(),
    lambda x: (x * 5).to(torch.int8) + 1,
    lambda x: (x.abs() * 5).to(torch.uint8) * 2,
    lambda x: torch.max((x * 5).int(), (x * 2).int()),
    lambda x: x.masked_fill(x > 0, float("-inf")).softmax(-1),
    lambda x: x.masked_fill((x > 0)[:1], torch.tensor(2.0)),
    lambda x: sum([x, x * 2]) + math.pi,
    lambda x: torch.deg2rad(x) + torch.rad2deg(x) * 0.01,
    lambda x: torch.where(x > 0, (x * 5).long(), x),
    lambda x: torch.cat([x, (x * 5).long()], 1),
    lambda x: (x * 5).long() > 0.5,
    lambda x: (x > 0) > (x > 1),
    lambda x: (x * 5).long().logical_or((x * 2).int()),
    lambda x: 1 - (x * 5).long(),
    lambda x: x.ge(x.mean()) & x.le(1),
)


def example() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions(function: Callable[[Any], Any]) -> None:
    check(function, example(), dynamic=False)
