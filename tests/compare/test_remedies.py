"""What to do about it: one remedy for all layers that need the same, and mixed precision as measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import knight
from knight import model as models
from knight.compare import remedies
from knight.compare.comparison import Cause, Comparison, Layer, Rounding
from knight.compare.remedies import suggest
from tests.compare._reference import all_values, decibels
from tests.compare._small import TARGETS, Feeds, compared, pairing_of, quantized

DEPTH = 6


def chain(folder: Path) -> tuple[ir.Model, list[Feeds]]:
    """x [1, 8] through `DEPTH` times a Gemm and a Tanh; the third Gemm does badly in 8 bits."""
    random = np.random.default_rng(0)
    weights, nodes, source = {}, [], "x"
    for place in range(DEPTH):
        weights[f"w{place}"] = (random.normal(size=(8, 8)) / 3).astype(np.float32)
        weights[f"b{place}"] = (random.normal(size=8) / 10).astype(np.float32)
        names = [source, f"w{place}", f"b{place}"]
        nodes.append(helper.make_node("Gemm", names, [f"g{place}"], f"gemm{place}"))
        nodes.append(helper.make_node("Tanh", [f"g{place}"], [f"t{place}"], f"tanh{place}"))
        source = f"t{place}"
    weights["w1"][:, 5] = weights["b1"][5] = 0
    weights["w2"][5] = 10  # multiplies zeros, and leaves the other weights few steps
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path = folder / "chain.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return models.load(path), [{"x": random.normal(size=(1, 8)).astype(np.float32)} for _ in range(6)]


def in_float(source: ir.Model, result: ir.Model, layers: Sequence[Layer]) -> ir.Model:
    """`result` with the weights of `layers` as they were, and nothing rounded between two of them."""
    copy = result.clone()
    values = {value.name: value for value in models.values(copy.graph)}
    for layer in layers:
        node = next(node for node in copy.graph if node.name == layer.name)
        original = next(other for other in source.graph if other.name == layer.name)
        if len(original.inputs) > 1:
            weight = models.constant(original.inputs[1])
            assert weight is not None
            node.replace_input_with(1, models.add_initializer(copy.graph, f"{layer.name}_w", weight))
        rounded = values.get(f"{layer.output}_DequantizeLinear_output")
        if rounded is not None:
            for reader, place in list(rounded.uses()):
                if reader.name in {other.name for other in layers}:
                    reader.replace_input_with(place, node.outputs[0])
    return copy


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> tuple[ir.Model, ir.Model, list[Feeds], Comparison]:
    model, data = chain(tmp_path_factory.mktemp("chain"))
    result = quantized(model, data, "TX5368AV200")
    return model, result, data, compared(model, result, data, remedies=True)


def test_the_gain_that_is_promised_is_measured(
    nets: tuple[ir.Model, ir.Model, list[Feeds], Comparison],
) -> None:
    model, result, data, found = nets
    wide = found.remedies[0]
    assert wide.measured
    chosen = [layer for layer in found.layers if layer.output in wide.layers]
    tried = data
    output = result.graph.outputs[0].name or ""
    floats = [all_values(model, feeds)[output] for feeds in tried]
    before, after = (
        decibels(
            [(wanted, real_output(candidate, feeds)) for wanted, feeds in zip(floats, tried, strict=True)]
        )
        for candidate in (result, in_float(model, result, chosen))
    )
    assert wide.gain_db == pytest.approx(after - before, abs=0.1)
    assert wide.gain_db > 0.5
    assert f"from {before:.1f} to {after:.1f} dB on 6 samples" in wide.text


def real_output(model: ir.Model, feeds: Feeds) -> np.ndarray:
    """The output as a number: of an integer that leaves the model, what stands for it."""
    values = all_values(model, feeds)
    cast = model.graph.outputs[0].producer()
    assert cast is not None
    quantize = cast.inputs[0].producer() if cast.inputs[0] is not None else None
    assert quantize is not None
    scale, zero = (values[value.name or ""] for value in quantize.inputs[1:] if value is not None)
    integers = values[quantize.outputs[0].name or ""].astype(np.float32)
    return (integers - zero) * scale


def test_entries_name_layers_that_exist(nets: tuple[ir.Model, ir.Model, list[Feeds], Comparison]) -> None:
    model, _, _, found = nets
    (entry,) = found.mixed_precision
    names = {node.name for node in model.graph}
    assert set(entry) == {"op_names", "bitwidth"}
    assert entry["bitwidth"] == "float"
    assert set(entry["op_names"]) <= names
    chosen = {layer.name for layer in found.layers if layer.output in found.remedies[0].layers}
    assert set(entry["op_names"]) == chosen
    worst = sorted((layer for layer in found.layers if layer.name), key=lambda layer: layer.own_sqnr or 0)
    assert worst[0].name == "gemm2"
    assert "gemm2" in entry["op_names"]


@pytest.mark.parametrize("target", ["TX5368AV200", "generic"])
def test_the_advice_can_be_followed_and_helps_as_it_says(target: str, tmp_path: Path) -> None:
    model, data = chain(tmp_path)
    before = knight.quantize(model, data, target=target)
    found = compared(model, before.model, data, remedies=True)
    path = tmp_path / "mix_config.json"
    path.write_text(json.dumps(list(found.mixed_precision)))
    after = knight.quantize(model, data, target=target, mix_config=str(path))
    (entry,) = found.mixed_precision
    assert set(entry["op_names"]) <= after.report["kept_in_float"].keys()
    gain = after.report["sqnr_db"] - before.report["sqnr_db"]
    assert gain > max(0.5, 0.9 * (found.remedies[0].gain_db or 0.0))


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_tried_when_nobody_asked(target: str, tmp_path: Path) -> None:
    model, data = chain(tmp_path)
    found = compared(model, quantized(model, data, target), data, remedies=False)
    assert not found.mixed_precision
    assert not any(remedy.measured for remedy in found.remedies)


def test_a_gain_that_is_not_worth_it_is_not_offered(
    nets: tuple[ir.Model, ir.Model, list[Feeds], Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, result, data, _ = nets
    monkeypatch.setattr(remedies, "_WORTH_DB", 1000.0)
    again = compared(model, result, data, remedies=True)
    assert not again.mixed_precision
    assert not any(remedy.measured for remedy in again.remedies)


# Remedies of layers ----------------------------------------------------------------------------------------


def layer(index: int, cause: Cause | None, own: float = 30.0) -> Layer:
    rounding = Rounding(0.1, 0, 8, 0.0, 25.5)
    name = f"t{index}"
    return Layer(index, "Conv", f"conv{index}", name, name, (1,), {}, own, cause=cause, rounding=rounding)


def test_layers_that_need_the_same_get_one_remedy(tmp_path: Path) -> None:
    model, data = chain(tmp_path)
    pairing = pairing_of(model, quantized(model, data, "onnxruntime"))
    layers = [
        layer(0, None),
        layer(1, Cause("clipped", "cut", "calibrate with mse", 6.0)),
        layer(2, Cause("bias_zero", "no bias", "quantize again", 20.0)),
        layer(3, Cause("long_tail", "tail", "calibrate with mse", 9.0)),
        layer(4, Cause("few_steps", "few", "16 bits")),
        layer(5, Cause("weight_steps", "few", "")),
    ]
    found = suggest(layers, {}, pairing, [], 1)
    assert [(remedy.text, remedy.layers, remedy.gain_db, remedy.measured) for remedy in found.remedies] == [
        ("quantize again", ("t2",), 20.0, False),
        ("calibrate with mse", ("t1", "t3"), 9.0, False),
        ("16 bits", ("t4",), None, False),
    ]
    assert not found.mixed_precision
