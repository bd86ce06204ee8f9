"""A file that no model can be ends every command in one line that names it, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper

import knight
from knight.errors import ModelError
from tests import small_models
from tests.cli.test_bad_input import one_line

Run = Callable[..., Result]


def unknown_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 99


def endless_device(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/dev/zero")


def odd_name_and_size(model: onnx.ModelProto) -> None:
    model.graph.node[0].name = "\0\n\x1b[31m"
    model.graph.initializer[0].dims[0] = -5


def crashes_the_runtime(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "ConvTranspose"
    model.graph.node[0].attribute.append(helper.make_attribute("group", 0))


HOSTILE = {
    unknown_type: "tensor 'w' is of the unknown data type 99",
    endless_device: "its weight file '/dev/zero' lies outside of the model's folder",
    odd_name_and_size: "tensor 'w' has a dimension of size -5",
    crashes_the_runtime: "node 'conv' (ConvTranspose) has group = 0",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    good = small_models.conv_net(tmp_path)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(good.read_bytes())
    return {"good": good, "bad": bad, "script": small_models.script(tmp_path), "out": tmp_path / "out"}


def words_of(command: str, files: dict[str, Path]) -> list[object]:
    feeds = ["-uds", files["script"], "-if", "infer_net"]
    return {
        "quant": ["quant", "-m", files["bad"], *feeds, "--save-dir", files["out"]],
        "dry run": ["quant", "-m", files["bad"], *feeds, "--dry-run"],
        "infer": ["infer", "-m", files["bad"], *feeds],
        "infer with": ["infer", "-m", files["good"], *feeds, "--compare-with", files["bad"]],
        "compare": ["compare", "-m", files["good"], "-q", files["bad"], *feeds, "--save-dir", files["out"]],
        "convert": ["convert", "-f", "onnx", "-m", files["bad"], "--save-dir", files["out"]],
    }[command]


@pytest.mark.parametrize("command", ["quant", "dry run", "infer", "infer with", "compare"])
@pytest.mark.parametrize("change", HOSTILE)
def test_one_line_that_names_the_file(
    run: Run, files: dict[str, Path], command: str, change: Callable[[onnx.ModelProto], None]
) -> None:
    refused(run, files, command, change)


def test_one_line_from_the_converters_process(run: Run, files: dict[str, Path]) -> None:
    refused(run, files, "convert", endless_device)


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "-f", "onnx", "-m", "pipe"),
        ("convert", "-f", "pytorch", "-m", "pipe"),
        ("convert", "-f", "caffe", "-m", "net.onnx", "-w", "pipe"),
        ("quant", "-f", "tensorflow", "-m", "pipe", "-if", "infer_net", "-uds", "infer.py"),
        ("quant", "-m", "pipe", "-if", "infer_net", "-uds", "infer.py"),
    ],
)
def test_pipes_are_not_waited_for(
    run: Run, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(files["good"].parent)
    os.mkfifo("pipe")
    assert " pipe: is a named pipe, not a file" in one_line(run(*words, "--save-dir", files["out"]), 2)


@pytest.mark.parametrize("change", HOSTILE)
def test_the_api_raises_the_same(files: dict[str, Path], change: Callable[[onnx.ModelProto], None]) -> None:
    damage(files, change)
    with pytest.raises(ModelError) as caught:
        knight.load_model(files["bad"])
    assert HOSTILE[change] in str(caught.value)


def damage(files: dict[str, Path], change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(files["bad"])
    change(model)
    files["bad"].write_bytes(model.SerializeToString())


def refused(
    run: Run, files: dict[str, Path], command: str, change: Callable[[onnx.ModelProto], None]
) -> None:
    damage(files, change)
    line = one_line(run(*words_of(command, files)), 1)
    assert f"model {files['bad']}: " in line and HOSTILE[change] in line
    left = list(files["out"].iterdir()) if files["out"].exists() else []
    assert not [path for path in left if path.name != ".knight.lock"]
