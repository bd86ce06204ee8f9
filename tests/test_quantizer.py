"""Rounding, against the ONNX operators as ONNX Runtime and the ONNX reference evaluator run them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from knight.quantizer import (
    SMALLEST_SCALE,
    dequantize,
    extremes,
    fake_quantize,
    params_from_range,
    quantize,
)
from knight.types import QParams, QuantSpec

TYPES = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "uint16": TensorProto.UINT16,
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
}
REALS = st.floats(-1e6, 1e6, width=32)
SAMPLES = arrays(np.float32, array_shapes(min_dims=0, max_dims=4, max_side=5), elements=REALS)
SPECS = st.builds(
    QuantSpec,
    bits=st.sampled_from([8, 16]),
    signed=st.booleans(),
    symmetric=st.booleans(),
    narrow=st.just(False),
)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[float, float]:
    low, high = sorted((draw(REALS), draw(REALS)))
    return low, high


@cache
def round_trip_model(
    dtype: str, axis: int | None, per_channel: bool, block_size: int | None = None
) -> ModelProto:
    """x, scale, zero_point -> QuantizeLinear -> q -> DequantizeLinear -> y."""
    attributes = {} if axis is None else {"axis": axis}
    attributes |= {} if block_size is None else {"block_size": block_size}
    numbers = None if block_size else ["channels"] if per_channel else []
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], **attributes),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], **attributes),
        ],
        "round_trip",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, numbers),
            helper.make_tensor_value_info("zero", TYPES[dtype], numbers),
        ],
        [
            helper.make_tensor_value_info("q", TYPES[dtype], None),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@cache
def session(dtype: str, axis: int | None, per_channel: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    model = round_trip_model(dtype, axis, per_channel).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feeds(x: np.ndarray, params: QParams) -> dict[str, np.ndarray]:
    return {"x": x, "scale": np.asarray(params.scale), "zero": np.asarray(params.zero_point)}


def in_onnx_runtime(x: np.ndarray, params: QParams) -> list[np.ndarray]:
    key = (params.spec.dtype.name, params.spec.axis, params.scale.ndim > 0)
    return session(*key).run(None, feeds(x, params))


@given(x=SAMPLES, limits=ranges(), spec=SPECS)
def test_same_integers_as_onnx_runtime(x: np.ndarray, limits: tuple[float, float], spec: QuantSpec) -> None:
    params = params_from_range(*limits, spec)
    integers, reals = in_onnx_runtime(x, params)
    np.testing.assert_array_equal(quantize(x, params), integers)
    np.testing.assert_array_equal(fake_quantize(x, params), reals)


@settings(max_examples=40)
@given(x=SAMPLES, limits=ranges(), spec=SPECS)
def test_same_integers_as_the_reference(x: np.ndarray, limits: tuple[float, float], spec: QuantSpec) -> None:
    params = params_from_range(*limits, spec)
    x = np.clip(x, -1e9 * params.scale, 1e9 * params.scale)  # beyond int32 the evaluator itself overflows
    reference = ReferenceEvaluator(round_trip_model(spec.dtype.name, None, False))
    integers, reals = reference.run(None, feeds(x, params))
    np.testing.assert_array_equal(quantize(x, params), integers)
    np.testing.assert_array_equal(dequantize(integers, params), reals)


@given(data=st.data(), axis=st.integers(0, 2), spec=SPECS)
def test_per_channel_is_per_tensor_channel_by_channel(
    data: st.DataObject, axis: int, spec: QuantSpec
) -> None:
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=4))
    x = data.draw(arrays(np.float32, shape, elements=REALS))
    limits = np.array([data.draw(ranges()) for _ in range(shape[axis])])
    along = QuantSpec(spec.bits, spec.signed, spec.symmetric, axis)
    params = params_from_range(limits[:, 0], limits[:, 1], along)
    integers = quantize(x, params)
    np.testing.assert_array_equal(integers, in_onnx_runtime(x, params)[0])
    for channel, (low, high) in enumerate(limits):
        alone = quantize(x.take(channel, axis), params_from_range(low, high, spec))
        np.testing.assert_array_equal(integers.take(channel, axis), alone)


FOUR_BITS = st.builds(
    QuantSpec, bits=st.just(4), signed=st.booleans(), symmetric=st.booleans(), narrow=st.booleans()
)


def in_the_reference(x: np.ndarray, params: QParams) -> list[np.ndarray]:
    spec = params.spec
    model = round_trip_model(spec.dtype.name, spec.axis, params.scale.ndim > 0, spec.block_size)
    return ReferenceEvaluator(model).run(None, feeds(x, params))


@settings(max_examples=60)
@given(x=SAMPLES, spec=FOUR_BITS)
def test_four_bits_are_those_of_the_reference(x: np.ndarray, spec: QuantSpec) -> None:
    params = params_from_range(*extremes(x, spec), spec)
    integers = quantize(x, params)
    assert integers.dtype == ("int4" if spec.signed else "uint4")
    in_range = np.clip(x, params.low, params.high).astype(np.float32)  # the operators know no narrow range
    reference, reals = in_the_reference(in_range, params)
    np.testing.assert_array_equal(integers, reference)
    np.testing.assert_array_equal(dequantize(integers, params), reals)


@settings(max_examples=60)
@given(data=st.data(), axis=st.integers(0, 2), block_size=st.integers(1, 6), spec=SPECS | FOUR_BITS)
def test_blocks_are_those_of_the_reference(
    data: st.DataObject, axis: int, block_size: int, spec: QuantSpec
) -> None:
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=7))
    x = data.draw(arrays(np.float32, shape, elements=REALS))
    spec = replace(spec, axis=axis, block_size=block_size, narrow=False)
    if spec.symmetric and not spec.signed:
        x = np.abs(x)  # what lies far below such a range overflows in the evaluator
    low, high = extremes(x, spec)
    params = params_from_range(low, high, spec)
    integers = quantize(x, params)
    reference, reals = in_the_reference(x, params)
    np.testing.assert_array_equal(integers, reference)
    np.testing.assert_array_equal(dequantize(integers, params), reals)

    alone = replace(spec, axis=None, block_size=None)  # a block is a tensor of its own
    for number in range(params.scale.shape[axis]):
        part = x.take(range(number * block_size, min((number + 1) * block_size, shape[axis])), axis)
        for lane in np.ndindex(*np.delete(shape, axis)):
            place = (*lane[:axis], slice(None), *lane[axis:])
            block = (*lane[:axis], number, *lane[axis:])
            own = params_from_range(part[place].min(), part[place].max(), alone)
            assert (params.scale[block], params.zero_point[block]) == (own.scale, own.zero_point)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_extremes_hold_zero(axis: int | None) -> None:
    x = np.array([[1, 2, 3], [-4, -5, 6]], np.float32)
    low, high = extremes(x, QuantSpec(axis=axis))
    assert low.tolist() == {None: -5, 0: [0, -5], 1: [-4, -5, 0]}[axis]
    assert high.tolist() == {None: 6, 0: [3, 6], 1: [1, 2, 6]}[axis]


@given(limits=ranges(), spec=SPECS)
def test_zero_is_exact(limits: tuple[float, float], spec: QuantSpec) -> None:
    params = params_from_range(*limits, spec)
    assert fake_quantize(np.zeros(1, np.float32), params)[0] == 0
    assert params.zero_point.dtype == spec.dtype
    assert params.scale.dtype == np.float32


@given(x=SAMPLES, limits=ranges(), spec=SPECS)
def test_error_is_at_most_half_a_step_within_the_range(
    x: np.ndarray, limits: tuple[float, float], spec: QuantSpec
) -> None:
    assume(limits[0] < 0 < limits[1] or limits[0] == 0 < limits[1])
    params = params_from_range(*limits, spec)
    inside = np.clip(x, params.low, params.high).astype(np.float32)
    error = np.abs(fake_quantize(inside, params).astype(np.float64) - inside)
    # half a step, and the float32 rounding of a result of up to 65535 steps
    assert error.max(initial=0) <= params.scale * (0.5 + spec.qmax * 2.0**-22)


@given(limits=ranges(), spec=SPECS)
def test_the_range_is_covered(limits: tuple[float, float], spec: QuantSpec) -> None:
    params = params_from_range(*limits, spec)
    slack = params.scale * 0.51  # an asymmetric zero point is rounded to an integer
    low, high = min(limits[0], 0), max(limits[1], 0)
    if spec.signed or not spec.symmetric:
        assert params.low <= low + slack
    assert params.high >= high - slack


@given(limits=ranges(), bits=st.sampled_from([8, 16]), signed=st.booleans())
def test_symmetric_means_zero_point_zero(limits: tuple[float, float], bits: int, signed: bool) -> None:
    assert params_from_range(*limits, QuantSpec(bits, signed, symmetric=True)).zero_point == 0


@given(x=SAMPLES, limits=ranges(), bits=st.sampled_from([7, 8]), narrow=st.booleans())
def test_centred_unsigned_is_signed_with_half_the_range_added(
    x: np.ndarray, limits: tuple[float, float], bits: int, narrow: bool
) -> None:
    signed = params_from_range(*limits, QuantSpec(bits, narrow=narrow))
    centred = params_from_range(*limits, QuantSpec(bits, signed=False, narrow=narrow, centred=True))
    half = 1 << (bits - 1)
    assert centred.zero_point == half and centred.zero_point.dtype == np.uint8
    np.testing.assert_array_equal(quantize(x, centred), quantize(x, signed).astype(np.int16) + half)
    np.testing.assert_array_equal(fake_quantize(x, centred), fake_quantize(x, signed))


@pytest.mark.parametrize("spec", [QuantSpec(8), QuantSpec(8, False, False), QuantSpec(16, True, False)])
@pytest.mark.parametrize("limits", [(0, 0), (0, 1e-45), (-1e-45, 0), (0, 1e-60)])
def test_degenerate_ranges_give_usable_scales(spec: QuantSpec, limits: tuple[float, float]) -> None:
    params = params_from_range(*limits, spec)
    assert params.scale >= SMALLEST_SCALE
    assert np.isfinite(params.scale)
    x = np.array([-1, 0, 1], np.float32)
    np.testing.assert_array_equal(quantize(x, params), in_onnx_runtime(x, params)[0])


def test_no_width_at_all_gives_scale_one() -> None:
    assert params_from_range(0, 0, QuantSpec(8)).scale == 1


def test_half_goes_to_even() -> None:
    params = QParams(QuantSpec(8), np.float32(2), np.int8(0))
    x = np.array([1, 3, 5, -1, -3, -5], np.float32)
    assert quantize(x, params).tolist() == [0, 2, 2, 0, -2, -2]


def test_saturates() -> None:
    params = QParams(QuantSpec(8, False, False), np.float32(1), np.uint8(100))
    assert quantize(np.array([-1e30, -101, 155, 156, 1e30], np.float32), params).tolist() == [
        0,
        0,
        255,
        255,
        255,
    ]


def test_narrow_leaves_out_the_most_negative_integer() -> None:
    params = params_from_range(-1, 1, QuantSpec(8, narrow=True))
    assert quantize(np.array([-1, 1, -9], np.float32), params).tolist() == [-127, 127, -127]


def test_wide_integers_keep_all_their_digits() -> None:
    params = QParams(QuantSpec(32), np.float32(1), np.int32(0))
    x = np.array([2**30 + 1, -(2**30) - 3, 2.0**40], np.float64)
    assert quantize(x, params).tolist() == [2**30 + 1, -(2**30) - 3, 2**31 - 1]


@pytest.mark.filterwarnings("error")
def test_what_is_beyond_floats_saturates_without_a_word() -> None:
    params = QParams(QuantSpec(8), np.float32(2.0**-100), np.int8(0))
    x = np.array([-3e38, 3e38, 1e300, np.inf], np.float64)
    assert quantize(x, params).tolist() == [-128, 127, 127, 127]
