"""Reductions along axes, in every form that torch has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knight.errors import ModelError
from tests.converters.pytorch.nets import check

X = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))


def test_sums_and_means() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x.sum(),
            x.sum(1),
            x.sum(dim=(2, 3)),
            torch.sum(x, [1, -1], keepdim=True),
            torch.sum(x, dim=-1, dtype=torch.float64),
            (x > 0).sum(1),
            x.int().sum((1, 2)),
            x.mean(),
            x.mean([2, 3]),
            torch.mean(x, 1, True),
            (x > 0).float().mean(dim=-1),
            x.long().mean(1, dtype=torch.float32),
            x.nanmean(1),
            x.nansum(-1),
            x.prod(1),
            x[0, 0, 0].prod(),
            torch.prod(x, dim=2, keepdim=True),
            torch.count_nonzero(x > 0, dim=1),
            (x > 0).count_nonzero(),
        ]

    check(calls, X)


def test_extremes() -> None:
    def calls(x: Tensor) -> list[Tensor | tuple[Tensor, ...]]:
        values, places = x.max(dim=1)
        return [
            values,
            places,
            x.max(),
            x.min(),
            torch.max(x),
            torch.max(x, 1, keepdim=True),
            torch.max(x, -x),
            x.min(2)[0],
            x.min(dim=-1).values,
            torch.min(x, dim=2).indices,
            torch.min(x, x.abs()),
            x.max(x * 2),
            x.amax(),
            x.amax(1),
            torch.amin(x, dim=(1, 2), keepdim=True),
            torch.aminmax(x, dim=1),
            x.argmax(1),
            x.argmax(dim=-1, keepdim=True),
            torch.argmin(x, 2),
            x[:1].argmax(),
            x.int().max(1),
        ]

    check(calls, X)


def test_spreads() -> None:
    def calls(x: Tensor) -> list[Tensor | tuple[Tensor, ...]]:
        return [
            x.var(),
            x.var(1),
            x.var(dim=(2, 3), keepdim=True),
            x.var(1, False),
            torch.var(x, dim=1, unbiased=False),
            torch.var(x, unbiased=False),
            torch.var(x, 1, correction=0),
            torch.var(x, dim=[1, 2], correction=2),
            x.std(),
            x.std(-1, keepdim=True),
            x.std(1, unbiased=True),
            torch.std(x, (2, 3), False),
            torch.std(x, dim=1, correction=0),
            torch.var_mean(x, 1),
            torch.var_mean(x, dim=(1, 2), keepdim=True, correction=0),
            torch.std_mean(x, dim=-1),
            torch.var(x, 0),
        ]

    check(calls, X)


def test_norms() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x.norm(),
            x.norm(2, 1),
            x.norm(p=1, dim=(2, 3), keepdim=True),
            torch.norm(x, dim=-1),
            torch.norm(x, p=float("inf"), dim=1),
            torch.norm(x, float("-inf"), 1),
            torch.norm(x, 0, 1),
            x.norm("fro", dim=(1, 2)),
            torch.linalg.norm(x, dim=1),
            torch.linalg.norm(x, dim=(2, 3)),
            torch.linalg.vector_norm(x, ord=3, dim=1),
            torch.linalg.vector_norm(x, 1, dim=1, keepdim=True),
            torch.linalg.matrix_norm(x),
            torch.dist(x, x * 2),
            F.normalize(x),
            F.normalize(x, p=1.0, dim=-1),
            F.cosine_similarity(x, x.flip(1)),
            F.cosine_similarity(x, x.flip(1), dim=-1),
            nn.CosineSimilarity(dim=2)(x, x.flip(2)),
            nn.PairwiseDistance(keepdim=True)(x, x.flip(3)),
        ]

    check(calls, X)


def test_exponents_and_running_sums() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x.logsumexp(1),
            torch.logsumexp(x, dim=(2, 3), keepdim=True),
            torch.logsumexp(x * 100, -1),
            x.cumsum(1),
            torch.cumsum(x, dim=-1),
            torch.cumsum(x > 0, 2),
            x.cumsum(1, dtype=torch.float64),
            x[:, :, :, :3].cumprod(-1),
            torch.diff(x),
            x.diff(dim=1),
        ]

    check(calls, X)


def test_truths() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            (x > 0).all(),
            (x > -9).all(),
            (x > 0).any(),
            (x > 0).all(1),
            torch.any(x > 1, dim=-1, keepdim=True),
            torch.all(x > -9, 1),
            x.bool().any(2),
            torch.any(x > 9),
            (x > 1).any((1, 2)),
            torch.isclose(x, x.round(), atol=0.1),
        ]

    check(calls, X)


def test_global_pooling_written_as_a_mean() -> None:
    model = check(lambda x: x.mean((2, 3)), X)
    assert [node.op_type for node in model.graph] == ["ReduceMean"]


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda x: torch.linalg.matrix_norm(x, 2), "singular"), (lambda x: x.mode(1)[0], "Tensor.mode")],
)
def test_what_cannot_be_said_is_an_error(function, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=message):
        check(function, X)
