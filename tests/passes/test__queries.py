"""What the passes ask of a graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from knight.passes._queries import (
    constant_scalar,
    is_random,
    outer_values,
    reduced_axes,
    same_dims,
    same_shape,
    sole_consumer,
)
from tests.passes.equivalence import build
from tests.passes.zoo import ZOO


def values(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name: value for node in model.graph for value in (*node.inputs, *node.outputs) if value}


def test_sole_consumer() -> None:
    model = build(
        "a = Relu(x) b = Neg(a) c = Mul(b, b) d = Exp(c) y = Add(d, x)",
        inputs={"x": (2,)},
        outputs=("y", "c"),
    )
    found = {name: sole_consumer(value) for name, value in values(model).items()}
    assert found["a"].op_type == "Neg"
    assert found["d"].op_type == "Add"
    assert found["b"] is None, "read twice"
    assert found["c"] is None, "a graph output"
    assert found["x"] is None, "two readers"
    assert found["y"] is None


def test_a_body_is_no_sole_consumer() -> None:
    model = ir.from_proto(ZOO["if reads outer values"].proto())
    found = values(model)
    assert sole_consumer(found["k"]) is None
    assert {value.name for value in outer_values(model.graph[2])} == {"k", "w", "x"}


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.float32(0.5), 0.5),
        (np.ones((1, 1), np.int64), 1.0),
        (np.array([True]), 1.0),
        (np.ones(2, np.float32), None),
        (np.ones(0, np.float32), None),
    ],
)
def test_constant_scalar(array: np.ndarray, wanted: float | None) -> None:
    model = build("y = Cast<to=1>(c)", {"c": array}, inputs={"x": (1,)})
    assert constant_scalar(model.graph.initializers["c"]) == wanted
    assert constant_scalar(model.graph.inputs[0]) is None
    assert constant_scalar(None) is None


@pytest.mark.parametrize(
    ("left", "right", "dims", "shape"),
    [
        ([2, 3], [2, 3], True, True),
        (["N", 3], ["N", 3], True, True),
        (["N", 3], ["M", 3], False, True),
        ([None, 3], [None, 3], False, True),
        ([None, 0], [None, 0], False, False),
        (["N", "M"], ["N", "K"], False, False),
        ([2, 3], [3, 2], False, False),
        ([6], [2, 3], False, False),
        ([2, "N"], [2, 3], False, True),
    ],
)
def test_equal_shapes(left: list[object], right: list[object], dims: bool, shape: bool) -> None:
    first, second = ir.Value(shape=ir.Shape(left)), ir.Value(shape=ir.Shape(right))
    assert same_dims(first, second) is dims
    assert same_shape(first, second) is shape
    assert same_dims(first, ir.Value()) is False
    assert same_shape(None, second) is False


def test_dropout_is_random_only_while_training() -> None:
    model = build(
        "a = Dropout(x) b = Dropout(a, r, off) c = Dropout(b, r, on) "
        "d = Dropout(c, r, off) y = RandomNormalLike(d)",
        {"r": np.float32(0.5), "off": np.array(False), "on": np.array(True)},
        inputs={"x": (2,)},
    )
    assert [is_random(node) for node in model.graph] == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("y = ReduceSum(x, axes)", (1, 2)),
        ("y = ReduceMean<axes = [2, -3]>(x)", (0, 2)),
        ("y = ReduceSum(x)", None),
        ("y = ReduceSum(x, none)", None),
        ("s = Shape(x) y = ReduceSum(x, s)", None),
    ],
)
def test_reduced_axes(text: str, wanted: tuple[int, ...] | None) -> None:
    axes = {"axes": np.array([-1, 1]), "none": np.array([], np.int64)}
    model = build(text, axes, inputs={"x": (2, 3, 4)})
    assert reduced_axes(model.graph[-1], 3) == wanted
