"""Both models side by side: what is accumulated, what is alone, in any types, shapes and group sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight import model as models
from knight.compare import layerwise
from knight.compare.own import Own
from knight.compare.rows import Row
from tests import small_models
from tests.compare._reference import all_values, decibels
from tests.compare._small import NETS, TARGETS, Feeds, compared, net, quantized, run_rows


def real(result: ir.Model, name: str, values: Feeds) -> np.ndarray:
    """A value as numbers; integers that leave the model are scaled with what its graph says."""
    found = values[name]
    node = next((node for node in result.graph if name in [value.name for value in node.outputs]), None)
    if node is None or node.op_type != "QuantizeLinear":
        return found
    scale, zero = (values[value.name or ""] for value in node.inputs[1:] if value is not None)
    return (found.astype(np.float32) - zero) * scale


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETS)
def test_accumulated_errors_are_those_of_both_models_run_apart(
    name: str, target: str, tmp_path: Path
) -> None:
    model, data = net(name, tmp_path)
    result = quantized(model, data, target)
    found = compared(model, result, data)
    floats = [all_values(model, feeds) for feeds in data]
    integers = [all_values(result, feeds) for feeds in data]
    for layer in found.layers:
        pairs = [
            (left[layer.output], real(result, layer.quantized_output, right))
            for left, right in zip(floats, integers, strict=True)
        ]
        if all(np.array_equal(left, right) for left, right in pairs):
            assert layer.sqnr == 200
        else:
            assert layer.sqnr == pytest.approx(decibels(pairs), abs=0.1), layer.output
        assert layer.shape == pairs[0][0].shape
        values = np.stack([left for left, _ in pairs])
        assert layer.minimum == pytest.approx(values.min(), rel=1e-5, abs=1e-6)
        assert layer.maximum == pytest.approx(values.max(), rel=1e-5, abs=1e-6)
    last = found.layers[-1]
    assert found.output_sqnr == pytest.approx(last.sqnr, abs=1e-6)
    assert (found.samples, found.calls) == (5, 5)
    assert [layer.index for layer in found.layers] == list(range(len(found.layers)))
    assert found.layers[0].op_type == "Input"
    assert not found.unpaired


def sums(rows: list[Row]) -> dict[str, object]:
    """All that the rows have summed up, to be compared."""
    found: dict[str, object] = {}
    for row in rows:
        name = row.twin.name or ""
        found[name] = (row.shape, row.own_missing, row.mismatch, row.tally, row.own.calls, row.own.reaches)
        found[f"{name}: sums"] = {key: array.tolist() for key, array in row.own.sums.items()}
        found[f"{name}: rounding"] = (row.own.rounding, row.own.clipped)
        found[f"{name}: samples"] = [array.tolist() for array in row.samples.arrays()]
    return found


@pytest.mark.parametrize("held", [1, 3000])
@pytest.mark.parametrize("name", NETS)
def test_groups_change_nothing(name: str, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = net(name, tmp_path)
    result = quantized(model, data, "TX5368AV200")
    together = sums(run_rows(model, result, data))
    groups: list[int] = []
    whole = layerwise.PairRunner._group
    monkeypatch.setattr(layerwise, "HELD", held)
    monkeypatch.setattr(
        layerwise.PairRunner, "_group", lambda self, rows: groups.append(len(rows)) or whole(self, rows)
    )
    apart = sums(run_rows(model, result, data))
    assert repr(apart) == repr(together)
    rows = sum(1 for key in together if ":" not in key)
    assert sum(groups) == rows
    assert groups == [1] * rows if held == 1 else len(groups) <= rows


def test_what_fits_is_run_in_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = net("conv_net", tmp_path)
    result = quantized(model, data, "onnxruntime")
    groups: list[list[Row]] = []
    whole = layerwise.PairRunner._group
    monkeypatch.setattr(
        layerwise.PairRunner, "_group", lambda self, rows: groups.append(rows) or whole(self, rows)
    )
    rows = run_rows(model, result, data)
    assert groups == [rows]


def test_batches_of_several_sizes(tmp_path: Path) -> None:
    """A dynamic batch: the sums are those over all elements, whatever their division into calls."""
    model = models.load(small_models.conv_net(tmp_path, batch="n"))
    random = np.random.default_rng(0)
    whole = random.normal(size=(7, 3, 8, 8)).astype(np.float32)
    calls = [{"x": part} for part in (whole[:1], whole[1:5], whole[5:])]
    single = [{"x": whole[place : place + 1]} for place in range(7)]
    result = quantized(model, single, "onnxruntime", batch_size=1)
    for value in result.graph.inputs:  # a target may want one batch; the graph itself takes any
        value.shape = ir.Shape(["n", 3, 8, 8])
    for value in result.graph.outputs:
        value.shape = ir.Shape(["n", 4])
    parts, ones = run_rows(model, result, calls), run_rows(model, result, single)
    for row, other in zip(parts, ones, strict=True):
        assert row.tally.count == other.tally.count
        assert row.tally.noise == pytest.approx(other.tally.noise, rel=1e-2)
        assert row.own.total("signal") == pytest.approx(other.own.total("signal"), rel=1e-5)
        assert row.own.total("noise") == pytest.approx(other.own.total("noise"), rel=1e-2)
        assert (row.own.calls, other.own.calls) == (3, 7)


def mixed(folder: Path) -> Path:
    """x [1, 4, 6, 6] -> Conv, Relu; Greater (boolean), Where, ArgMax (integers), Cast, Mul -> y."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(5, 4, 1, 1)).astype(np.float32),
        "half": np.float32(0.5),
        "none": np.float32(0),
        "fifth": np.float32(0.2),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Greater", ["r", "half"], ["loud"], "greater"),
        helper.make_node("Where", ["loud", "r", "none"], ["gated"], "where"),
        helper.make_node("ArgMax", ["gated"], ["place"], "argmax", axis=1, keepdims=1),
        helper.make_node("Cast", ["place"], ["number"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "fifth"], ["small"], "mul"),
        helper.make_node("Add", ["gated", "small"], ["y"], "add"),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5, 6, 6])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    path = folder / "mixed.onnx"
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    return path


