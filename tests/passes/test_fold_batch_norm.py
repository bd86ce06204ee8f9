"""BatchNormalization, whole or decomposed, folds into the linear operator beside it exactly or not at all."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight.passes import PassOptions
from knight.passes._fold import output_channels
from knight.passes.fold_batch_norm import run
from tests.passes.equivalence import (
    build,
    check_fused,
    check_untouched,
    feeds_of,
    operators,
    outputs_of,
    random,
)

BN = "BatchNormalization(c, gamma, beta, mean, var)"


def norm(channels: int, prefix: str = "") -> dict[str, np.ndarray]:
    names = ("gamma", "beta", "mean")
    parts = {prefix + name: random(channels, seed=seed) for seed, name in enumerate(names, 1)}
    return {**parts, prefix + "var": random(channels, seed=4, low=0.1, high=3)}


def conv(nodes: str, **more: np.ndarray):
    return build(nodes, {"w": random(6, 4, 3, 3), "b": random(6), **more})


@pytest.mark.parametrize("bias", ["", ", b"])
def test_conv(bias: str) -> None:
    model = conv(f"c = Conv<pads=[1,1,1,1]>(x, w{bias}) y = {BN}", **norm(6))
    if not bias:
        model.graph.initializers.pop("b")
    check_fused(model, run, "Conv")


@settings(max_examples=25, deadline=None)
@given(
    group=st.integers(1, 3),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    spatial=st.integers(1, 3),
    transpose=st.booleans(),
    bias=st.booleans(),
)
def test_conv_of_any_geometry(
    group: int, inputs: int, outputs: int, spatial: int, transpose: bool, bias: bool
) -> None:
    kernel = (3, 2, 1)[:spatial]
    weight = (group * inputs, outputs, *kernel) if transpose else (group * outputs, inputs, *kernel)
    op = "ConvTranspose" if transpose else "Conv"
    constants = {"w": random(*weight), **norm(group * outputs)}
    if bias:
        constants["b"] = random(group * outputs)
    model = build(
        f"c = {op}<group={group}>(x, w{', b' * bias}) y = {BN}",
        constants,
        inputs={"x": (2, group * inputs, *(5, 4, 3)[:spatial])},
    )
    check_fused(model, run, op)


@pytest.mark.parametrize(
    "attributes", ["", "<transB=1>", "<alpha=0.5,beta=3.0>", "<transA=1,transB=1,alpha=2.0>"]
)
@pytest.mark.parametrize("bias", [(), (5,), (1, 5), (1,), None])
def test_gemm(attributes: str, bias: tuple[int, ...] | None) -> None:
    constants = {"w": random(*((5, 4) if "transB" in attributes else (4, 5))), **norm(5)}
    if bias is not None:
        constants["b"] = random(*bias)
    model = build(
        f"c = Gemm{attributes}(x, w{', b' * (bias is not None)}) y = {BN}",
        constants,
        inputs={"x": (4, 3) if "transA" in attributes else (3, 4)},
    )
    check_fused(model, run, "Gemm")


def test_matmul_becomes_gemm() -> None:
    model = build(f"c = MatMul(x, w) y = {BN}", {"w": random(4, 5), **norm(5)}, inputs={"x": ("n", 4)})
    check_fused(model, run, "Gemm")


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ("m = Mul(c, k) y = Add(m, t)", {"k": (1, 6, 1, 1), "t": (6, 1, 1)}),
        ("m = Mul(k, c) y = Add(t, m)", {"k": (), "t": (1, 6, 1, 1)}),
        ("m = Sub(c, k) y = Div(m, t)", {"k": (6, 1, 1), "t": (1, 6, 1, 1)}),
        ("m = Sub(k, c) y = Div(m, t)", {"k": (1, 1, 1, 1), "t": (1,)}),
    ],
)
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_decomposed(nodes: str, constants: dict[str, tuple[int, ...]], op: str) -> None:
    numbers = {name: random(*shape, seed=9) + 3 for name, shape in constants.items()}
    weight = random(6, 4, 3, 3) if op == "Conv" else random(4, 6, 3, 3)
    check_fused(build(f"c = {op}(x, w) {nodes}", {"w": weight, **numbers}), run, op)


def test_mul_folds_into_matmul_of_any_rank() -> None:
    model = build("c = MatMul(x, w) y = Mul(c, k)", {"w": random(9, 5), "k": random(5)})
    check_fused(model, run, "MatMul")


def test_constant_nodes_are_weights_too() -> None:
    model = build(
        "k = Constant<value = float[1] {3.0}>() t = Constant<value_float = 2.0>() "
        "c = Conv(x, w) m = Mul(c, k) y = Add(m, t)",
        {"w": random(6, 4, 3, 3)},
    )
    fused = check_fused(model, run, "Conv")
    assert [node.op_type for node in fused.graph] == ["Conv"], "read constants are removed with their reader"


@pytest.mark.parametrize("op", ["Conv", "Gemm", "MatMul"])
def test_before_a_linear_operator(op: str) -> None:
    linear = op == "Conv"
    model = build(
        f"p = Relu(x) c = BatchNormalization(p, gamma, beta, mean, var) y = {op}(c, w)",
        {"w": random(6, 4, 3, 3) if linear else random(4, 5), **norm(4)},
        inputs={"x": (2, 4, 9, 9) if linear else (3, 4)},
    )
    check_fused(model, run, "Relu Conv" if linear else "Relu Gemm")


@pytest.mark.parametrize(("group", "bias"), [(1, True), (2, False), (4, True)])
def test_before_a_grouped_conv(group: int, bias: bool) -> None:
    constants = {"w": random(8, 4 // group, 3, 3), **norm(4), **({"b": random(8)} if bias else {})}
    model = build(
        f"c = BatchNormalization(x, gamma, beta, mean, var) y = Conv<group={group}>(c, w{', b' * bias})",
        constants,
    )
    check_fused(model, run, "Conv")


def test_before_a_padded_conv_only_without_shift() -> None:
    nodes = "c = BatchNormalization(x, gamma, beta, mean, var) y = Conv<pads=[1,1,1,1]>(c, w)"
    constants = {"w": random(6, 4, 3, 3), **norm(4)}
    check_untouched(build(nodes, constants), run)
    zeros = np.zeros(4, np.float32)
    check_fused(build(nodes, {**constants, "beta": zeros, "mean": zeros}), run, "Conv")


def test_the_chain_keeps_the_name_of_its_result() -> None:
    model = conv(f"c = Conv(x, w, b) n = {BN} y = Relu(n)", **norm(6))
    fused = check_fused(model, run, "Conv Relu")
    assert fused.graph.node(0).outputs[0].name == "n"
    assert set(fused.graph.initializers) == {"w", "b"}


def test_shared_weights_are_copied() -> None:
    model = build(
        f"c = Conv(x, w, b) d = Conv(x, w, b) y = {BN} z = Relu(d)",
        {"w": random(6, 4, 3, 3), "b": random(6), **norm(6)},
        outputs=("y", "z"),
    )
    fused = check_fused(model, run, "Conv Conv Relu")
    assert set(fused.graph.initializers) == {"w", "b", "w_1", "b_1"}


def test_two_norms_with_the_same_numbers() -> None:
    model = build(
        f"c = Conv(x, w) m = {BN} d = Conv(x, w) n = {BN.replace('(c', '(d')} y = Add(m, n)",
        {"w": random(6, 4, 3, 3), **norm(6)},
    )
    check_fused(model, run, "Conv Conv Add")


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_other_float_types_stay_themselves(dtype: str) -> None:
    kind = np.float16 if dtype == "float16" else np.float64
    numbers = {name: array.astype(kind) for name, array in {"w": random(6, 4, 3, 3), **norm(6)}.items()}
    model = build(f"c = Conv(x, w) y = {BN}", numbers, dtype=dtype)
    check_fused(model, run, "Conv", rtol=1e-2 if dtype == "float16" else 1e-9, atol=1e-2)


REFUSED = {
    "two readers": ("c = Conv(x, w) n = {BN} r = Relu(c) y = Add(n, r)", {}),
    "constants that are not per channel": ("c = Conv(x, w) y = Add(c, k)", {"k": random(7, 7)}),
    "constants along the width": ("c = Conv(x, w) y = Mul(c, k)", {"k": random(7)}),
    "a sum of two results": ("c = Conv(x, w) d = Conv(x, w) y = Add(c, d)", {}),
    "division by zero": ("c = Conv(x, w) y = Div(c, k)", {"k": np.zeros(1, np.float32)}),
    "a constant divided": ("c = Conv(x, w) y = Div(k, c)", {"k": np.ones(1, np.float32)}),
    "negative variance": ("c = Conv(x, w) y = {BN}", {"var": -np.ones(6, np.float32)}),
    "overflow": ("c = Conv(x, w) m = Mul(c, k) y = Relu(m)", {"k": np.full(1, 3e38, np.float32)}),
    "a computed weight": ("v = Relu(w) c = Conv(x, v) y = {BN}", {}),
    "a computed bias": ("v = Relu(b) c = Conv(x, w, v) y = {BN}", {"b": random(6)}),
    "one channel widened to many": (
        "c = Conv(x, v) y = Mul(c, k)",
        {"v": random(1, 4, 3, 3), "k": random(6, 1, 1)},
    ),
    "a result that is widened": ("c = Conv(x, w) y = Add(c, k)", {"k": random(2, 1, 6, 1, 1)}),
    "a bias of a matrix product": ("c = MatMul(x, v) y = Add(c, k)", {"v": random(9, 5), "k": random(5)}),
    "a constant matrix on the left": ("c = MatMul(v, x) y = Mul(c, k)", {"v": random(9, 9), "k": random(9)}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    nodes, constants = REFUSED[case]
    everything = {"w": random(6, 4, 3, 3), **norm(6), **constants}
    nodes = nodes.format(BN=BN)
    needed = {name: array for name, array in everything.items() if re.search(rf"\b{name}\b", nodes)}
    check_untouched(build(nodes, needed), run)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
@pytest.mark.parametrize("shape", [(), (6,)])
def test_weights_of_too_few_dimensions_have_no_channels(op: str, shape: tuple[int, ...]) -> None:
    model = build(f"y = {op}(x, w)", {"w": random(*shape)}, infer=False)
    assert output_channels(next(iter(model.graph))) is None


def test_a_graph_output_in_the_middle_is_kept() -> None:
    model = build(f"c = Conv(x, w) y = {BN}", {"w": random(6, 4, 3, 3), **norm(6)}, outputs=("y", "c"))
    check_untouched(model, run)


def test_a_body_that_reads_the_middle_is_respected() -> None:
    model = build(
        f"""c = Conv(x, w) n = {BN} s = ReduceMax<keepdims=0>(x) q = Greater(s, zero)
        r = If(q) <then_branch = t () => (float[2,6,7,7] u) {{ u = Relu(c) }},
                   else_branch = e () => (float[2,6,7,7] v) {{ v = Abs(c) }}>
        y = Add(n, r)""",
        {"w": random(6, 4, 3, 3), "zero": np.array(0, np.float32), **norm(6)},
    )
    check_untouched(model, run)


def test_training_mode_is_left() -> None:
    model = build(
        "c = Conv(x, w) y, m, v = BatchNormalization<training_mode=1>(c, gamma, beta, mean, var)",
        {"w": random(6, 4, 3, 3), **norm(6)},
    )
    assert run(model, PassOptions()) == 0 and operators(model) == {"Conv": 1, "BatchNormalization": 1}


def test_a_weight_that_is_also_an_input_is_left() -> None:
    model = build(f"c = Conv(x, w) y = {BN}", {"w": random(6, 4, 3, 3), **norm(6)})
    model.graph.inputs.append(model.graph.initializers["w"])
    assert run(model, PassOptions()) == 0


def test_the_source_model_keeps_its_numbers() -> None:
    model = conv(f"c = Conv(x, w, b) y = {BN}", **norm(6))
    before = outputs_of(model, feeds_of(model))
    run(model.clone(), PassOptions())
    np.testing.assert_array_equal(before[0], outputs_of(model, feeds_of(model))[0])
