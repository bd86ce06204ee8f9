"""What the vendor's tool cannot convert: each works here, or is named with the user's line and a remedy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from knight.converters.pytorch._fx import Untranslatable
from knight.errors import ModelError
from knight.listener import Listener
from tests.converters.checks import assert_same
from tests.converters.pytorch.nets import Calls, check, conversion_of


class Heard(Listener):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def example() -> torch.Tensor:
    return torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def kinds(function: Any, **options: Any) -> list[str]:
    return [node.op_type for node in check(function, example(), **options).graph]


def line_of(function: Callable[..., Any], text: str) -> str:
    """``file.py:line`` of the line of `function` that has `text`."""
    lines, first = inspect.getsourcelines(function)
    place = next(first + i for i, line in enumerate(lines) if text in line)
    return rf"test_limits\.py:{place}: "


# 1. dynamic control flow


def test_a_condition_on_data_is_named() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return x * 2

    with pytest.raises(ModelError, match=line_of(forward, "if x.sum") + r".*torch\.where.*concrete_args"):
        conversion_of(Calls(forward), [example()])


def test_a_number_made_of_data_is_named() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x / x.max().item()

    with pytest.raises(ModelError, match=line_of(forward, "item()") + ".*keep it a tensor"):
        conversion_of(Calls(forward), [example()])


def test_a_loop_as_long_as_the_data_says_is_named() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        while bool((x > 1e-3).any()):
            x = x / 2
        return x

    with pytest.raises(ModelError, match=line_of(forward, "while")):
        conversion_of(Calls(forward), [example()])


def test_a_loop_over_a_fixed_size_is_unrolled() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        total = x[:, 0]
        for channel in range(1, x.shape[1]):
            total = total + x[:, channel] * channel
        return total if x.size(2) > x.size(1) else -total

    assert kinds(forward).count("Add") == 3


def test_a_loop_over_an_open_size_fixes_it_and_says_where() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(4, 6, 6)
        for sample in range(x.shape[0]):
            total = total + x[sample]
        return total

    heard = Heard()
    conversion = conversion_of(Calls(forward), [example()], listener=heard)
    assert len(heard.warnings) == 1
    assert line_of(forward, "range(").replace("\\", "").strip() in heard.warnings[0]
    assert_same(conversion)


# 2. Python's own functions


def test_builtins_that_ask_for_sizes() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        assert isinstance(x, torch.Tensor) and len(x.shape) == 4, f"unexpected {x.shape}"
        assert isinstance(x.shape[0], int) and torch.is_tensor(x) and not isinstance(x, (list, tuple))
        assert all(size > 1 for size in x.shape[1:]) and any(size == 6 for size in x.shape[1:])
        scale = math.sqrt(x.shape[-1]) * max(x.size(1), 2) + sum(x.shape[1:]) + int(x.shape[2] / 4) + abs(-2)
        pairs = [a * b for a, b in zip(x.chunk(2, 1), x.split(2, dim=1), strict=True)]
        rows = [row * number for number, row in enumerate(x.unbind(2))]
        return torch.cat([*map(torch.relu, pairs), *pairs[:1]], 1)[:, :4] * scale + torch.stack(rows, 2)

    check(forward, example())


def test_an_assert_on_data_is_passed_and_said() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        assert (x < 1e9).all()
        return x + 1

    heard = Heard()
    assert_same(conversion_of(Calls(forward), [example()], listener=heard))
    assert line_of(forward, "assert").replace("\\", "").strip() in heard.warnings[0]


def test_a_failing_assert_on_sizes_is_the_users_error() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1] == 3, "want three channels"
        return x

    with pytest.raises(ModelError, match=line_of(forward, "assert").strip() + ".*want three channels"):
        conversion_of(Calls(forward), [example()])


# 3. the @ operator


def test_matrix_products_by_operator() -> None:
    weight = torch.randn(6, 5)

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = x @ weight
        y @= weight.t() @ weight
        return y.mT @ x

    assert "MatMul" in kinds(forward)


# 4. devices and types


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.to(torch.device("cpu")),
        lambda x: x.to("cuda"),
        lambda x: x.to(device="cuda:0", non_blocking=True),
        lambda x: x.cuda(),
        lambda x: x.cpu(),
        lambda x: x.to(x.device),
    ],
)
def test_devices_leave_no_trace(move: Any) -> None:
    conversion = conversion_of(Calls(lambda x: move(x) + 1), [example()])
    assert [node.op_type for node in conversion.model.graph] == ["Add"]


def test_types_become_casts() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        whole = x.to("cpu", torch.int64).type_as(torch.ones(1, dtype=torch.int32)).to(torch.float32)
        return whole + x.double().float() + (x > 0).type(torch.float32) + (x > 0).to(x)

    check(forward, example())


# 5. branches for training


class WithAuxiliaryHead(nn.Module):
    """As in GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(4, 4, 1)
        self.aux1 = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.body(x)
        aux1: torch.Tensor | None = None
        if self.aux1 is not None and self.training:
            aux1 = self.aux1(x)
        return (x, aux1) if self.training else x


