"""Models that are quantized already, as sources: said to be so, their scales kept unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, strategies as st
from onnxruntime import quantization as ort_quantization

import knight
from knight import model as models
from knight.absorbing import moved_to, read_source
from knight.errors import ConfigError
from knight.exporters import exporters
from knight.listener import Listener
from knight.qdq.own import is_ours
from knight.quantizer import dequantize
from knight.runner import Session
from knight.types import QParams, QuantSpec
from tests import small_models
from tests.passes.equivalence import random

SAMPLES = [random(1, 3, 8, 8, seed=seed) for seed in range(8)]
INT8, UINT8 = QuantSpec(), QuantSpec(signed=False, symmetric=False)


class Ear(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, text: str) -> None:
        self.heard.append(text)


class Reader(ort_quantization.CalibrationDataReader):
    def __init__(self) -> None:
        self.feeds = iter([{"x": sample} for sample in SAMPLES])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def by_onnxruntime(folder: Path, **options: object) -> Path:
    """conv_net, quantized by ONNX Runtime's own tool."""
    path = folder / "other.onnx"
    settings = {"per_channel": True, "activation_type": ort_quantization.QuantType.QUInt8, **options}
    ort_quantization.quantize_static(small_models.conv_net(folder), path, Reader(), **settings)
    return path


def scales(model: ir.Model) -> set[float]:
    """Of all activations: the single numbers that a QuantizeLinear has."""
    found = set()
    for node in model.graph:
        if node.op_type == "QuantizeLinear":
            number = models.constant(node.inputs[1])
            assert number is not None
            found.add(float(number))
    return found


def outputs(model: ir.Model) -> np.ndarray:
    session = Session(model, level="none")
    return np.concatenate([session.run({"x": sample})[0] for sample in SAMPLES])


def test_another_tools_scales_stand_in_the_result(tmp_path: Path) -> None:
    source, ear = models.load(by_onnxruntime(tmp_path)), Ear()
    result = knight.quantize(source, SAMPLES[:2], target="onnxruntime", listener=ear)
    (said,) = ear.heard
    assert said.startswith("this model is quantized already, by ONNX Runtime; 2 of 2 operators with weights")
    assert said.endswith("--recalibrate asks for new ones")
    assert result.report["quantized_source"] == {
        "tool": "onnxruntime",
        "kind": "static",
        "operators_with_weights": 2,
        "integer_operators": 2,
    }
    assert scales(result.model) <= scales(source) and scales(result.model)
    theirs, ours = outputs(source), outputs(result.model)
    assert np.square(theirs).sum() / np.square(theirs - ours).sum() > 1e4  # the same numbers, but for ties


def test_new_scales_where_they_are_asked_for(tmp_path: Path) -> None:
    source = models.load(by_onnxruntime(tmp_path))
    result = knight.quantize(source, SAMPLES[:2], target="onnxruntime", method="kl", recalibrate=True)
    assert len(scales(result.model) & scales(source)) < len(scales(result.model))
    floats = models.load(small_models.conv_net(tmp_path))
    wanted, got = outputs(floats), outputs(result.model)
    assert np.square(wanted).sum() / np.square(wanted - got).sum() > 100


def test_weights_keep_their_integers(tmp_path: Path) -> None:
    source = models.load(by_onnxruntime(tmp_path))
    result = knight.quantize(source, SAMPLES[:2], target="onnxruntime")

    def stored(model: ir.Model) -> set[bytes]:
        tensors = [value.const_value for value in model.graph.initializers.values()]
        weights = [tensor for tensor in tensors if tensor is not None and len(tensor.shape) > 1]
        return {tensor.tobytes() for tensor in weights if tensor.dtype == ir.DataType.INT8}

    assert len(stored(source)) == 2
    assert stored(source) == stored(result.model)


def test_ranges_are_kept_where_the_chips_integers_are_others(tmp_path: Path) -> None:
    source, ear = models.load(by_onnxruntime(tmp_path)), Ear()
    result = knight.quantize(source, SAMPLES[:2], target="TX5368AV200", listener=ear)
    assert "others the ranges, since the chip's integers are others" in ear.heard[0]
    relu = next(value for name, value in result.report["values"].items() if name == "relu")
    theirs = read_source(source).absorbed
    assert theirs is not None
    assert relu["high"] == pytest.approx(float(theirs.activations["relu"].high), rel=0.01)


