"""Files are known by what is in them, and by their suffix where nothing in them tells."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from knight.formats import framework_of, hint


def archive(path: Path, *members: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for member in members:
            file.writestr(member, b"")
    return path


@pytest.mark.parametrize(
    ("name", "content", "framework"),
    [
        ("a.bin", b"\x89HDF\r\n\x1a\n", "tensorflow"),
        ("a.bin", b"\x1c\0\0\0TFL3", "tensorflow"),
        ("a.bin", b'{"base_code": {}, "program": {}}', "paddle"),
        ("a.txt", b'name: "net"\nlayer {\n  type: "Input"\n}', "caffe"),
        ("a.txt", b'name: "net"\nlayers {\n  type: CONVOLUTION\n}', "caffe"),
        ("a.json", b'{"layers": [{}]}', None),
        ("a.onnx", b"\x08\x08", "onnx"),
        ("a.pdmodel", b"\x0a\x10", "paddle"),
        ("a.PB", b"", "tensorflow"),
        ("a.pth", b"", "pytorch"),
        ("a", b"", None),
        ("a.pb", b"PK but no archive", "tensorflow"),
    ],
)
def test_files(name: str, content: bytes, framework: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert framework_of(path) == framework


def test_archives_and_folders(tmp_path: Path) -> None:
    assert framework_of(archive(tmp_path / "a", "config.json", "model.weights.h5")) == "tensorflow"
    assert framework_of(archive(tmp_path / "b.onnx", "net/data.pkl", "net/constants.pkl")) == "pytorch"
    assert framework_of(archive(tmp_path / "c", "net/archive_format", "net/models/model.json")) == "pytorch"
    assert framework_of(archive(tmp_path / "d.zip", "readme.txt")) is None
    folder = tmp_path / "saved"
    folder.mkdir()
    assert framework_of(folder) is None
    (folder / "saved_model.pb").touch()
    assert framework_of(folder) == "tensorflow"
    assert framework_of(tmp_path / "missing.pt2") == "pytorch"
    paddle = tmp_path / "paddle"
    paddle.mkdir()
    (paddle / "__model__").touch()
    assert framework_of(paddle) == "paddle"


def test_the_hint_is_silent_where_nothing_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "net.pdmodel"
    path.touch()
    assert hint(path, "paddle") == ""
    assert hint(path, "onnx") == " (it looks like paddle: use -f paddle)"
    assert hint(tmp_path / "net", "onnx") == ""


def test_kit(kit: Path) -> None:
    folders = {"onnx": "onnx", "caffe": "caffe", "pytorch": "pytorch", "tf": "tensorflow"}
    for folder, framework in folders.items():
        for path in (kit / folder).iterdir():
            assert framework_of(path) == framework, path
    assert framework_of(kit / "paddle" / "resnet20_cifar10" / "inference.pdmodel") == "paddle"


@pytest.mark.parametrize("place", range(0, 60, 4))
def test_a_damaged_archive_tells_nothing_and_stops_nobody(place: int, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"x")
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + place
    data[start : start + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert framework_of(path) in (None, "pytorch")
