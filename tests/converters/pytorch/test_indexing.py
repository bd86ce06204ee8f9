"""Indexing in all its forms, and what is chosen by index tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knight.errors import ModelError
from tests.converters.pytorch.nets import check

X = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1))


def test_numbers_slices_and_new_axes() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        return [
            x[:, 1],
            x[:, -1, 2],
            x[:, 1:3],
            x[:, :-1, 1::2],
            x[..., 2],
            x[..., -2:, :],
            x[:, None],
            x[:, :, None, 0, ..., None],
            x[None, ..., 1:-1],
            x[0],
            x[:1],
            x[1:, 0],
            x[..., 0, 3:4],
            x[:, -100:2],
            x[:, 1:100],
            x[()],
            x[...],
            x[:][:, slice(0, 4, 3)],
            x[:, [1]],
            x.shape[0] + x[:, 0, 0, 0],
        ]

    check(calls, X)


def test_indices_that_are_computed() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        n, c = x.shape[:2]
        return [
            x[:, c // 2 :],
            x[: n - 1],
            x[n - 1],
            x[n // 2 :, 0],
            x[-1:],
            x[:, : x.size(2) - 3],
            x[torch.arange(n), 1],
            x[torch.arange(n), x[:, :, 0, 0].argmax(1)],
        ]

    check(calls, X)


def test_index_tensors() -> None:
    i, j = torch.tensor([0, 2, 1]), torch.tensor([[1], [3]])

    def calls(x: Tensor) -> list[Tensor]:
        return [
            x[:, i],
            x[:, j],
            x[:, i, 1:3],
            x[:, :, i, :2],
            x[..., i],
            x[:, i, i],
            x[:, i, j],
            x[:, :, j, i],
            x[:, j, :, i],
            x[:, i, 2:, i],
            x[:, i, None],
            x[:, None, i],
            x[:, 0, i],
            x[:, i, 0],
            x[:, i, :, 0],
            x[:, [3, 0], [1, -1]],
            x[:, i - 1],
            x[:, (0, 1)],
            x[:, torch.tensor(2)],
            x[:, i][:, :, i],
        ]

    check(calls, X)


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (2, 4), (2,)])
def test_masks_choose_when_put_in(shape: tuple[int, ...]) -> None:
    def calls(x: Tensor) -> Tensor:
        y = x.clone()
        y[y < 0] = 0.5
        y[x > 1] = 2
        return y

    check(calls, torch.randn(shape, generator=torch.Generator().manual_seed(2)))


def test_masks_of_leading_axes() -> None:
    def calls(x: Tensor) -> Tensor:
        y = x.clone()
        y[x[:, :, 0, 0] > 0] = 7.0
        return y

    check(calls, X)


ASSIGNMENTS: dict[str, Callable[[Tensor, Tensor], None]] = {
    "number": lambda y, x: y.__setitem__((slice(None), 1), 0.0),
    "row": lambda y, x: y.__setitem__((slice(None), -1), x[:, 0] * 2),
    "slice": lambda y, x: y.__setitem__((slice(None), slice(1, 3)), x[:, 2:]),
    "step": lambda y, x: y.__setitem__((Ellipsis, slice(None, None, 2)), x[..., :3]),
    "odd": lambda y, x: y.__setitem__((Ellipsis, slice(1, None, 2)), x[..., 3:]),
    "broadcast": lambda y, x: y.__setitem__((slice(None), slice(0, 2)), x[0, 0, 0]),
    "corner": lambda y, x: y.__setitem__((slice(None), 2, slice(1, 4), slice(2, 5)), x[:, 0, :3, :3]),
    "two numbers": lambda y, x: y.__setitem__((slice(None), 1, slice(None), 2), x[:, 3, :, 5]),
    "list": lambda y, x: y.__setitem__((slice(None), [0, 3]), x[:, 1:3]),
    "everything": lambda y, x: y.__setitem__(slice(None), x * 2),
    "ellipsis": lambda y, x: y.__setitem__(Ellipsis, 3.0),
    "integers": lambda y, x: y.__setitem__((Ellipsis, 0), 3),
    "rising": lambda y, x: y[:, 1].add_(x[:, 2]),
    "copy": lambda y, x: y[:, 1:2].copy_(x[:, 2:3]),
    "fill": lambda y, x: y[..., 1].fill_(2.5),
    "zero": lambda y, x: y[:, 0].zero_(),
}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_elements_are_assigned(name: str) -> None:
    def calls(x: Tensor) -> Tensor:
        y = x.clone()
        ASSIGNMENTS[name](y, x)
        return y

    check(calls, X)


def test_assigned_to_new_tensors() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        y = torch.zeros_like(x)
        y[:, 1:] = x[:, :-1]
        z = x.new_zeros(x.shape[0], 3)
        z[:, 2] = x[:, 0, 0, 0]
        w = torch.zeros(x.shape[0], 2, 6)
        w[:, 0] = x[:, 0, 0]
        return [y, z, w]

    check(calls, X)


def test_temporal_shift() -> None:
    """As TSM does: slices of the batch are assigned."""

    def calls(x: Tensor) -> Tensor:
        clips = x.view(-1, 2, 2, 5, 6)
        out = torch.zeros_like(clips)
        out[:, :-1, :1] = clips[:, 1:, :1]
        out[:, 1:, 1:] = clips[:, :-1, 1:]
        return out.view_as(x)

    check(calls, X)


def test_gathered_and_scattered() -> None:
    def calls(x: Tensor) -> list[Tensor]:
        rank = x.argsort(dim=1)
        first = rank[:, :2]
        return [
            torch.index_select(x, 1, torch.tensor([3, 0, 0])),
            x.index_select(-1, torch.tensor([5])),
            x.gather(1, first),
            torch.gather(x, dim=-1, index=x.argsort(dim=-1, descending=True)),
            torch.take_along_dim(x, rank, dim=1),
            torch.take_along_dim(x, rank[:, :1], dim=1),
            torch.take(x[0], torch.tensor([3, 0, 7])),
            x.scatter(1, first, x[:, 2:] * 2),
            x.scatter(1, first, 5.0),
            torch.scatter(x, 1, first, value=1.5),
            torch.zeros_like(x).scatter_(1, rank, x),
            x.scatter_add(1, first, x[:, :2]),
            torch.zeros_like(x).scatter_add_(1, rank[:, :1], x[:, :1]),
            x.scatter_reduce(1, first, x[:, :2], reduce="amax"),
            x.index_add(1, torch.tensor([0, 2]), x[:, :2]),
            x.index_copy(1, torch.tensor([0, 2]), x[:, 2:]),
            x.index_fill(1, torch.tensor([1, 3]), -1.0),
            torch.zeros(x.shape[0], 4).index_put((torch.arange(x.shape[0]), rank[:, 0, 0, 0]), x[:, 0, 0, 0]),
        ]

    check(calls, X)


def test_sorted_and_ranked() -> None:
    def calls(x: Tensor) -> list[Tensor | tuple[Tensor, ...]]:
        values, places = torch.topk(x, 2, dim=1)
        return [
            values,
            places,
            x.topk(3).values,
            x.topk(2, dim=2, largest=False)[0],
            torch.sort(x, dim=1),
            x.sort(descending=True).values,
            torch.argsort(x, dim=2),
            x.argsort(-1, descending=True),
            torch.msort(x),
            x.kthvalue(2, dim=-1),
            torch.median(x, dim=-1),
            x.median(dim=2, keepdim=True).values,
        ]

    check(calls, X)


def test_embeddings() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 4, padding_idx=0)
            self.pairs = nn.EmbeddingBag(10, 4, mode="mean")

        def forward(self, ids: Tensor) -> list[Tensor]:
            return [
                self.words(ids),
                F.embedding(ids, self.words.weight),
                self.words.weight[ids],
                F.one_hot(ids.long(), 10),
                F.one_hot(ids.long() % 3, num_classes=3).float(),
                self.pairs(ids),
                (ids == torch.arange(10)[:, None, None]).sum(0),
            ]

    check(Net(), torch.tensor([[1, 0, 9], [3, 3, 2]]))
    check(Net(), torch.tensor([[1, 0, 9], [3, 3, 2]], dtype=torch.int32))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: F.one_hot((x > 0).long()), "num_classes"),
        (torch.unique, "unique"),
        (lambda x: torch.nonzero(x > 0.5), "depends on the data"),
        (lambda x: torch.masked_select(x, x > 0), "depends on the data"),
        (lambda x: x[x > 0], "booleans"),
        (lambda x: torch.where(x > 0)[0], "depends on the data"),
    ],
)
def test_what_cannot_be_said_is_an_error(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check(function, X)
