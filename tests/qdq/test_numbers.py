"""Integers as real numbers: taps, and what QuantizeLinear and DequantizeLinear state."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from knight.errors import ModelError
from knight.qdq.numbers import Tap, check_scales, conversion, same_params
from knight.types import QParams, QuantSpec
from tests.compare._tools import net
from tests.qdq._writings import node


def test_a_tap_turns_integers_into_real_numbers() -> None:
    tap = Tap("q", np.float32([0.5, 2.0]), np.int32([128, 3]), axis=1)
    got = tap.real(np.uint8([[128, 4], [0, 0]]))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [[0.0, 2.0], [-64.0, -6.0]])
    np.testing.assert_array_equal(
        Tap("q", np.float32(0.5), np.int32(-128)).real(np.int8([-128, 127])), [0, 127.5]
    )


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_dequantizing_is_exact(dtype: type) -> None:
    """To the bit the product in float64, rounded once."""
    random = np.random.default_rng(0)
    held = np.iinfo(dtype)
    integers = random.integers(held.min, held.max + 1, 20_000).astype(dtype)
    for scale in random.random(20).astype(np.float32):
        zero = int(random.integers(held.min, held.max + 1))
        exact = (integers.astype(np.float64) - zero) * np.float64(scale)
        got = Tap("q", np.asarray(scale), np.asarray(zero, np.int32)).real(integers)
        np.testing.assert_array_equal(got, exact.astype(np.float32))


NUMBERS = {
    "int8": (np.int8, 0, QuantSpec(8, True, True)),
    "int8 shifted": (np.int8, 3, QuantSpec(8, True, False)),
    "uint8": (np.uint8, 0, QuantSpec(8, False, False)),
    "uint8 centred": (np.uint8, 128, QuantSpec(8, False, True, centred=True)),
    "int16": (np.int16, 0, QuantSpec(16, True, True)),
    "int4": (ir.DataType.INT4.numpy(), 0, QuantSpec(4, True, True)),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_what_a_file_states_as_parameters(case: str) -> None:
    dtype, zero, spec = NUMBERS[case]
    given = {"s": np.float32([0.5]), "z": np.array([zero]).astype(dtype), "w": np.zeros((2, 3)).astype(dtype)}
    model = net([node("DequantizeLinear", "w s z", "y")], given, inputs={}, outputs=["y"], opset=21)
    found = conversion(next(iter(model.graph)))
    assert found is not None and found.is_float32
    assert (found.params.spec, float(found.params.scale), int(found.params.zero_point)) == (spec, 0.5, zero)
    assert found.params.scale.shape == found.params.zero_point.shape == ()
    assert found.params.zero_point.dtype == spec.dtype


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf, [0.5, 0.0], [1.0, -1.0]])
@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DequantizeLinear"])
def test_scales_that_round_nothing_are_refused(op_type: str, scale: object) -> None:
    given = {"s": np.asarray(scale, np.float32), "z": np.zeros(np.shape(scale), np.int8)}
    given["w"] = np.zeros((2, 2), np.int8 if op_type == "DequantizeLinear" else np.float32)
    model = net([node(op_type, "w s z", "y")], given, inputs={}, outputs=["y"], opset=21)
    with pytest.raises(ModelError, match=rf"\({op_type}\) rounds by 's', which is no scale"):
        check_scales(model.graph)
    assert conversion(next(iter(model.graph))) is not None or np.ndim(scale), "a comparison goes on"


@pytest.mark.parametrize(("axis", "wanted"), [(1, 1), (-1, 1), (-2, 0), (None, 1)])
def test_the_channel_axis(axis: int | None, wanted: int) -> None:
    size = (2, 3)[wanted]
    given = {"s": np.ones(size, np.float32), "z": np.zeros(size, np.int8), "w": np.zeros((2, 3), np.int8)}
    attributes = {} if axis is None else {"axis": axis}
    model = net([node("DequantizeLinear", "w s z", "y", "", **attributes)], given, inputs={}, outputs=["y"])
    found = conversion(next(iter(model.graph)))
    assert found is not None and found.params.spec.axis == wanted


def test_a_missing_zero_point_is_zero() -> None:
    given = {"s": np.float32(0.5), "w": np.zeros((2, 3), np.int8)}
    model = net([node("DequantizeLinear", "w s", "y")], given, inputs={}, outputs=["y"])
    found = conversion(next(iter(model.graph)))
    assert found is not None
    assert (found.params.spec, int(found.params.zero_point)) == (QuantSpec(8, True, True), 0)


def test_float8_is_no_integer() -> None:
    kind = ir.DataType.FLOAT8E4M3FN.numpy()
    given = {"s": np.float32(0.5), "z": np.zeros((), kind), "w": np.zeros((2, 3), kind)}
    model = net([node("DequantizeLinear", "w s z", "y")], given, inputs={}, outputs=["y"], opset=21)
    assert conversion(next(iter(model.graph))) is None


def test_the_same_parameters() -> None:
    one = QParams(QuantSpec(), np.asarray(0.5, np.float32), np.asarray(0, np.int8))
    again = QParams(QuantSpec(symmetric=False), np.asarray(0.5, np.float32), np.asarray(0, np.int8))
    assert same_params(one, again)  # how the zero point came about does not matter
    others = (
        QParams(QuantSpec(), np.asarray(0.25, np.float32), one.zero_point),
        QParams(QuantSpec(), one.scale, np.asarray(1, np.int8)),
        QParams(QuantSpec(narrow=True), one.scale, one.zero_point),
        QParams(QuantSpec(axis=0), one.scale, one.zero_point),
    )
    assert not any(same_params(one, other) for other in others)
