"""The edits of a graph that passes and converters share."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from knight.edit import Editor, drop_unread_constant, hand_over, remove_node, remove_with_constants
from tests.passes.equivalence import build, outputs_of
from tests.passes.zoo import numbers


def values(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name: value for node in model.graph for value in (*node.inputs, *node.outputs) if value}


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
    edit = Editor(model.graph)
    found = values(model)
    edit.replace_value(found["y"], found[target])
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
    edit = Editor(model.graph)
    assert not edit.bypass(model.graph[0], model.graph.inputs[0])
    assert len(model.graph) == 1


def test_bypass_keeps_a_node_whose_other_outputs_are_read() -> None:
    model = build(
        "a, i = MaxPool<kernel_shape=[1]>(x) b = Cast<to=1>(i) y = Add(a, b)", inputs={"x": (1, 1, 2)}
    )
    edit = Editor(model.graph)
    assert not edit.bypass(model.graph[0], model.graph.inputs[0])


def test_constants_take_the_name_of_what_they_replace() -> None:
    model = build("a = Relu(x) b = Neg(a) y = Exp(b)", inputs={"x": (2,)}, outputs=("y", "a"))
    edit = Editor(model.graph)
    found = values(model)
    edit.become_constant(found["b"], np.ones(2, np.float32))
    edit.become_constant(found["a"], np.zeros(2, np.float32))
    assert "b" in model.graph.initializers
    y, a = outputs_of(model, {"x": numbers(2)})
    assert y.tolist() == pytest.approx([np.e, np.e])
    assert a.tolist() == [0, 0]


def test_new_nodes_have_names_of_their_own() -> None:
    model = build("a = Relu(x) y = Neg(a)", inputs={"x": (2,)})
    edit = Editor(model.graph)
    node = model.graph[1]
    first = edit.new_node(node, "Abs", [node.inputs[0]], name="node1", output="a", like=node.inputs[0])
    second = edit.new_node(node, "Sign", [first.outputs[0]])
    assert (first.name, first.outputs[0].name) == ("node1_1", "a_1")
    assert (second.name, second.outputs[0].name) == ("node1_Sign", "node1_Sign")
    assert first.outputs[0].shape == ir.Shape([2])
    assert [item.op_type for item in model.graph] == ["Relu", "Abs", "Sign", "Neg"]


def test_constants_have_names_of_their_own_and_the_graph_is_read_once() -> None:
    model = build("a = Relu(x) y = Neg(a)", inputs={"x": (2,)})
    edit = Editor(model.graph)
    made = [edit.constant(base, np.zeros(2, np.float32)).name for base in ("a", "w", "a", "a")]
    assert made == ["a_1", "w", "a_2", "a_3"]
    assert list(model.graph.initializers) == made


@pytest.mark.parametrize("shared", [False, True])
def test_a_constant_that_others_read_keeps_its_numbers(shared: bool) -> None:
    model = build(
        f"a = Mul(x, w) y = Add(a, {'w' if shared else 'v'})",
        {"w": numbers(2), "v": numbers(2)},
        inputs={"x": (2,)},
    )
    Editor(model.graph).set_constant(model.graph[0], 1, np.zeros(2, np.float32), "unused")
    assert model.graph[0].inputs[1].name == ("w_1" if shared else "w")
    (y,) = outputs_of(model, {"x": np.ones(2, np.float32)})
    np.testing.assert_array_equal(y, numbers(2))


def test_a_constant_for_an_input_that_was_not_given() -> None:
    model = build("y = Clip(x, low)", {"low": np.float32(0)}, inputs={"x": (2,)})
    Editor(model.graph).set_constant(model.graph[0], 2, np.array(1, np.float32), "high")
    (y,) = outputs_of(model, {"x": np.array([-2, 2], np.float32)})
    assert y.tolist() == [0, 1]
    assert "high" in model.graph.initializers


def test_what_takes_a_place_takes_the_name_and_drops_constants() -> None:
    model = build("a = Mul(x, w) y = Neg(a)", {"w": numbers(2)}, inputs={"x": (2,)})
    old = model.graph[0].outputs[0]
    new = Editor(model.graph).new_node(model.graph[0], "Relu", [model.graph.inputs[0]]).outputs[0]
    hand_over(old, new)
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]
    assert new.name == "a"
    assert new.shape == old.shape
    assert not model.graph.initializers


@pytest.mark.parametrize("with_constants", [False, True])
def test_removed_nodes_leave_their_constants_unless_told(with_constants: bool) -> None:
    weights = {"w": numbers(2), "v": numbers(2)}
    model = build("a = Mul(x, w) b = Mul(x, v) y = Add(x, v)", weights, inputs={"x": (2,)})
    for node in list(model.graph)[:2]:
        (remove_with_constants if with_constants else remove_node)(node)
    assert set(model.graph.initializers) == ({"v"} if with_constants else {"v", "w"})


def test_constants_of_another_graph_stay() -> None:
    model, other = (build("y = Add(x, x)", {"w": numbers(2)}, inputs={"x": (2,)}) for _ in range(2))
    drop_unread_constant(model.graph, other.graph.initializers["w"])
    assert "w" in model.graph.initializers
    assert "w" in other.graph.initializers
