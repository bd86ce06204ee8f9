"""Which files a Paddle model is read from, and what is said where they are not right."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from knight.converters import Source
from knight.converters.paddle import converter
from knight.converters.paddle._parameters import check_parameters
from knight.converters.paddle._program import Program
from knight.converters.paddle._shapes import check_shapes
from knight.errors import ConfigError, ModelError
from knight.listener import SILENT, Listener
from tests.converters.checks import assert_same
from tests.converters.paddle import nets
from tests.converters.paddle.nets import paddle

ROWS = ((None, 4), "float32")


class Told(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def detail(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small net in Paddle 3's form."""
    return nets.save(paddle.nn.Linear(4, 3), tmp_path_factory.mktemp("model") / "net", ROWS)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of it that may be harmed."""
    shutil.copy(model.with_suffix(".pdiparams"), tmp_path)
    return Path(shutil.copy(model, tmp_path))


def _fails(path: Path, weights: Path | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        converter.convert(Source(str(path), weights=str(weights) if weights else None), SILENT)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("program", "parameters", "named"),
    [
        ("odd name.model", "numbers.bin", True),
        ("__model__", "__params__", False),
        ("net.pb.txt", "net.pb.pdiparams", False),
    ],
)
def test_files_may_have_any_name(
    copy: Path, tmp_path: Path, program: str, parameters: str, named: bool
) -> None:
    copy.with_suffix(".pdiparams").rename(tmp_path / parameters)
    copy.rename(tmp_path / program)
    weights = str(tmp_path / parameters) if named else None
    assert_same(converter.convert(Source(str(tmp_path / program), weights=weights), SILENT))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([program, parameters])


def test_protobuf_program_by_any_name(kit: Path, tmp_path: Path) -> None:
    folder = kit / "paddle" / "resnet20_cifar10"
    shutil.copy(folder / "inference.pdmodel", tmp_path / "__model__")
    shutil.copy(folder / "inference.pdiparams", tmp_path / "__params__")
    assert_same(converter.convert(Source(str(tmp_path)), SILENT), batches=(2,))


def test_folder_and_prefix_and_found_parameters_are_told(model: Path) -> None:
    for path in (model.parent, model.with_suffix("")):
        told = Told()
        assert_same(converter.convert(Source(str(path)), told))
        assert told.lines[:2] == [f"program: {model}", f"parameters: {model.with_suffix('.pdiparams')}"]


def test_one_file_per_parameter(kit: Path, tmp_path: Path) -> None:
    from knight.converters.paddle._parameters import _record

    folder = kit / "paddle" / "resnet20_cifar10"
    shutil.copy(folder / "inference.pdmodel", tmp_path / "__model__")
    data = (folder / "inference.pdiparams").read_bytes()
    names = sorted(nets.parameter_names(folder / "inference.pdmodel"))
    with (folder / "inference.pdiparams").open("rb") as file:
        for name in names:
            start = file.tell()
            _record(file, len(data))
            (tmp_path / name).write_bytes(data[start : file.tell()])
    source = Source(str(tmp_path / "__model__"), weights=str(tmp_path))
    assert_same(converter.convert(source, SILENT), batches=(2,))
    (tmp_path / names[3]).unlink()
    assert f"no file for 1 parameters, the first is {names[3]!r}" in _fails(tmp_path / "__model__", tmp_path)


def test_net_without_parameters(tmp_path: Path) -> None:
    assert_same(nets.convert(nets.save(nets.net(lambda x: x * 2 + 1), tmp_path / "net", ROWS)))


def test_two_nets_with_the_same_names_do_not_mix(tmp_path: Path) -> None:
    conversions = []
    for seed in (1, 2):
        paddle.seed(seed)
        with paddle.utils.unique_name.guard():
            layer = paddle.nn.Linear(4, 3)
        conversions.append(nets.convert(nets.save(layer, tmp_path / f"net{seed}", ROWS)))
    for conversion in conversions:
        assert_same(conversion)


def test_missing_parameters(copy: Path) -> None:
    copy.with_suffix(".pdiparams").unlink()
    message = _fails(copy)
    assert "2 parameters are missing" in message
    assert "none of net.pdiparams, net.json.pdiparams, net.params, __params__ is beside it" in message
    assert "-w" in message


def test_given_parameters_that_are_not_there(copy: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        converter.convert(Source(str(copy), weights=str(copy.parent / "absent")), SILENT)


def test_parameters_of_another_net(copy: Path, tmp_path: Path) -> None:
    with paddle.utils.unique_name.guard():
        other = nets.save(paddle.nn.Linear(4, 5), tmp_path / "other", ROWS).with_suffix(".pdiparams")
    message = _fails(copy, other)
    assert "of another net" in message
    assert "of the model is [3], [5] in the file" in message
    file = copy.with_suffix(".pdiparams")
    data = file.read_bytes()
    file.write_bytes(data + data)
    assert "the model has 2 parameters, the file 4" in _fails(copy)
    file.write_bytes(data[: 4 + 8 + 4 + 4 + 4 + 3 * 4])  # the bias is the first record, of three numbers
    assert "the first without numbers is 'linear_" in _fails(copy)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_truncated_parameters(copy: Path, keep: float) -> None:
    file = copy.with_suffix(".pdiparams")
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    assert "cut short" in _fails(copy)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated_program(copy: Path, kit: Path, tmp_path: Path, keep: float) -> None:
    text = copy.read_text()
    copy.write_text(text[: int(len(text) * keep)])
    assert "cut short" in _fails(copy)
    data = (kit / "paddle" / "resnet20_cifar10" / "inference.pdmodel").read_bytes()
    old = tmp_path / "old.pdmodel"
    old.write_bytes(data[: int(len(data) * keep)])
    assert "cut short" in _fails(old)


def test_what_is_no_program(copy: Path, kit: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pdmodel"
    empty.write_bytes(b"")
    assert "empty" in _fails(empty)
    assert "use -f onnx" in _fails(kit / "onnx" / "resnet20_cifar10.onnx")
    assert "use -f pytorch" in _fails(kit / "pytorch" / "mobilenet_v1_0.25_224_torchscript.pt")
    assert "no such file" in _fails(tmp_path / "absent")
    assert "parameters only" in _fails(copy.with_suffix(".pdiparams"))
    weights = tmp_path / "net.pdparams"
    paddle.save(paddle.nn.Linear(4, 3).state_dict(), str(weights))
    assert "paddle.jit.save" in _fails(weights)
    assert "paddle.jit.save" in _fails(copy, weights)
    other = tmp_path / "settings.json"
    other.write_text(json.dumps({"a": 1}))
    assert "not a Paddle program" in _fails(other)


def test_folder_with_several_programs_or_none(copy: Path, tmp_path: Path) -> None:
    shutil.copy(copy, tmp_path / "second.json")
    assert "several programs in this folder (net.json, second.json)" in _fails(tmp_path)
    folder = tmp_path / "none"
    folder.mkdir()
    assert "no Paddle program" in _fails(folder)


def _at(document: Any, *keys: Any) -> Any:
    for key in keys:
        document = document[key]
    return document


@pytest.mark.parametrize("length", [2**63 - 1, 2**63, 2**64 - 1])
def test_records_longer_than_any_file(length: int, tmp_path: Path) -> None:
    """A seek to where no file reaches is an error of the system's."""
    file = tmp_path / "a.pdiparams"
    file.write_bytes(struct.pack("<IQQ", 0, 1, length) + bytes(40))
    with pytest.raises(ModelError, match="not a Paddle parameter file, or cut short"):
        check_parameters(file, {"w": (1,)})


