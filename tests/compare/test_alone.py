"""Every layer quantized alone: float values in, its own constants, its own rounding, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from knight.compare.alone import build, is_rounded
from knight.compare.pairing import Pairing
from knight.qdq.graph import Graph, Unit
from knight.runner import Session
from tests.compare._reference import Alone, all_values, decibels
from tests.compare._small import NETS, TARGETS, Feeds, compared, net, pairing_of, quantized


def rounded(alone: Alone, result: ir.Model, name: str, floats: Feeds) -> np.ndarray:
    """The row `name` alone, as numbers; what leaves the model as integers is scaled here."""
    node = alone.maker.get(name)
    if node is None or node.op_type != "QuantizeLinear":
        return alone.value(name, floats)
    scale, zero = (alone.constants[source] for source in node.input[1:])
    return (alone.value(name, floats).astype(np.float32) - zero) * scale


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETS)
def test_own_errors_are_those_of_the_layers_one_by_one(name: str, target: str, tmp_path: Path) -> None:
    model, data = net(name, tmp_path)
    result = quantized(model, data, target)
    found = compared(model, result, data)
    alone = Alone(result)
    floats = [all_values(model, feeds) for feeds in data]
    checked = 0
    for layer in found.layers:
        pairs = [
            (values[layer.output], rounded(alone, result, layer.quantized_output, values))
            for values in floats
        ]
        if all(np.array_equal(left, right) for left, right in pairs):
            assert layer.own_sqnr == 200
            continue
        assert layer.own_sqnr is not None
        # a number next to the middle of two steps may fall to either side
        assert layer.own_sqnr == pytest.approx(decibels(pairs), abs=0.05), layer.output
        checked += 1
    assert checked >= 2


def units_of(pairing: Pairing) -> list[Unit]:
    rows = pairing.result.rows()
    return [pairing.result.unit(value, set(rows)) for value in rows]


@pytest.mark.parametrize("target", TARGETS)
def test_the_model_of_all_layers_has_one_piece_for_each(target: str, tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    pairing = pairing_of(model, quantized(model, data, target))
    units = units_of(pairing)
    alone, pieces = build(pairing.result, units, pairing.pairs)
    assert list(pieces) == [unit.output for unit in units]
    floats = [value.name for value in alone.graph.inputs]
    assert floats == ["x", "relu", "pool", "flat"]  # the float model's names; scores is read by nobody
    outputs = {value.name for value in alone.graph.outputs}
    assert all(piece.result in outputs for piece in pieces.values())
    # only the Conv and the Gemm have constants whose error can be told from that of the rounding
    with_middle = [unit.main.op_type for unit in units if unit.main and pieces[unit.output].middle]
    assert with_middle == (["Conv"] if target == "onnxruntime" else ["Conv", "Gemm"])


def test_before_the_rounding_and_behind(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    result = quantized(model, data, "onnxruntime")
    pairing = pairing_of(model, result)
    units = units_of(pairing)
    alone, pieces = build(pairing.result, units, pairing.pairs)
    floats = all_values(model, data[0])
    session = Session(alone)
    got = dict(
        zip(
            (info.name for info in session.outputs),
            session.run({info.name: floats[info.name] for info in session.inputs}),
            strict=True,
        )
    )
    statement = Alone(result)
    (conv,) = (unit for unit in units if unit.main is not None and unit.main.op_type == "Conv")
    piece = pieces[conv.output]
    assert piece.middle is not None
    np.testing.assert_allclose(got[piece.middle], statement.value("relu", floats), rtol=1e-5, atol=1e-5)
    wanted = statement.value("relu_DequantizeLinear_output", floats)
    step = float(statement.constants["relu_scale"])
    off = np.abs(got[piece.result] - wanted) / step
    assert np.all((off < 1e-3) | (np.abs(off - 1) < 1e-3))
    assert np.mean(off > 0.5) < 0.01


def test_constants_behind_a_dequantizelinear_are_rounded(tmp_path: Path) -> None:
    model, data = net("conv_net", tmp_path)
    graph = Graph(quantized(model, data, "onnxruntime"))
    assert is_rounded(graph, graph.values["w_DequantizeLinear_output"])
    assert not is_rounded(graph, graph.values["relu_scale"])
