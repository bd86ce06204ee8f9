"""Loading refuses what is no model, in words; saving loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from knight import model as models
from knight.errors import ModelError
from knight.runner import Session
from tests import small_models
from tests.passes.equivalence import build, random


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        models.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.onnx")
    assert "is a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero"), Path("/dev/null")):
        assert ", not a file" in refused(path)
    (tmp_path / "empty.onnx").touch()
    assert "is empty" in refused(tmp_path / "empty.onnx")
    (tmp_path / "net.pt").write_bytes(b"PK\x03\x04 not a graph")
    assert "use -f pytorch" in refused(tmp_path / "net.pt")
    (tmp_path / "text.onnx").write_text("hello, this is no protobuf\n" * 20)
    assert "not an ONNX file" in refused(tmp_path / "text.onnx")


@pytest.mark.parametrize("suffix", [".prototxt", ".json", ".textproto", ".pbtxt", ".onnxtxt", ".txt", ""])
def test_what_is_in_a_file_counts_not_its_suffix(suffix: str, tmp_path: Path) -> None:
    """The package onnx would read some of these as its own forms of text."""
    whole = small_models.conv_net(tmp_path)
    path = whole.rename(tmp_path / f"net{suffix}")
    assert [value.name for value in models.load(path).graph.outputs] == ["scores"]
    path.write_text('name: "net"\nlayer {\n  type: "Input"\n}\n')
    assert "not an ONNX file" in refused(path) and "use -f caffe" in refused(path)
    path.write_text('{"base_code": {}, "program": {}}')
    assert "not an ONNX file" in refused(path) and "use -f paddle" in refused(path)


def test_a_folder_of_another_framework(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    assert "is a folder" in refused(tmp_path) and "use -f tensorflow" in refused(tmp_path)


def test_a_truncated_model(tmp_path: Path) -> None:
    whole = small_models.conv_net(tmp_path).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refused(tmp_path / "cut.onnx")


def test_versions_and_domains(tmp_path: Path) -> None:
    proto = onnx.load(small_models.conv_net(tmp_path))
    proto.opset_import[0].version = 99
    onnx.save(proto, tmp_path / "new.onnx")
    assert "opset 99" in refused(tmp_path / "new.onnx")
    assert "unknown domain 'com.example'" in refused(small_models.foreign_domain(tmp_path))


def test_an_invalid_graph(tmp_path: Path) -> None:
    proto = onnx.load(small_models.conv_net(tmp_path))
    proto.graph.node[1].input[0] = "nowhere"
    onnx.save(proto, tmp_path / "bad.onnx")
    assert "not valid ONNX" in refused(tmp_path / "bad.onnx")


def test_weight_files(tmp_path: Path) -> None:
    model = models.load(small_models.conv_net(tmp_path))
    data, path = models.save(model, tmp_path / "big.onnx", external=True)
    x = random(1, 3, 8, 8)
    again = models.load(path)
    np.testing.assert_array_equal(Session(again).run({"x": x})[0], Session(model).run({"x": x})[0])
    assert not (tmp_path / "big.onnx.data").exists() and data.name.startswith("big-")
    data.write_bytes(data.read_bytes()[:-8])
    assert "cut short" in refused(path)
    data.unlink()
    assert "is missing" in refused(path)


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    proto = onnx.load(path)
    proto.graph.output.append(proto.graph.output[0])
    onnx.save(proto, path)
    assert refused(path).endswith("has the output 'scores' twice; name each output once")


def test_saving_keeps_the_callers_tensors(tmp_path: Path) -> None:
    model = models.load(small_models.conv_net(tmp_path))
    before = models.to_bytes(model)
    models.save(model, tmp_path / "out.onnx", external=True)
    assert models.to_bytes(model) == before
    (written,) = models.save(model, tmp_path / "inside.onnx")
    assert written.read_bytes() == before


def test_constants() -> None:
    model = build(
        "k = Constant<value_floats = [1.0, 2.0]>() y = Add(x, k)", {"w": random(2)}, inputs={"x": (2,)}
    )
    by_name = {value.name: value for value in models.values(model.graph)}
    np.testing.assert_array_equal(models.constant(by_name["k"]), [1, 2])
    assert models.constant(by_name["x"]) is None and models.constant(None) is None
    assert models.is_constant(by_name["w"]) and not models.is_constant(by_name["y"])


def test_fresh_names_are_taken_by_nobody() -> None:
    model = build("x_1 = Neg(x) y = Neg(x_1)")
    assert models.fresh_name(model.graph, "x") == "x_2"
    added = models.add_initializer(model.graph, "x", np.zeros(3, np.float32))
    assert added.name == "x_2" and isinstance(added.const_value, ir.Tensor)
