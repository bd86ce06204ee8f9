"""Equal weights and equal computations are kept once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight.passes import PassOptions
from knight.passes.deduplicate import run
from tests.passes.equivalence import build, check_fused, check_untouched, operators
from tests.passes.zoo import ZOO, ints, numbers


def test_weights_of_equal_type_shape_and_numbers() -> None:
    w = numbers(2, 2)
    model = build(
        "a = Add(x, w) b = Mul(a, same) c = Sub(b, flat) y = Div(c, other)",
        {"w": w, "same": w.copy(), "flat": w.reshape(1, 2, 2), "other": w + 1},
        inputs={"x": (2, 2)},
    )
    check_fused(model, run, "Add Mul Sub Div")
    run(model, PassOptions())
    assert set(model.graph.initializers) == {"w", "flat", "other"}


def test_the_same_bytes_of_another_type_stay() -> None:
    bits = np.zeros(2, np.int32)
    model = build(
        "a = Cast<to=1>(i) b = Add(x, f) y = Add(a, b)",
        {"i": bits, "f": bits.view(np.float32)},
        inputs={"x": (2,)},
    )
    check_untouched(model, run)


def test_equal_nodes_through_levels() -> None:
    model = build("a = Relu(x) b = Relu(x) c = Exp(a) d = Exp(b) y = Sub(c, d)", inputs={"x": (3,)})
    check_fused(model, run, "Relu Exp Sub")


def test_attributes_and_optional_outputs_tell_nodes_apart() -> None:
    model = build(
        "a = LeakyRelu<alpha=0.1>(x) b = LeakyRelu<alpha=0.2>(x) c = MaxPool<kernel_shape=[2]>(x) "
        "d, i = MaxPool<kernel_shape=[2]>(x) e = Add(a, b) f = Add(c, d) j = Cast<to=1>(i) g = Add(f, j) "
        "r = ReduceSum(e) y = Add(r, g)",
        inputs={"x": (1, 1, 4)},
    )
    check_untouched(model, run)


def test_graph_outputs_keep_their_names() -> None:
    model = build("y = Relu(x) z = Relu(x)", inputs={"x": (3,)}, outputs=("y", "z"))
    check_fused(model, run, "Relu Identity")


def test_random_numbers_are_not_shared() -> None:
    model = ir.from_proto(ZOO["random numbers"].proto())
    run(model, PassOptions())
    assert operators(model)["RandomNormal"] == 2


def test_bodies_see_the_weight_that_stays() -> None:
    model = ir.from_proto(ZOO["if reads outer values"].proto())
    w = model.graph.initializers["w"].const_value.numpy()
    model.graph.register_initializer(ir.Value(name="v", const_value=ir.tensor(w.copy(), name="v")))
    body = model.graph[2].attributes["else_branch"].as_graph()
    body[0].replace_input_with(1, model.graph.initializers["v"])
    assert run(model, PassOptions()) == 1
    assert body[0].inputs[1] is model.graph.initializers["w"]


def test_a_weight_that_is_an_output_stays() -> None:
    model = build(
        "y = Add(x, w)",
        {"w": ints(1).astype(np.float32), "v": np.ones(1, np.float32)},
        inputs={"x": (1,)},
        outputs=("y", "v"),
    )
    assert run(model, PassOptions()) == 0
    assert set(model.graph.initializers) == {"w", "v"}
