"""What depends on no input is evaluated once; what would blow the model up, or is random, is not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings, strategies as st

from knight.errors import ModelError
from knight.passes import PassOptions, infer_shapes
from knight.passes.fold_constants import run
from tests.passes.equivalence import build, check_fused, check_untouched, operators
from tests.passes.zoo import ZOO, ints, numbers


def test_a_chain_of_many_levels() -> None:
    model = build(
        "a = Add(w, w) b = Transpose(a) c = Exp(b) d = Mul(c, v) y = MatMul(x, d)",
        {"w": numbers(3, 4), "v": numbers(4, 3)},
        inputs={"x": (2, 4)},
    )
    fused = model.clone()
    assert run(fused, PassOptions()) == 4
    assert operators(fused) == {"MatMul": 1}
    np.testing.assert_allclose(
        fused.graph.initializers["d"].const_value.numpy(),
        np.exp((numbers(3, 4) * 2).T) * numbers(4, 3),
        rtol=1e-6,
    )


def test_several_outputs_only_the_used_ones() -> None:
    model = build(
        "a, b = Split<axis=0>(w, parts) y = Add(x, b)",
        {"w": numbers(5), "parts": ints(2, 3)},
        inputs={"x": (3,)},
    )
    assert run(model, PassOptions()) == 1
    assert operators(model) == {"Add": 1}
    assert "a" not in model.graph.initializers


def test_a_body_that_reads_only_constants_is_evaluated() -> None:
    model = build(
        "s = Loop (n, yes, w) <body = b (int64 i, bool c, float[3] v) => (bool c2, float[3] v2) "
        "{ c2 = Identity(c) v2 = Add(v, w) }> y = Add(x, s)",
        {"n": np.array(3), "yes": np.array(True), "w": numbers(3)},
        inputs={"x": (3,)},
        infer=False,
    )
    assert run(model, PassOptions()) == 1
    np.testing.assert_allclose(model.graph.initializers["s"].const_value.numpy(), 4 * numbers(3), rtol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        "big = ConstantOfShape(shape) z = Mul(x, big)",
        "big = Expand(one, shape) z = Mul(x, big)",
        "big = Tile(row, twice) z = Mul(x, big)",
        "big = Range(start, limit, delta) z = Mul(x, big)",
    ],
)
def test_large_results_stay(nodes: str) -> None:
    constants = {
        "shape": ints(1000, 1000),
        "one": np.ones((1, 1), np.float32),
        "row": np.ones((1, 1000), np.float32),
        "twice": ints(1000, 1),
        "start": np.array(0, np.float32),
        "limit": np.array(1_000_000, np.float32),
        "delta": np.array(1, np.float32),
    }
    used = {name: array for name, array in constants.items() if name in nodes}
    check_untouched(build(f"{nodes} y = ReduceMax<keepdims=0>(z)", used, inputs={"x": (1,)}), run)


def test_a_large_result_that_replaces_a_larger_weight_is_folded() -> None:
    model = build(
        "h = Slice(w, begin, end) y = MatMul(x, h)",
        {"w": numbers(1000, 500), "begin": ints(0), "end": ints(900)},
        inputs={"x": (2, 900)},
    )
    assert run(model, PassOptions()) == 1
    assert operators(model) == {"MatMul": 1}


def test_random_and_quantized_constants_stay() -> None:
    check_untouched(
        build("r = RandomNormalLike<seed=1.0>(w) y = Add(x, r)", {"w": numbers(3)}, inputs={"x": (3,)}), run
    )
    model = ir.from_proto(ZOO["already quantized"].proto())
    assert run(model, PassOptions()) == 0


def test_a_known_if_is_inlined_with_its_constants() -> None:
    model = ir.from_proto(ZOO["if with a known condition"].proto())
    assert run(model, PassOptions()) == 1
    assert operators(model) == {"Relu": 1, "Add": 1, "Identity": 1, "Neg": 1}
    assert not any(node.op_type == "Constant" for node in model.graph)


def test_an_unknown_if_stays() -> None:
    model = ir.from_proto(ZOO["if reads outer values"].proto())
    assert run(model, PassOptions()) == 0


@pytest.mark.parametrize("count", [0, 2])
def test_an_if_whose_condition_is_not_one_value_stays(count: int) -> None:
    model = ir.from_proto(ZOO["if reads outer values"].proto())
    (node,) = (node for node in model.graph if node.op_type == "If")
    condition = ir.Value(name="odd", const_value=ir.tensor(np.ones(count, bool), name="odd"))
    model.graph.register_initializer(condition)
    node.replace_input_with(0, condition)
    assert run(model, PassOptions()) == 0


def test_what_cannot_be_evaluated_is_named() -> None:
    model = build(
        "g = Gather(w, i) y = Add(x, g)", {"w": numbers(3), "i": ints(7)}, inputs={"x": (1,)}, infer=False
    )
    with pytest.raises(
        ModelError, match=r"node 'node0' \(Gather\) depends on no input but cannot be evaluated"
    ):
        run(model, PassOptions())


STEPS = ("Neg({})", "Abs({})", "Transpose({})", "Add({0}, {0})", "Sigmoid({})", "Concat<axis=0>({0}, {0})")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6), st.booleans())
def test_random_chains_fold_to_one_constant(steps: list[str], shared: bool) -> None:
    nodes, value = [], "w"
    for number, step in enumerate(steps):
        nodes.append(f"c{number} = {step.format(value)}")
        value = f"c{number}"
    extra = " z = Identity(c0)" if shared else ""
    model = build(
        " ".join(nodes) + f" y = Mul(x, {value})" + extra,
        {"w": numbers(2, 2)},
        inputs={"x": (1,)},
        outputs=("y", "z") if shared else ("y",),
        infer=False,
    )
    infer_shapes.infer(model)
    check_fused(model, _then_remove_unused, "Mul Identity" if shared else "Mul")


def _then_remove_unused(model: ir.Model, options: PassOptions) -> int:
    from knight.passes import remove_unused

    return run(model, options) + remove_unused.run(model, options)
