"""The graph edits that the passes share."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from knight.passes._rewrite import (
    become_constant,
    bypass,
    constant_scalar,
    is_random,
    new_node,
    outer_values,
    replace_value,
    same_dims,
    same_shape,
    sole_consumer,
)
from tests.passes.equivalence import build, outputs_of
from tests.passes.zoo import ZOO, numbers


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
    ("target", "identities"),
    [("a", 0), ("x", 1), ("w", 1), ("z", 1)],
)
def test_an_output_keeps_its_name_whatever_replaces_it(target: str, identities: int) -> None:
    model = build(
        "a = Relu(x) z = Neg(x) b = Abs(a) y = Add(b, w) k = Exp(y)",
        {"w": numbers(2)},
        inputs={"x": (2,)},
        outputs=("y", "z", "k"),
    )
    found = values(model)
    replace_value(found["y"], found[target])
    assert [value.name for value in model.graph.outputs] == ["y", "z", "k"]
    assert sum(node.op_type == "Identity" for node in model.graph) == identities
    x = numbers(2, seed=3)
    wanted = {"a": np.maximum(x, 0), "x": x, "w": numbers(2), "z": -x}[target]
    y, z, k = outputs_of(model, {"x": x})
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(z, -x)
    np.testing.assert_allclose(k, np.exp(wanted), rtol=1e-6)


def test_bypass_keeps_the_identity_that_an_output_needs() -> None:
    model = build("y = Identity(x)", inputs={"x": (2,)})
    assert not bypass(model.graph[0], model.graph.inputs[0])
    assert len(model.graph) == 1


def test_bypass_keeps_a_node_whose_other_outputs_are_read() -> None:
    model = build(
        "a, i = MaxPool<kernel_shape=[1]>(x) b = Cast<to=1>(i) y = Add(a, b)", inputs={"x": (1, 1, 2)}
    )
    assert not bypass(model.graph[0], model.graph.inputs[0])


def test_constants_take_the_name_of_what_they_replace() -> None:
    model = build("a = Relu(x) b = Neg(a) y = Exp(b)", inputs={"x": (2,)}, outputs=("y", "a"))
    found = values(model)
    become_constant(found["b"], np.ones(2, np.float32))
    become_constant(found["a"], np.zeros(2, np.float32))
    assert "b" in model.graph.initializers
    y, a = outputs_of(model, {"x": numbers(2)})
    assert y.tolist() == pytest.approx([np.e, np.e])
    assert a.tolist() == [0, 0]


def test_new_nodes_have_names_of_their_own() -> None:
    model = build("a = Relu(x) y = Neg(a)", inputs={"x": (2,)})
    node = model.graph[1]
    first = new_node(node, "Abs", [node.inputs[0]], name="node1", output="a", like=node.inputs[0])
    second = new_node(node, "Sign", [first.outputs[0]])
    assert (first.name, first.outputs[0].name) == ("node1_1", "a_1")
    assert (second.name, second.outputs[0].name) == ("node1_Sign", "node1_Sign")
    assert first.outputs[0].shape == ir.Shape([2])
    assert [item.op_type for item in model.graph] == ["Relu", "Abs", "Sign", "Neg"]


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