def test_branches_for_training_are_not_taken() -> None:
    model = check(WithAuxiliaryHead(), example())
    assert [node.op_type for node in model.graph] == ["Conv"]
    assert not any("aux1" in name for name in model.graph.initializers)


# 6. conditions on arguments


class WithFlags(nn.Module):
    """As in YOLO."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((4, 1, 1), 2.0))

    def forward(self, x: torch.Tensor, augment: bool = False, times: int = 2, val: bool = True) -> Any:
        if augment:
            x = x.flip(3)
        for _ in range(times):
            x = x * self.scale
        return (x, x.relu()) if val else x


def test_arguments_keep_their_defaults() -> None:
    assert kinds(WithFlags()) == ["Mul", "Mul", "Relu"]


def test_concrete_arguments_decide() -> None:
    given = {"augment": True, "val": False, "times": 1}
    conversion = conversion_of(WithFlags().eval(), [example()], concrete_args=given)
    assert [node.op_type for node in conversion.model.graph] == ["Slice", "Mul"]
    assert_same(conversion)


def test_an_argument_in_the_middle_may_be_concrete() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor, double: bool, y: torch.Tensor) -> torch.Tensor:
            return x * 2 + y if double else x + y

    conversion = conversion_of(Net().eval(), [example(), example()], concrete_args={"double": True})
    assert [node.op_type for node in conversion.model.graph] == ["Mul", "Add"]


# 7. computed shapes


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.reshape(x, (x.shape[0], -1)),
        lambda x: torch.reshape(x, [x.size(0), x.size(1) * x.size(2), x.size(3)]),
        lambda x: x.view(-1, x.size(1) * x.size(2) * x.size(3)),
        lambda x: x.view(x.size()[0], x.size()[1], -1).view(*x.size()),
        lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]).view(x.shape),
        lambda x: x.view((*x.shape[:2], -1)).permute(0, 2, 1),
        lambda x: x.flatten(2).reshape(x.size(0), 2, x.size(1) // 2, 36).transpose(1, 2),
        lambda x: x + torch.zeros(x.shape[0], 1, 1, 6) + x.new_ones(x.shape[0], 4, 1, 1),
        lambda x: x.mean((2, 3), keepdim=True).expand(x.size(0), -1, *x.shape[2:]),
        lambda x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]) / x.shape[0] + x.numel(),
        lambda x: x[:, : x.shape[1] // 2] - x[:, -x.shape[1] // 2 :],
    ],
)
def test_computed_shapes(function: Any, dynamic: bool) -> None:
    check(function, example(), dynamic=dynamic)


# 8. changes in place (views: test_alias.py)


def test_operators_in_place() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        y.mul_(2).add_(1)
        y += x
        y -= 0.5
        y *= x
        y /= 3
        torch.relu_(y)
        y[:, 0] = x[:, 1]
        y[:, 1:3, ::2] = 0
        y[y > 1] = 1
        torch.nn.functional.relu(y, inplace=True)
        y.clamp_(max=0.9).sigmoid_()
        return y

    check(forward, example())


def test_results_that_are_written_to_a_given_tensor() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = torch.empty(2, 4, 6, 6)
        torch.add(x, 1, out=y)
        return y * 2

    assert kinds(forward, dynamic=False) == ["Add", "Mul"]


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(2, 4, 6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last.copy_(x)
        return self.last + x


def test_data_that_a_module_remembers_is_named() -> None:
    with pytest.raises(ModelError, match=line_of(Remembering, "copy_") + ".*keeps nothing from run to run"):
        conversion_of(Remembering().eval(), [example()], dynamic=False)


def test_a_tensor_is_no_constant_once_data_was_written_to_it() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros(4, 6)
        shifted = y + 1
        row = y[0]
        y[0] = x[0, 0, 0]
        return shifted + row * 2 + y

    check(forward, example(), dynamic=False)


# every operator that is unknown


class UnknownOperators(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 1), Calls(lambda x: torch.fft.fft(x).abs()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) * torch.linalg.det(x)[..., None, None]


def test_all_unknown_operators_are_listed_with_layer_and_line() -> None:
    with pytest.raises(Untranslatable) as caught:
        conversion_of(UnknownOperators().eval(), [example()])
    text = str(caught.value)
    assert "fft_fft (body.1 at " in text and "linalg_det (forward at " in text
    assert text.count("test_limits.py:") == 2
    assert "\n" not in text
