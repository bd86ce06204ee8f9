"""A model names weight files of its own folder, and they are whole; anything else is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight import model as models
from knight.errors import ModelError
from knight.runner import Session

NUMBERS = np.arange(16, dtype=np.float32).reshape(4, 4)
SIZE = NUMBERS.nbytes
INFO = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in ("x", "y")]


def outside(name: str = "w", **where: object) -> TensorProto:
    """A tensor float32[4, 4] in another file; `where` are the entries that say so."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4, 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def weight(tensor: TensorProto) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "mm")]
    graph = helper.make_graph(nodes, "g", INFO[:1], INFO[1:], [tensor])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def inner(tensor: TensorProto, form: str) -> onnx.ModelProto:
    """x @ `tensor` -> y, the tensor in an attribute, a body or a function."""
    multiply = helper.make_node("MatMul", ["x", "w"], ["out"])
    functions = []
    weights = [numpy_helper.from_array(np.array(True), "c"), numpy_helper.from_array(np.array(1), "n")]
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 4))]
    if form == "attribute":
        nodes = [helper.make_node("Constant", [], ["w"], value=tensor)]
        nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
    elif form == "If":
        bodies = [helper.make_graph([multiply], name, [], out, [tensor]) for name in ("t", "e")]
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1])]
    elif form == "Loop":
        state = helper.make_tensor_value_info("state", TensorProto.FLOAT, (1, 4))
        ins = [helper.make_tensor_value_info("i", TensorProto.INT64, ())]
        ins.append(helper.make_tensor_value_info("go", TensorProto.BOOL, ()))
        going = helper.make_tensor_value_info("on", TensorProto.BOOL, ())
        steps = [helper.make_node("Identity", ["go"], ["on"]), multiply]
        body = helper.make_graph(steps, "body", [*ins, state], [going, *out], [tensor])
        nodes = [helper.make_node("Loop", ["n", "c", "x"], ["y"], body=body)]
    else:
        steps = [helper.make_node("Constant", [], ["w"], value=tensor), multiply]
        functions = [helper.make_function("f", "F", ["x"], ["out"], steps, [helper.make_opsetid("", 17)])]
        nodes = [helper.make_node("F", ["x"], ["y"], domain="f")]
    graph = helper.make_graph(nodes, "g", INFO[:1], INFO[1:], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


FORMS = ("attribute", "If", "Loop", "function")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with a weight file, and one outside of it."""
    place = tmp_path / "model"
    (place / "below").mkdir(parents=True)
    for file in (tmp_path / "secret.bin", place / "w.bin", place / "below" / "w.bin"):
        file.write_bytes(NUMBERS.tobytes())
    return place


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refused(folder: Path, model: onnx.ModelProto) -> str:
    path = written(folder, model)
    with pytest.raises(ModelError) as caught:
        models.load(path)
    assert str(caught.value).startswith(f"model {path}: ") and str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", ["weight", "attribute", "If"])
def test_what_onnx_has_no_word_for_is_forgotten(folder: Path, form: str) -> None:
    tensor = outside(location="w.bin", offset=0, length=SIZE, colour="red")
    model = weight(tensor) if form == "weight" else inner(tensor, form)
    assert "colour" not in str(models.to_proto(models.load(written(folder, model))))


@pytest.mark.parametrize("location", ["w.bin", "below/w.bin", "below/../w.bin"])
@pytest.mark.parametrize("where", [{}, {"offset": 0, "length": SIZE}])
def test_files_in_the_folder_are_read(folder: Path, location: str, where: dict[str, object]) -> None:
    model = models.load(written(folder, weight(outside(location=location, **where))))
    np.testing.assert_array_equal(models.constant(model.graph.initializers["w"]), NUMBERS)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "below/../../secret.bin", "/dev/zero", "/dev/stdin", "/etc/hostname"]
)
@pytest.mark.parametrize("form", ["weight", *FORMS])
def test_files_outside_of_the_folder(folder: Path, location: str, form: str) -> None:
    tensor = outside(location=location)
    text = refused(folder, weight(tensor) if form == "weight" else inner(tensor, form))
    assert f"its weight file {location!r} lies outside of the model's folder" in text


def test_files_outside_are_refused_of_models_that_are_repaired_too(folder: Path) -> None:
    model = weight(outside(location="../secret.bin"))
    model.graph.node.insert(0, helper.make_node("Relu", ["y"], ["late"]))  # not sorted
    assert "lies outside" in refused(folder, model)


def test_links(folder: Path) -> None:
    (folder / "out.bin").symlink_to(folder.parent / "secret.bin")
    (folder / "zero.bin").symlink_to("/dev/zero")
    (folder / "in.bin").symlink_to("w.bin")
    (folder / "up").symlink_to("..")
    os.link(folder.parent / "secret.bin", folder / "hard.bin")
    for location, said in (
        ("out.bin", "lies outside"),
        ("zero.bin", "lies outside"),
        ("up/secret.bin", "lies outside"),
        ("in.bin", "is a link"),
        ("hard.bin", "is a link"),
    ):
        assert f"its weight file {location!r} {said}" in refused(folder, weight(outside(location=location)))


def test_what_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for location, said in (
        ("pipe", "'pipe' is no plain file"),
        ("below", "'below' is no plain file"),
        (".", "'.' is no plain file"),
        ("gone.bin", "'gone.bin' is missing"),
        ("w.bin/deeper", "is missing"),
        ("a\x1b[31m\nb", r"'a\x1b[31m\nb' is missing"),
        ("a\0b", r"'a\x00b': embedded null"),
        ("n" * 5000, "File name too long"),
        ("", "does not say in which one file"),
    ):
        assert said in refused(folder, weight(outside(location=location)))
    assert "does not say in which one file" in refused(folder, weight(outside()))


def test_the_place_of_a_bad_file_is_told_without_control_characters(folder: Path) -> None:
    model = inner(outside(name="", location="/dev/zero"), "attribute")
    model.graph.node[0].op_type = "Con\x1b[2Jstant"
    assert r"(Con\x1b[2Jstant): its weight file '/dev/zero'" in refused(folder, model)


def test_a_location_that_is_there_twice(folder: Path) -> None:
    tensor = outside(location="w.bin")
    tensor.external_data.add(key="location", value="../secret.bin")
    assert "does not say in which one file" in refused(folder, weight(tensor))


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("value", ["-4", "x", "1.5", "1_0", " 0", "", "1" * 6000, 1 << 70, "\u0663", "1\n"])
def test_offsets_and_lengths_that_are_none(folder: Path, key: str, value: object) -> None:
    text = refused(folder, weight(outside(location="w.bin", **{key: value})))
    assert f"its {key} in the file 'w.bin' is '" in text and "not a number of bytes" in text


@pytest.mark.parametrize("length", [0, 4, SIZE - 1, 2 * SIZE])
def test_lengths_that_do_not_fit_the_shape(folder: Path, length: int) -> None:
    text = refused(folder, weight(outside(location="w.bin", length=length)))
    assert f"has {length} bytes in the file 'w.bin', where its type and shape take {SIZE}" in text


@pytest.mark.parametrize("offset", [1, SIZE, 10**17])
def test_files_that_end_too_early(folder: Path, offset: int) -> None:
    assert "'w.bin' is cut short" in refused(folder, weight(outside(location="w.bin", offset=offset)))


def test_texts_in_files(folder: Path) -> None:
    tensor = outside(location="w.bin")
    tensor.data_type = TensorProto.STRING
    assert "holds texts in the file" in refused(folder, weight(tensor))


@pytest.mark.parametrize("form", FORMS)
def test_inner_tensors_are_taken_from_the_models_folder(
    folder: Path, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "w.bin").write_bytes(bytes(SIZE))  # what the working folder has of that name
    monkeypatch.chdir(elsewhere)
    path = written(folder, inner(outside(location="w.bin"), form))
    x = np.array([[1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(Session(models.load(path)).run({"x": x})[0], x @ NUMBERS)


def test_training_data_are_not_looked_at(folder: Path) -> None:
    model = weight(outside(location="w.bin"))
    model.training_info.add().algorithm.initializer.append(outside(location="/dev/zero"))
    assert len(models.load(written(folder, model)).graph) == 1
