"""Changes in place are seen through every tensor that shares the memory, as in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from knight.converters.pytorch._fx import Untranslatable
from tests.converters.pytorch.nets import Calls, check, conversion_of


def example() -> torch.Tensor:
    return torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))


def slice_of_a_copy(x: torch.Tensor) -> Any:
    y = x.clone()
    y[:, 0].add_(1)
    return y


def step_and_integer(x: torch.Tensor) -> Any:
    y = x.clone()
    y[:, 1:3, 2, ::2].mul_(3)
    return y


def reshaped(x: torch.Tensor) -> Any:
    y = x.clone()
    y.view(x.size(0), -1).mul_(3)
    return y


def reshaped_and_sliced(x: torch.Tensor) -> Any:
    y = x.clone()
    y.view(x.size(0), 2, 2, 6, 5)[:, :, 1, ::2].add_(1)
    return y.permute(0, 2, 3, 1)


def transposed(x: torch.Tensor) -> Any:
    y = x.clone()
    y.transpose(1, 2)[:, 3].zero_()
    return y


def pieces(x: torch.Tensor) -> Any:
    y = x.clone()
    a, b = y.chunk(2, 1)
    a.mul_(2)
    b[:, 1] = 5
    return y, a


def earlier_views(x: torch.Tensor) -> Any:
    y = x.clone()
    inside, around, beside = y[:, 0, 1], y[:, :2], y[:, 2]
    y[:, 0] += 1
    return inside, around, beside, y


def view_of_a_view(x: torch.Tensor) -> Any:
    y = x.clone()
    y[:, 1].select(1, 2).fill_(7.0)
    return y, y[0]


def new_axis(x: torch.Tensor) -> Any:
    y = x.flatten(1) + 0
    z = y.unsqueeze(1)
    z += 1
    return y


def buffer_that_is_filled(x: torch.Tensor) -> Any:
    y = torch.zeros(x.shape[0], 4, 6, 5)
    y[:, :2] = x[:, :2]
    y[:, 2].copy_(x[:, 3])
    y[:, 3].copy_(x[0, 0])
    return y


def one_tensor_with_two_names(x: torch.Tensor) -> Any:
    x = x.relu()
    other = x
    x += 1
    x = x * 2
    x.add_(other)
    return x, other


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize(
    "function",
    [
        slice_of_a_copy,
        step_and_integer,
        reshaped,
        reshaped_and_sliced,
        transposed,
        pieces,
        earlier_views,
        view_of_a_view,
        new_axis,
        buffer_that_is_filled,
        one_tensor_with_two_names,
    ],
)
def test_everybody_who_shares_the_memory_sees_a_change(function: Any, dynamic: bool) -> None:
    check(function, example(), dynamic=dynamic)


def test_an_item_that_is_changed_in_place_is_written_once() -> None:
    def scaled(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[..., :2] *= 2
        return y

    model = check(scaled, example())
    assert [node.op_type for node in model.graph].count("Where") == 1


def test_a_change_nobody_else_reads_costs_nothing() -> None:
    def activated(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).relu_().view(-1, 4, 30)

    model = check(activated, example() + 0)
    assert [node.op_type for node in model.graph] == ["Flatten", "Relu", "Reshape"]


def test_memory_that_no_index_describes_is_refused_with_the_line() -> None:
    def diagonal(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        torch.diagonal(y[0, 0]).mul_(2)
        return y

    with pytest.raises(Untranslatable, match=r"test_alias\.py:\d+: .*(mul_|diagonal)"):
        conversion_of(Calls(diagonal), [example()], dynamic=False)