@pytest.mark.parametrize("target", ["onnxruntime", "TX5368AV200"])
@pytest.mark.parametrize("mean", [(), (100.0, 110.0, 120.0)])
def test_our_own_result_keeps_its_border(target: str, mean: tuple[float, ...], tmp_path: Path) -> None:
    pixels = [np.clip(np.rint(sample * 40 + 100), 0, 255).astype(np.uint8) for sample in SAMPLES]
    border = {"input_dtypes": ("uint8",), "mean": mean, "std": (40.0,) * len(mean)}
    first = knight.quantize(small_models.conv_net(tmp_path), pixels, target=target, **border)
    path = tmp_path / "first.onnx"
    first.save(path)
    again = knight.quantize(path, pixels, target=target)
    assert again.model.graph.inputs[0].dtype == ir.DataType.UINT8
    for sample in pixels:
        np.testing.assert_array_equal(again.run(sample)[0], first.run(sample)[0])
    same = knight.quantize(path, pixels, target=target, **border)  # to ask for what is there changes nothing
    assert models.to_bytes(same.model) == models.to_bytes(again.model) == path.read_bytes()
    if mean:
        with pytest.raises(ConfigError, match=r"--mean/--std: the model subtracts .* already"):
            knight.quantize(path, pixels, target=target, mean=(1.0,) * 3, std=(2.0,) * 3)
    with pytest.raises(ConfigError, match=r"-qid/--quantize-input-dtype int8: input 'x' is uint8"):
        knight.quantize(path, pixels, target=target, input_dtypes=("int8",))


def test_our_own_result_is_known_again_and_gives_the_same_numbers(tmp_path: Path) -> None:
    first = knight.quantize(small_models.conv_net(tmp_path), SAMPLES, target="onnxruntime", method="mse")
    path = first.save(tmp_path / "first.onnx")
    assert is_ours(models.load(path)) == "ours" and onnx.load(path).producer_name == "knight"
    ear = Ear()
    again = knight.quantize(path, SAMPLES[:1], target="onnxruntime", method="min_max", listener=ear)
    assert ear.heard[0].startswith("this model is quantized already, by Knight; 2 of 2 operators")
    np.testing.assert_array_equal(outputs(again.model), outputs(first.model))


@pytest.mark.parametrize("target", ["onnxruntime", "TX5368AV200"])
@pytest.mark.parametrize("form", exporters.names())
def test_our_own_result_is_read_in_every_format(form: str, target: str, tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    first = knight.quantize(path, SAMPLES, target=target, format=form, output_dequant=True)
    again = knight.quantize(first.model, SAMPLES, target=target, recalibrate=True, output_dequant=True)
    wanted = np.concatenate([Session(models.load(path)).run({"x": sample})[0] for sample in SAMPLES])
    floats = read_source(first.model).model
    got = np.concatenate([Session(floats).run({"x": sample})[0] for sample in SAMPLES])
    assert np.square(wanted).sum() / np.square(wanted - got).sum() > 1000  # with weights as they were rounded
    assert again.report["sqnr_db"] > 25


def test_a_change_of_our_result_is_told(tmp_path: Path) -> None:
    first = knight.quantize(small_models.conv_net(tmp_path), SAMPLES, target="onnxruntime").model
    scale = next(value for name, value in first.graph.initializers.items() if name == "relu_scale")
    scale.const_value = ir.tensor(np.float32(0.5), name="relu_scale")
    ear = Ear()
    knight.quantize(first, SAMPLES[:1], target="onnxruntime", listener=ear)
    assert ear.heard[0].startswith("this model is quantized already, by Knight and changed since;")


def test_equalization_leaves_a_source_whose_scales_are_kept_alone(tmp_path: Path) -> None:
    source = models.load(by_onnxruntime(tmp_path))
    data = [random(1, 3, 8, 8, seed=seed) for seed in range(20)]
    result = knight.quantize(source, data, target="onnxruntime", optimizers=("equalization",))
    assert any(
        "equalization was not used: it changes the float model" in text for text in result.report["warnings"]
    )


@given(st.integers(0, 255), st.floats(1e-6, 1e3))
def test_moved_integers_read_as_the_same_numbers(zero: int, step: float) -> None:
    given = QParams(UINT8, np.float32(step), np.asarray(zero, np.uint8))
    every = np.arange(256, dtype=np.uint8)
    found = moved_to(given, QuantSpec(symmetric=False))
    assert found is not None
    moved = (every.astype(int) - 128).astype(np.int8)
    np.testing.assert_array_equal(dequantize(moved, found), dequantize(every, given))
    positive = moved_to(given, UINT8, positive=True)
    assert positive is not None and (positive.scale, positive.zero_point) == (given.scale, 0)
    symmetric = moved_to(given, INT8)
    assert (symmetric is not None) is (zero == 128)
    assert moved_to(given, QuantSpec(bits=16)) is None
