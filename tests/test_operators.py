"""Roles of inputs, as the ONNX specification has them."""

from __future__ import annotations

import onnx
import pytest

from knight import operators
from tests.passes.equivalence import build, random


def first(nodes: str, shapes: dict[str, tuple[int, ...]], x: tuple[int, ...]):  # type: ignore[no-untyped-def]
    constants = {name: random(*shape) for name, shape in shapes.items()}
    return next(iter(build(nodes, constants, inputs={"x": x}).graph))


@pytest.mark.parametrize("name", operators.INPUTS)
def test_every_operator_and_every_index_is_real(name: str) -> None:
    schema = onnx.defs.get_schema(name)
    role = operators.INPUTS[name]
    used = (*(role.data or ()), *role.weights, *(() if role.bias is None else (role.bias,)))
    assert max(used, default=0) < max(len(schema.inputs), 1)


def test_output_channels() -> None:
    conv = first("y = Conv(x, w, b)", {"w": (6, 4, 3, 3), "b": (6,)}, (1, 4, 8, 8))
    assert (operators.channel_axis(conv, 1), operators.output_channels(conv)) == (0, 6)
    turned = first("y = ConvTranspose<group = 2>(x, w)", {"w": (4, 3, 3, 3)}, (1, 4, 8, 8))
    assert (operators.channel_axis(turned, 1), operators.output_channels(turned)) == (None, 6)
    gemm = first("y = Gemm<transB = 1>(x, w)", {"w": (5, 4)}, (2, 4))
    assert (operators.channel_axis(gemm, 1), operators.output_channels(gemm)) == (0, 5)
    matmul = first("y = MatMul(x, w)", {"w": (4, 5)}, (2, 4))
    assert operators.channel_axis(matmul, 1) == 1


def test_data_are_activations_and_operands_are_constants() -> None:
    add = first("y = Add(x, w)", {"w": (4,)}, (2, 4))
    assert [index for index, _ in operators.data_inputs(add)] == [0]
    assert [index for index, _, _ in operators.constant_operands(add)] == [1]


def test_what_leaves_the_range_of_its_input() -> None:
    cubic = first('y = Resize<mode = "cubic">(x, , s)', {"s": (4,)}, (1, 1, 4, 4))
    assert not operators.keeps_range(cubic)
    assert operators.keeps_range(first("y = Relu(x)", {}, (1, 4)))
