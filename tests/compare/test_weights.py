"""A layer's constants in both models: factors, noise, outliers and histograms, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight.compare.comparison import Channels
from knight.compare.weights import BINS, Constants, constants, described, histogram, outliers
from knight.qdq.graph import Graph
from tests.compare._reference import all_values
from tests.compare._small import net, pairing_of, quantized


def some(shape: tuple[int, ...] = (6, 4, 3, 3), axis: int = 0, **given: object) -> Constants:
    """A weight and the same in 8 bits, one scale per channel."""
    left = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    others = tuple(place for place in range(left.ndim) if place != axis)
    step = np.abs(left).max(axis=others, keepdims=True) / 127
    fields = {"name": "w", "reference": left, "result": np.rint(left / step) * step, "axis": axis, "bits": 8}
    return Constants(**{**fields, "per_channel": True, **given})  # type: ignore[arg-type]


def rows(array: np.ndarray, axis: int) -> np.ndarray:
    return np.stack([np.take(array, place, axis=axis).reshape(-1) for place in range(array.shape[axis])])


@pytest.mark.parametrize(
    ("shape", "axis"), [((6, 4, 3, 3), 0), ((6, 4, 3, 3), 1), ((60, 8), 1), ((8, 60), 0)]
)
def test_figures_per_channel(shape: tuple[int, ...], axis: int) -> None:
    found = some(shape, axis)
    left, right = rows(found.reference, axis).astype(np.float64), rows(found.result, axis).astype(np.float64)
    np.testing.assert_array_equal(found.rows()[0], left)
    np.testing.assert_array_equal(found.rows()[1], right)
    fitted = [np.linalg.lstsq(a[:, None], b, rcond=None)[0][0] for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(found.factors(), fitted, rtol=1e-9)
    np.testing.assert_allclose(found.noise_ratio(), ((right - left) ** 2).sum(1) / (left**2).sum(1))
    assert found.noise() == pytest.approx(np.sum((right - left) ** 2))
    # rounding is uniform over a step: what is expected is what is found, within the luck of the draw
    assert found.expected_noise() == pytest.approx(found.noise(), rel=0.35)


def test_channels_of_zeros() -> None:
    left = np.array([[0, 0], [1, 2], [0, 0]], np.float32)
    right = np.array([[0, 0], [2, 4], [1, 0]], np.float32)
    found = Constants("w", left, right, 0, 8, True)
    np.testing.assert_array_equal(found.factors(), [np.nan, 2, np.nan])
    np.testing.assert_array_equal(found.noise_ratio(), [0, 1, np.inf])
    figures = described(found).channels
    np.testing.assert_array_equal(figures.sqnr, [np.nan, 0, np.nan])


def test_one_scale_for_all_is_expected_to_cost_more() -> None:
    left = np.array([[1.0] * 9, [0.01] * 9])
    apart, together = (Constants("w", left, left, 0, 8, per_channel) for per_channel in (True, False))
    assert apart.expected_noise() == pytest.approx(9 * (1 + 1e-4) / 127**2 / 12)
    assert together.expected_noise() == pytest.approx(18 / 127**2 / 12)


def test_a_described_weight() -> None:
    found = some()
    shown = described(found)
    left, right = rows(found.reference, 0), rows(found.result, 0)
    assert (shown.name, shown.bits, shown.shape, shown.per_channel) == ("w", 8, (6, 4, 3, 3), True)
    assert isinstance(shown.channels, Channels)
    np.testing.assert_allclose(shown.channels.low, left.min(1))
    np.testing.assert_allclose(shown.channels.high, left.max(1))
    wanted = 10 * np.log10((left**2).sum(1) / ((right - left) ** 2).sum(1))
    np.testing.assert_allclose(shown.channels.sqnr, wanted, rtol=1e-5)
    assert shown.histogram is not None
    assert shown.histogram.reference.sum() == shown.histogram.result.sum() == found.reference.size


# Outliers and histograms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reach", "wanted"),
    [
        ([1, 1, 1, 1], ()),
        ([1, 1, 1, 1, 5.9], ()),
        ([1, 1, 1, 1, 6.1], (4,)),
        ([9, 1, 1, 20, 1, 1, 1], (3, 0)),
        ([0, 0, 0, 0, 0, 0, 1, 1, 1, 50], (9,)),  # channels of zeros are no yardstick
        ([1, 50], ()),  # too few to say what is usual
        ([0, 0, 0, 0], ()),
        ([], ()),
    ],
)
def test_channels_that_stand_out(reach: list[float], wanted: tuple[int, ...]) -> None:
    assert outliers(np.array(reach, np.float64)) == wanted


def test_a_histogram_has_common_bins() -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(size=500), 2 * random.normal(size=700)
    found = histogram(left, right)
    assert found is not None
    edges = np.linspace(min(left.min(), right.min()), max(left.max(), right.max()), BINS + 1)
    np.testing.assert_allclose(found.edges, edges)
    np.testing.assert_array_equal(found.reference, np.histogram(left, edges)[0])
    np.testing.assert_array_equal(found.result, np.histogram(right, edges)[0])


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-20, 1e30, True])
def test_a_histogram_of_one_number(value: float) -> None:
    found = histogram(np.full(10, value), np.full(7, value))
    assert found is not None
    assert np.all(np.diff(found.edges) > 0)
    assert found.edges[0] < value < found.edges[-1]
    assert (found.reference.sum(), found.result.sum()) == (10, 7)


@pytest.mark.parametrize("array", [np.zeros(0), np.array([np.nan, np.inf]), np.array([-1.7e308, 1.7e308])])
def test_no_histogram_of_what_has_no_finite_range(array: np.ndarray) -> None:
    assert histogram(array, array) is None


def test_a_histogram_leaves_out_what_is_not_finite() -> None:
    found = histogram(np.array([0, 1, np.nan]), np.array([np.inf, 0.5, -np.inf]))
    assert found is not None
    assert (found.reference.sum(), found.result.sum()) == (2, 1)
    assert (found.edges[0], found.edges[-1]) == (0, 1)


# From the two models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["onnxruntime", "TX5368AV200", "tensorrt"])
def test_constants_of_a_quantized_net(target: str, tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    result = quantized(model, data, target)
    pairing = pairing_of(model, result)
    units = []
    for row in (values := pairing.result.rows()):
        unit = pairing.result.unit(row, set(values))
        known = {pairing.pairs[root] for root in unit.frontier}
        units.append((unit, pairing.reference.unit(pairing.pairs[row], known)))
    found = constants(pairing.reference, pairing.result, units)
    numbers = all_values(result, data[0])
    floats = all_values(model, data[0])
    weighted = [fact for fact in found if fact is not None]
    assert [fact.name for fact in weighted] == ["w_DequantizeLinear_output", "v_DequantizeLinear_output"]
    for fact, weight, bias, layer in zip(weighted, "wv", "bc", ("conv", "gemm"), strict=True):
        np.testing.assert_array_equal(fact.reference, floats[weight])
        np.testing.assert_array_equal(fact.result, numbers[fact.name])
        assert (fact.axis, fact.bits, fact.saturated) == (0, 8, 0)
        assert fact.per_channel == (numbers[f"{weight}_scale"].size > 1)
        np.testing.assert_allclose(fact.bias, floats[bias])
        stored = numbers.get(f"{layer}_bias_DequantizeLinear_output")
        if stored is not None:
            np.testing.assert_allclose(fact.bias_result, stored)
            assert fact.bias_step == pytest.approx(numbers[f"{layer}_bias_scale"].max())
        np.testing.assert_allclose(fact.factors(), 1, atol=0.01)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("biased", [True, False])
def test_a_gemm_that_stands_for_matmul_and_add(transposed: int, biased: bool) -> None:
    """The quantized model's Gemm is taken for what the float model has: one weight, one bias."""
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(4, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)
    apart = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["b", "m"], ["y"])]
    joined = [helper.make_node("Gemm", ["x", "w", *["b"] * biased], ["y"], transB=transposed)]
    graphs = (
        _graph(apart, {"w": weight, "b": bias}),
        _graph(joined, {"w": 2 * (weight.T if transposed else weight), "b": bias + 1}),
    )
    units = [graph.unit(graph.values["y"], {graph.values["x"]}) for graph in graphs]
    (found,) = constants(*graphs, [(units[1], units[0])])
    assert found is not None
    np.testing.assert_allclose(found.factors(), [2, 2, 2])  # one per output
    np.testing.assert_allclose(found.bias, bias)
    np.testing.assert_allclose(found.bias_result, bias + 1 if biased else np.zeros(3))


def _graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> Graph:
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return Graph(ir.from_proto(helper.make_model(made, ir_version=9)))
