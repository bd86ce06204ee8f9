"""--mean and --std: the new model of raw numbers equals the old one of normalized numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from knight.errors import ConfigError
from knight.passes import PassOptions
from knight.passes.normalize_input import run
from tests.passes.equivalence import build, feeds_of, operators, outputs_of, random

MEAN, STD = (1.0, -2.0, 0.5, 3.0), (0.5, 2.0, 4.0, 0.25)


def check(
    model: ir.Model, expected: list[str], mean=MEAN, std=STD, axis: int = 1, rtol: float = 1e-4
) -> ir.Model:
    raw = feeds_of(model)
    rank = raw["x"].ndim
    along = [-1 if number == axis % rank else 1 for number in range(rank)]
    normalized = (raw["x"].astype(np.float64) - np.reshape(mean, along)) / np.reshape(std, along)
    wanted = outputs_of(model, {**raw, "x": normalized.astype(raw["x"].dtype)})
    assert run(model, PassOptions(mean=tuple(mean), std=tuple(std))) == 1
    assert [node.op_type for node in model.graph] == expected
    for got, want in zip(outputs_of(model, raw), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * float(np.abs(want).max()))
    assert next(iter(model.graph.inputs)).name == "x"
    return model


def test_nothing_asked_nothing_done() -> None:
    model = build("y = Relu(x)")
    assert run(model, PassOptions()) == 0
    assert operators(model) == {"Relu": 1}


def test_folds_into_a_conv_without_padding() -> None:
    check(build("y = Conv(x, w, b)", {"w": random(6, 4, 3, 3), "b": random(6)}), ["Conv"])


def test_one_number_for_all_channels() -> None:
    check(build("y = Conv(x, w)", {"w": random(6, 4, 3, 3)}), ["Conv"], mean=[127.5], std=[58.0])
    check(build("y = Conv(x, w)", {"w": random(6, 4, 3, 3)}), ["Conv"], mean=[0.5], std=STD)


def test_padding_sees_zeros_of_the_normalized_input() -> None:
    padded = "y = Conv<pads=[1,1,1,1]>(x, w)"
    check(build(padded, {"w": random(6, 4, 3, 3)}), ["Mul", "Add", "Conv"])
    check(build(padded, {"w": random(6, 4, 3, 3)}), ["Conv"], mean=[0.0])


def test_folds_into_gemm_and_matmul() -> None:
    inputs = {"x": (3, 4)}
    check(build("y = Gemm<transB=1>(x, w)", {"w": random(5, 4)}, inputs=inputs), ["Gemm"], axis=-1)
    check(build("y = MatMul(x, w)", {"w": random(4, 5)}, inputs=inputs), ["Gemm"], axis=-1)
    check(
        build("y = Gemm<transA=1>(x, w)", {"w": random(3, 5)}, inputs=inputs), ["Mul", "Add", "Gemm"], axis=-1
    )


def test_a_matrix_product_along_another_axis_is_left() -> None:
    model = build("y = MatMul(x, w)", {"w": random(4, 5)}, inputs={"x": (2, 4, 4)})
    check(model, ["Mul", "Add", "MatMul"])


def test_two_readers_and_a_body() -> None:
    model = build("a = Conv(x, w) s = ReduceMean(x) y = Add(a, s)", {"w": random(6, 4, 3, 3)})
    check(model, ["Mul", "Add", "Conv", "ReduceMean", "Add"])
    model = build(
        """m = ReduceMax<keepdims=0>(z) q = Greater(m, zero)
        y = If(q) <then_branch = t () => (float[2,4] u) { u = Relu(x) },
                   else_branch = e () => (float[2,4] v) { v = Abs(x) }>""",
        {"zero": np.array(0, np.float32)},
        inputs={"x": (2, 4), "z": (2, 4)},
    )
    check(model, ["Mul", "Add", "ReduceMax", "Greater", "If"], axis=-1)


def test_channels_last() -> None:
    check(build("y = Relu(x)", inputs={"x": (1, 6, 7, 4)}), ["Mul", "Add", "Relu"], axis=3)
    check(build("y = Relu(x)", inputs={"x": ("n", 4)}), ["Mul", "Add", "Relu"], axis=1)


def test_constants_are_named_after_the_input_and_have_its_type() -> None:
    model = check(build("y = Relu(x)", dtype="float16"), ["Mul", "Add", "Relu"], rtol=1e-2)
    assert set(model.graph.initializers) == {"x_scale", "x_shift"}
    assert {value.dtype for value in model.graph.initializers.values()} == {ir.DataType.FLOAT16}
    assert [node.outputs[0].name for node in model.graph] == ["x_scaled", "x_normalized", "y"]


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (MEAN, (), "--mean is given without --std"),
        ((), STD, "--std is given without --mean"),
        (MEAN[:3], STD[:3], r"has 4 channels \(axis 1\), wanted 4 numbers or one, got 3"),
        (MEAN, STD[:2], "--mean has 4 numbers, --std 2"),
        (MEAN, (1.0, 1.0, 0.0, 1.0), "--std has a zero"),
        ((float("nan"),), (1.0,), "finite"),
    ],
)
def test_numbers_that_do_not_fit(mean: tuple[float, ...], std: tuple[float, ...], message: str) -> None:
    model = build("y = Relu(x)")
    with pytest.raises(ConfigError, match=message):
        run(model, PassOptions(mean=mean, std=std))
    assert operators(model) == {"Relu": 1}


def test_inputs_that_cannot_be_normalized() -> None:
    options = PassOptions(mean=(1.0,), std=(2.0,))
    with pytest.raises(ConfigError, match=r"first input 'x' is INT64, not float"):
        run(build("y = Cast<to=1>(x)", dtype="int64", infer=False), options)
    empty = build("y = Relu(x)")
    empty.graph.inputs.clear()
    with pytest.raises(ConfigError, match="no input"):
        run(empty, options)
    unknown = build("y = Relu(x)")
    unknown.graph.inputs[0].shape = None
    with pytest.raises(ConfigError, match="no known channel axis"):
        run(unknown, PassOptions(mean=MEAN, std=STD))