OPS = ("program", "regions", 0, "blocks", 0, "ops")


@pytest.mark.parametrize("kind", ["#", "A", "I", "O"])
@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {}, [[]], [{"%": "1"}], {"%": 1}, [{"N": [], "AT": {}}], "gone"]
)
def test_a_program_with_a_part_of_another_kind_is_told_before_paddle_reads_it(
    kind: str, value: Any, copy: Path
) -> None:
    """Wherever it stands: nothing later has to ask again whether it is there."""
    told = set()
    for place in range(len(_at(json.loads(copy.read_text("utf-8")), *OPS))):
        document = json.loads(copy.read_text("utf-8"))
        op = _at(document, *OPS)[place]
        if value == "gone":
            op.pop(kind, None)
        else:
            op[kind] = value
        harmed = copy.with_name("harmed.json")
        harmed.write_text(json.dumps(document), "utf-8")
        try:
            program = Program.read(harmed)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            told.add(type(error).__name__)
            continue
        program.with_float_attributes()  # as all that reads a program: what was let through holds
        check_shapes(program, [[max(1, size) for size in shape] for shape in program.inputs.values()], SILENT)
    assert told or value not in (None, 3)


def test_programs_that_are_nested_too_deep(copy: Path) -> None:
    document = json.loads(copy.read_text("utf-8"))
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    _at(document, *OPS)[-1]["QA"] = deep
    copy.write_text(json.dumps(document), "utf-8")
    assert "not a Paddle program" in _fails(copy)
    text = json.dumps(document).replace('"QA"', '"QA": ' + "[" * 100_000, 1)
    copy.write_text(text, "utf-8")
    assert "not a Paddle program" in _fails(copy)
