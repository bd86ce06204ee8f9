"""Dumping two models: which calls and which values are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from knight import model as models
from knight.compare.dump import read_index
from knight.compare.dumping import dump_models
from knight.errors import DataError, OutputError
from knight.executor import Executor, RunSettings
from knight.listener import Listener
from tests import small_models

LIMIT = 1 << 30


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.announced: list[str] = []
        self.warned: list[str] = []

    def announce(self, text: str) -> None:
        self.announced.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def feed(*shapes: tuple[int, ...]):
    """An infer function that makes one forward call per shape."""

    def infer(executor: Executor) -> float:
        for number, shape in enumerate(shapes):
            executor.forward(np.random.default_rng(number).normal(size=shape).astype(np.float32))
        return 1.0

    return infer


def nonzero_net(folder: Path, threshold: float) -> ir.Model:
    """x float32[1, 6] -> NonZero(Relu(x - threshold)), of a size that the data decide, and Neg(Relu)."""
    nodes = [
        helper.make_node("Sub", ["x", "t"], ["sub"], "sub"),
        helper.make_node("Relu", ["sub"], ["relu"], "relu"),
        helper.make_node("NonZero", ["relu"], ["places"], "nonzero"),
        helper.make_node("Neg", ["relu"], ["out"], "neg"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6])]
    outputs = [
        helper.make_tensor_value_info("places", TensorProto.INT64, [2, "n"]),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 6]),
    ]
    weight = onnx.numpy_helper.from_array(np.float32([threshold]), "t")
    graph = helper.make_graph(nodes, "nonzero", inputs, outputs, [weight])
    path = folder / f"{threshold}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return models.load(str(path))


def sizes(folder: Path, half: str, output: str) -> list[int]:
    (place,) = (folder / half).glob(f"*_{output}")
    return [np.load(path).size for path in sorted(place.iterdir())]


def test_counts_and_kept_layers(tmp_path: Path) -> None:
    model = models.load(str(small_models.conv_net(tmp_path)))
    settings = RunSettings(iteration=2)
    shape = (1, 3, 8, 8)
    found = dump_models(model, model, feed(shape, shape), settings, tmp_path / "dump", limit=LIMIT)
    entries = read_index(tmp_path / "dump" / "dump.json")
    assert found == (len(entries), 2) and [entry.batches for entry in entries] == [2] * len(entries)
    assert [entry.output for entry in entries if entry.model_output] == ["scores"]
    assert entries[0].op_type == "Input"


def test_pieces_of_a_batch_are_one_call(tmp_path: Path) -> None:
    model = models.load(str(small_models.conv_net(tmp_path, batch=2)))
    infer = feed((6, 3, 8, 8), (2, 3, 8, 8))
    told = Told()
    settings = RunSettings(iteration=2)
    assert dump_models(model, model, infer, settings, tmp_path / "dump", limit=LIMIT, listener=told)[1] == 2
    assert sizes(tmp_path / "dump", "float", "scores") == [6 * 4, 2 * 4]
    x = np.load(next((tmp_path / "dump" / "float").glob("*_x")) / "batch_0.npy")
    np.testing.assert_array_equal(x, np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32))
    assert not told.warned


def test_a_value_whose_size_differs_later_is_left_empty_there(tmp_path: Path) -> None:
    left, right = nonzero_net(tmp_path, 0.0), nonzero_net(tmp_path, 0.1)

    def infer(executor: Executor) -> None:
        executor.forward(np.float32([[1, 2, 3, -1, -2, -3]]))  # three places in both
        executor.forward(np.float32([[0.05, 2, 3, -1, -2, -3]]))  # three, and two

    told = Told()
    settings = RunSettings(iteration=2)
    dump_models(left, right, infer, settings, tmp_path / "dump", limit=LIMIT, listener=told)
    for half in ("float", "quant"):
        assert sizes(tmp_path / "dump", half, "places") == [6, 0]
        assert sizes(tmp_path / "dump", half, "out") == [6, 6]
    (line,) = told.warned
    assert "NonZero 'places' cannot be compared in every forward call" in line


@pytest.mark.parametrize(("samples", "kept"), [(None, 1), (3, 3)])
def test_more_calls_than_asked_for(tmp_path: Path, samples: int | None, kept: int) -> None:
    model = models.load(str(small_models.conv_net(tmp_path)))
    told = Told()
    infer, settings = feed(*[(1, 3, 8, 8)] * 3), RunSettings(iteration=1)
    found = dump_models(
        model, model, infer, settings, tmp_path / "dump", limit=LIMIT, samples=samples, listener=told
    )
    assert found[1] == kept and f"x {kept} forward calls" in told.announced[0]
    assert [line for line in told.warned if "made 3 forward calls instead of 1" in line] == (
        told.warned if kept == 1 else []
    )
    assert bool(told.warned) == (kept == 1)


def test_a_call_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    """The user's function goes on from a batch whose second half does not fit."""
    model = models.load(str(small_models.conv_net(tmp_path)))
    bad = np.ones((2, 3, 8, 8), np.float32)
    bad[1, 0, 0, 0] = np.nan

    def infer(executor: Executor) -> None:
        with pytest.raises(DataError):
            executor.forward(bad)
        executor.forward(np.ones((1, 3, 8, 8), np.float32))

    found = dump_models(model, model, infer, RunSettings(), tmp_path / "dump", limit=LIMIT)
    assert found[1] == 1 and sizes(tmp_path / "dump", "float", "x") == [3 * 8 * 8]


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    model = models.load(str(small_models.conv_net(tmp_path)))
    with pytest.raises(OutputError, match="raise --dump-limit"):
        dump_models(model, model, feed((1, 3, 8, 8)), RunSettings(), tmp_path / "dump", limit=1000)
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx"}
