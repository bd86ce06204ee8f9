"""Every format goes through the same checks: what is written is the QDQ model in another form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import knight
from knight import model as models
from knight.errors import ConfigError, OutputError
from knight.exporters import Exported, export, exporters
from knight.outputs import dequantized, output_scales
from knight.runner import Session
from tests import small_models
from tests.passes.equivalence import build, random

names = pytest.mark.parametrize("name", exporters.names())
CHIPS = ("onnxruntime", "onnxruntime-avx2", "TX5368AV200", "generic", "tensorrt")
CONV = {"w": random(4, 4, 3, 3, seed=1), "b": random(4, seed=2)}
BLOCK = """
    c = Conv<pads = [1, 1, 1, 1]>(x, w, b)  r = Relu(c)  a = Add(r, x)  m = MaxPool<kernel_shape = [2, 2]>(a)
    k = Concat<axis = 1>(m, m)  g = GlobalAveragePool(k)  y = Flatten(g)
"""
SOURCES: dict[str, Callable[[Path], ir.Model]] = {
    "block": lambda folder: build(BLOCK, CONV),
    "conv": lambda folder: models.load(small_models.conv_net(folder)),
    "two inputs": lambda folder: models.load(small_models.two_inputs(folder)),
    "nothing quantized": lambda folder: build("y = Exp(x)"),
}


def samples(model: ir.Model, count: int = 4) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(1)
    return [
        {
            value.name or "": generator.normal(size=[int(dim) for dim in value.shape or ()]).astype(
                np.float32
            )
            for value in model.graph.inputs
        }
        for _ in range(count)
    ]


@pytest.fixture(params=CHIPS)
def chip(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SOURCES)
def qdq(request: pytest.FixtureRequest, chip: str, tmp_path: Path) -> ir.Model:
    """A result of Knight's, without what a format makes of it."""
    model = SOURCES[request.param](tmp_path)
    return knight.quantize(model, samples(model), target=chip, method="min_max").model


def test_both_residents_are_known() -> None:
    assert {"qdq", "qoperator"} <= set(exporters.names())


@names
def test_the_result_is_a_model_like_the_qdq_one(name: str, qdq: ir.Model) -> None:
    before = models.to_bytes(qdq)
    exported = export(name, qdq)
    assert models.to_bytes(qdq) == before
    onnx.checker.check_model(ir.to_proto(exported.model), full_check=True)
    for side in ("inputs", "outputs"):
        wanted, got = (getattr(Session(each), side) for each in (qdq, exported.model))
        assert [(value.name, value.dtype, value.shape) for value in wanted] == [
            (value.name, value.dtype, value.shape) for value in got
        ]
    assert exported.model.metadata_props == qdq.metadata_props


@names
def test_the_same_model_gives_the_same_files(name: str, qdq: ir.Model) -> None:
    first, second = export(name, qdq), export(name, qdq.clone())
    assert models.to_bytes(first.model) == models.to_bytes(second.model)
    assert first.files == second.files
    assert all(isinstance(content, bytes) for content in first.files.values())


@names
def test_the_numbers_are_those_of_the_qdq_model(name: str, qdq: ir.Model) -> None:
    """A step of a value inside is some steps of the output at most: these nets do not stretch it."""
    outputs = [output.name or "" for output in qdq.graph.outputs]
    scales = output_scales(qdq)
    first, second = Session(qdq), Session(export(name, qdq).model)
    different = []
    for feeds in samples(qdq, 20):
        wanted, got = (dequantized(outputs, each.run(feeds), scales) for each in (first, second))
        for left, right in zip(wanted, got, strict=True):
            np.testing.assert_allclose(right, left, atol=0.02 * np.abs(left).max())
            different.append(np.mean(left != right))
    assert np.mean(different) < 0.05


@names
def test_its_file_says_what_it_is_for(name: str) -> None:
    module = __import__(f"{exporters.package}.{name}", fromlist=["export"])
    assert module.__doc__ and module.export.__doc__


def test_an_unknown_format_is_told_with_what_is_near() -> None:
    with pytest.raises(ConfigError, match=r"unknown format 'q_operator': did you mean 'qoperator'"):
        export("q_operator", build("y = Exp(x)"))


def test_it_is_told_before_any_work() -> None:
    def feed(executor: object) -> None:
        raise AssertionError("the data is run for a format that there is not")

    with pytest.raises(ConfigError, match="unknown format"):
        knight.quantize(build("y = Exp(x)"), feed, target="onnxruntime", format="qop")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("../net.bin", "lies outside"),
        ("/net.bin", "lies outside"),
        ("", "lies outside"),
        ("report.json", "name of one of Knight's"),
        ("quantize.onnx", "name of one of Knight's"),
    ],
)
def test_files_lie_beside_the_model(file: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def vendor(model: ir.Model) -> Exported:
        return Exported(model, {file: b""})

    monkeypatch.setattr(exporters, "get", lambda name: vendor)
    with pytest.raises(OutputError, match=message):
        export("vendor", build("y = Exp(x)"))
