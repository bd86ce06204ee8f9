"""What is quantized where, on graphs small enough to say it by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from knight.errors import ModelError
from knight.planner._nodes import NOT_WORTH
from knight.recipe import Recipe
from knight.targets import Target, load_target
from knight.types import QuantPlan
from tests.passes.equivalence import build, random
from tests.stages import plan_of

ORT = load_target("onnxruntime")
TX = load_target("TX5368AV200")
CONV = {"w": random(4, 4, 3, 3), "b": random(4)}
PADS = "pads = [1, 1, 1, 1]"


def plan(model: ir.Model, target: Target = ORT, recipe: Recipe | None = None, **options: bool) -> QuantPlan:
    return plan_of(model, target, recipe, **options)


def shares(found: QuantPlan) -> dict[str, str]:
    """Tensor -> group, where that bears another name."""
    return {key: tensor.group for key, tensor in found.tensors.items() if tensor.group != key}


def spans(found: QuantPlan) -> dict[str, tuple[str, ...]]:
    return {key: group.spans for key, group in found.groups.items() if group.spans}


def test_relu_folds_into_the_conv_before_it() -> None:
    found = plan(build(f"c = Conv<{PADS}>(x, w, b) y = Relu(c)", CONV))
    assert list(found.tensors) == ["x", "y"]  # nothing between Conv and Relu
    assert found.accumulators["node0"].result == "y"
    assert found.accumulators["node0"].bias == "b"


def test_a_relu_beside_another_reader_does_not_fold() -> None:
    model = build(f"c = Conv<{PADS}>(x, w, b) y = Relu(c) z = Neg(c)", CONV, outputs=("y", "z"))
    assert "c" in plan(model).tensors


def test_moving_operators_share_the_scale_of_their_input() -> None:
    moves = "m = MaxPool<kernel_shape = [3, 3]>(c) y = Transpose<perm = [0, 2, 3, 1]>(m)"
    nodes = f"c = Conv<{PADS}>(x, w, b) {moves}"
    found = plan(build(nodes, CONV))
    assert shares(found) == {"m": "c", "y": "c"}
    assert found.groups["c"].sources == ("c",)


def test_an_average_has_a_scale_of_its_own() -> None:
    found = plan(build(f"c = Conv<{PADS}>(x, w, b) y = GlobalAveragePool(c)", CONV), TX)
    assert shares(found) == {} and list(found.tensors) == ["x", "c", "y"]


def test_a_follower_needs_integers_before_and_after() -> None:
    constants = {**CONV, "s": random(1)}
    between = f"c = Conv<{PADS}>(x, w, b) a = Add(c, s) y = Conv<{PADS}>(a, w, b)"
    assert "node1" in plan(build(between, constants)).integer_nodes
    at_the_end = f"c = Conv<{PADS}>(x, w, b) y = Add(c, s)"
    assert "node1" not in plan(build(at_the_end, constants)).integer_nodes


def test_a_gemm_hands_floats_to_float_readers() -> None:
    constants = {"v": random(4, 5), "u": random(5, 3), "c": random(5)}
    model = build("g = Gemm(x, v, c) y = Tanh(g)", constants, inputs={"x": (2, 4)})
    assert list(plan(model).tensors) == ["x"]
    model = build("g = Gemm(x, v, c) r = Relu(g) y = MatMul(r, u)", constants, inputs={"x": (2, 4)})
    assert list(plan(model).tensors) == ["x", "r"]


def test_a_float_operator_reads_what_a_float_operator_made() -> None:
    constants = {"v": random(4, 4)}
    model = build(
        "t = Tanh(x) g = MatMul(t, v) y = Sin(t)", constants, inputs={"x": (2, 4)}, outputs=("g", "y")
    )
    found = plan(model)
    assert list(found.tensors) == ["t"]
    assert found.reads == {("node1", 0): "t", ("node1", 1): "v"}  # and node2 reads the floats


def test_products_of_two_activations_stay_float_where_they_do_not_pay() -> None:
    model = build("y = MatMul(x, z)", inputs={"x": (2, 3, 4), "z": (2, 4, 5)})
    assert plan(model).integer_nodes == ()
    assert plan(model, TX).integer_nodes == ("node0",)


def test_a_computed_weight_keeps_its_conv_in_float() -> None:
    model = build("y = Conv(x, w)", inputs={"x": (1, 4, 8, 8), "w": (4, 4, 3, 3)})
    assert plan(model).float_nodes == {"node0": "its weights or bias are computed in the graph"}


def test_a_constant_that_is_not_finite_keeps_its_operator_in_float() -> None:
    constants = {**CONV, "mask": np.array([-np.inf], np.float32)}
    nodes = f"c = Conv<{PADS}>(x, w, b) a = Max(c, mask) y = Conv<{PADS}>(a, w, b)"
    assert plan(build(nodes, constants), TX).float_nodes["node1"] == "one of its constants is not finite"


def test_a_pad_with_another_value_leaves_the_range() -> None:
    constants = {**CONV, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": np.array(3.0, np.float32)}
    nodes = f"c = Conv<{PADS}>(x, w, b) y = Pad(c, p, v)"
    assert (
        plan(build(nodes, constants), TX).float_nodes["node1"] == "makes values outside of its input's range"
    )


def test_a_shared_weight_with_two_channel_axes_gets_one_scale() -> None:
    nodes = f"a = Conv<{PADS}>(x, w) y = ConvTranspose<{PADS}>(a, w)"
    assert plan(build(nodes, CONV), TX).weights["w"].spec.axis is None


def test_concat_under_one_scale_observes_its_inputs() -> None:
    nodes = f"a = Conv<{PADS}>(x, w, b) t = Tanh(x) y = Concat<axis = 1>(a, t)"
    unified = plan(build(nodes, CONV), replace(TX, unify_concat=True))
    assert {unified.tensors[name].group for name in ("a", "t", "y")} == {"a"}
    assert unified.groups["a"].sources == ("a", "t")
    apart = plan(build(nodes, CONV), TX)
    assert apart.groups["y"].sources == ("a", "t")  # the same numbers, seen once
    assert apart.observed == ("x", "a", "t")


def test_outputs_of_a_chip_are_fixed_point_where_integers_make_them() -> None:
    model = build(f"y = Conv<{PADS}>(x, w, b) z = Erf(x)", CONV, outputs=("y", "z"))
    assert plan(model, TX).fixed_point_outputs == ("y",)
    assert plan(model, ORT).fixed_point_outputs == ()


def test_strict_names_what_the_chip_lacks() -> None:
    model = build(f"c = Conv<{PADS}>(x, w, b) y = Erf(c)", CONV)
    with pytest.raises(ModelError, match=r"has no Erf \(1 nodes, first 'node1'\)"):
        plan(model, TX, strict=True)
    assert plan(model, TX).float_nodes == {"node1": "not in the chip's operator list"}


def test_arithmetic_on_shapes_is_neither_integer_nor_float() -> None:
    model = build("s = Shape(x) y = Cast<to = 1>(s)")
    found = plan(model)
    assert "node0" not in found.float_nodes and found.integer_nodes == ()


def test_a_power_keeps_its_exponent_exact() -> None:
    found = plan(build("y = Pow(x, e)", {"e": np.array(2.0, np.float32)}), TX)
    assert found.integer_nodes == ("node0",) and "e" not in found.weights


def test_a_concat_spans_the_ranges_of_what_it_reads() -> None:
    nodes = f"a = Conv<{PADS}>(x, w, b) m = MaxPool<kernel_shape = [1, 1]>(a) t = Tanh(x) "
    nodes += "y = Concat<axis = 1>(m, t)"
    assert spans(plan(build(nodes, CONV), TX)) == {"y": ("a", "t")}
    assert spans(plan(build(nodes, CONV), replace(TX, unify_concat=True))) == {}


@pytest.mark.parametrize("end", ["", " y = Conv<pads = [1, 1, 1, 1]>(v600, w)"])
def test_long_chains_of_followers_need_no_recursion(end: str) -> None:
    steps = " ".join(
        f"v{step} = {'MaxPool<kernel_shape = [1, 1]>' if step % 2 else 'Sigmoid'}(v{step - 1})"
        for step in range(1, 601)
    )
    nodes = f"v0 = Conv<{PADS}>(x, w, b) {steps}{end}"
    found = plan(build(nodes, CONV, outputs=("y" if end else "v600",)), ORT)
    every_second = {f"node{step}": NOT_WORTH for step in range(2, 601, 2)}
    assert {name: found.float_nodes[name] for name in every_second if name in found.float_nodes} == (
        {} if end else every_second  # one that nobody needs leaves the one before it without a reader
    )