@pytest.mark.parametrize("target", TARGETS)
def test_integers_and_booleans_in_the_graph(target: str, tmp_path: Path) -> None:
    model = models.load(mixed(tmp_path))
    random = np.random.default_rng(3)
    data = [{"x": random.normal(size=(1, 4, 6, 6)).astype(np.float32)} for _ in range(4)]
    result = quantized(model, data, target)
    found = {layer.output: layer for layer in compared(model, result, data).layers}
    floats = [all_values(model, feeds) for feeds in data]
    integers = [all_values(result, feeds) for feeds in data]
    assert {"loud", "place"} <= set(found)
    for name in ("loud", "place"):
        layer = found[name]
        pairs = [
            (left[name].astype(np.float64), right[layer.quantized_output].astype(np.float64))
            for left, right in zip(floats, integers, strict=True)
        ]
        equal = all(np.array_equal(left, right) for left, right in pairs)
        assert layer.sqnr == (200 if equal else pytest.approx(decibels(pairs), abs=0.1))
        # alone, on float numbers, a comparison of floats and a place of the largest are exact
        assert (layer.own_sqnr, layer.rounding) == (200, None)


def test_both_inputs_are_rows_of_their_own(tmp_path: Path) -> None:
    model, data = net("two_inputs", tmp_path)
    found = compared(model, quantized(model, data, "onnxruntime"), data).layers
    assert [(layer.op_type, layer.output) for layer in found[:2]] == [("Input", "left"), ("Input", "right")]
    for layer in found[:2]:
        assert layer.rounding is not None
        values = np.stack([feeds[layer.output] for feeds in data]).astype(np.float64)
        scale, zero = np.float32(layer.rounding.scale), layer.rounding.zero_point
        steps = (np.rint(values.astype(np.float32) / scale) + zero).clip(0, 255)
        assert layer.own_sqnr == pytest.approx(decibels([(values, (steps - zero) * scale)]), abs=0.01)


def test_own_sums_are_kept_per_channel(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    result = quantized(model, data, "onnxruntime")
    (row,) = (row for row in run_rows(model, result, data) if row.op_type == "Conv")
    floats = np.concatenate([all_values(model, feeds)["relu"] for feeds in data]).astype(np.float64)
    assert isinstance(row.own, Own)
    np.testing.assert_allclose(row.own.sums["signal"], (floats**2).sum(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(row.own.high, floats.max(axis=(0, 2, 3)), rtol=1e-5)
