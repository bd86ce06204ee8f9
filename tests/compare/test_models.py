"""Two models compared directly: how often the user's function runs, its metrics, and what it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import knight
from knight import model as models
from knight.compare.comparison import Comparison
from knight.compare.models import Options, compare_models
from knight.errors import KnightError, ModelError
from knight.executor import Executor, InferFunction, RunSettings
from tests import small_models
from tests.compare._reference import all_values
from tests.compare._small import TARGETS, Feeds, compared, net, quantized


def scoring(data: list[Feeds], calls: list[str], outputs: list[list[np.ndarray]]) -> InferFunction:
    """Feeds all of `data`, and gives the mean of the largest score."""

    def infer(executor: Executor) -> float:
        calls.append("called")
        found = [executor.forward(*feeds.values())[0] for feeds in data]
        outputs.append(found)
        return float(np.mean([array.max() for array in found]))

    return infer


def over(reference: ir.Model, result: ir.Model, infer: InferFunction, count: int) -> Comparison:
    options = Options(remedies=False, threads=1)
    return compare_models(reference, result, infer, RunSettings(iteration=count), options=options)


@pytest.mark.parametrize("target", TARGETS)
def test_a_metric_is_asked_for_twice_and_is_that_of_each_model(target: str, tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    built = knight.quantize(model, data, target=target, method="min_max")
    calls: list[str] = []
    outputs: list[list[np.ndarray]] = []
    found = over(model, built.model, scoring(data, calls, outputs), len(data))
    assert len(calls) == 2
    floats = [all_values(model, feeds)["scores"] for feeds in data]
    integers = [built.run(*feeds.values())[0] for feeds in data]
    for got, wanted in zip(outputs, (floats, integers), strict=True):
        np.testing.assert_allclose(np.stack(got), np.stack(wanted), rtol=1e-4, atol=1e-4)
    metrics = [float(np.mean([array.max() for array in wanted])) for wanted in (floats, integers)]
    assert found.metric_reference == pytest.approx(metrics[0], rel=1e-4)
    assert found.metric_result == pytest.approx(metrics[1], rel=1e-4)
    loss = 100 * abs(metrics[0] - metrics[1]) / abs(metrics[0])
    assert found.loss == pytest.approx(loss, rel=0.02)
    assert (found.samples, found.calls) == (len(data), len(data))


def test_a_second_call_in_another_order_gets_the_right_outputs(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    built = knight.quantize(model, data, target="onnxruntime", method="min_max")
    turns: list[list[np.ndarray]] = []

    def infer(executor: Executor) -> float:
        order = data if not turns else [*reversed(data), {"x": data[0]["x"] * 0.5}]
        turns.append([executor.forward(feeds["x"])[0] for feeds in order])
        return 1.0

    over(model, built.model, infer, len(data) + 1)
    wanted = [built.run(feeds["x"])[0] for feeds in reversed(data)] + [built.run(data[0]["x"] * 0.5)[0]]
    np.testing.assert_allclose(np.stack(turns[1]), np.stack(wanted), rtol=1e-5, atol=1e-5)


def test_a_function_without_a_metric_is_called_once(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    calls: list[int] = []

    def infer(executor: Executor) -> None:
        calls.append(1)
        for feeds in data:
            executor.forward(feeds["x"])

    found = over(model, quantized(model, data, "onnxruntime"), infer, len(data))
    assert calls == [1]
    assert (found.metric_reference, found.metric_result, found.loss) == (None, None, None)
    assert found.samples == len(data)


@pytest.mark.parametrize("target", TARGETS)
def test_a_normalization_inside_the_quantized_model(target: str, tmp_path: Path) -> None:
    """Such a model takes pixels; the float model, given the same normalization, is fed the same."""
    model = models.load(small_models.conv_net(tmp_path))
    random = np.random.default_rng(0)
    pixels = [random.uniform(0, 255, (1, 3, 8, 8)).astype(np.float32) for _ in range(4)]
    mean, std = (120.0, 110.0, 100.0), (60.0, 50.0, 55.0)
    result = quantized(model, pixels, target, mean=mean, std=std)
    found = compared(model, result, pixels, mean=mean, std=std)
    layers = {layer.output: layer for layer in found.layers}
    assert {"relu", "pool", "scores"} <= set(layers)
    assert all(layers[name].sqnr > 30 for name in ("relu", "pool", "scores"))
    shape = (1, 3, 1, 1)
    normal = [(array - np.reshape(mean, shape)) / np.reshape(std, shape) for array in pixels]
    values = [all_values(model, {"x": array.astype(np.float32)})["relu"] for array in normal]
    assert layers["relu"].maximum == pytest.approx(np.max(values), rel=1e-4)
    assert layers["relu"].own_sqnr is not None
    assert not [layer.output for layer in found.layers if layer.at_fault]


def test_without_the_normalization_the_models_do_not_agree(tmp_path: Path) -> None:
    """The counterpart: what the test above measures is not there by itself."""
    model = models.load(small_models.conv_net(tmp_path))
    random = np.random.default_rng(0)
    pixels = [random.uniform(0, 255, (1, 3, 8, 8)).astype(np.float32) for _ in range(4)]
    result = quantized(model, pixels, "onnxruntime", mean=(120.0,) * 3, std=(60.0,) * 3)
    found = compared(model, result, pixels)
    assert found.output_sqnr is not None
    assert found.output_sqnr < 20


def test_the_report_of_quantization_and_the_comparison_agree(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    built = knight.quantize(model, data, target="TX5368AV200", method="min_max")
    found = compared(model, built.model, data)
    pairs = [(all_values(model, feeds)["scores"], built.run(feeds["x"])[0]) for feeds in data]
    signal = sum(float(np.sum(left.astype(np.float64) ** 2)) for left, _ in pairs)
    noise = sum(float(np.sum((right.astype(np.float64) - left) ** 2)) for left, right in pairs)
    assert found.output_sqnr == pytest.approx(10 * np.log10(signal / noise), abs=0.02)


def test_a_model_compared_with_itself_has_no_error(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    found = compared(model, model.clone(), data)
    assert {layer.sqnr for layer in found.layers} == {200.0}
    assert {layer.own_sqnr for layer in found.layers} == {200.0}
    assert not any(layer.cause for layer in found.layers)
    assert (found.output_sqnr, list(found.unpaired)) == (200.0, [])


def test_the_models_are_left_as_they_are(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    result = quantized(model, data, "TX5368AV200")
    before = models.to_bytes(model), models.to_bytes(result)
    compared(model, result, data, remedies=True)
    assert (models.to_bytes(model), models.to_bytes(result)) == before


def test_models_that_have_nothing_in_common(tmp_path: Path) -> None:
    model, _ = net("conv_net", tmp_path)
    other, data = net("integer_input", tmp_path)
    with pytest.raises(ModelError, match="no layer in common"):
        compared(model, other, data)


def test_what_the_function_does_wrong_is_said(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    result = quantized(model, data, "onnxruntime")
    with pytest.raises(KnightError, match="forward"):
        over(model, result, lambda executor: None, 1)
    with pytest.raises(KnightError, match="x"):
        over(model, result, lambda executor: executor.forward(np.zeros((1, 3, 9, 8), np.float32)), 1)


def test_numbers_of_arguments_names_and_seconds_are_kept(tmp_path: Path) -> None:
    model, data = net("two_inputs", tmp_path)
    result = quantized(model, data, "onnxruntime")

    def infer(executor: Executor) -> None:
        for feeds in data:
            executor.forward(*(feeds[name] for name in executor.input_nodes))

    found = compare_models(
        model, result, infer, RunSettings(iteration=5), names=("a.onnx", "b.onnx"), arguments={"iteration": 5}
    )
    assert (found.reference, found.result, found.arguments) == ("a.onnx", "b.onnx", {"iteration": 5})
    assert found.seconds > 0
