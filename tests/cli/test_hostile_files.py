"""Hostile files wherever a file is taken: one line that names the culprit, nothing hung, nothing written."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from knight.cli import knight
from tests import small_models


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def _content(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


HOSTILE: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "empty": Path.touch,
    "zeros": _content(bytes(1000)),
    "nested": _content(b"[" * 1_000_000),
    "nested objects": _content(b'{"a":' * 100_000),
    "nested tables": _content(b"a" + b".a" * 500 + b" = 1\n"),
    "digits": _content(b"9" * 6000),
    "digits in a list": _content(b"[" + b"9" * 6000 + b"]"),
    "digits of a key": _content(b"a = " + b"9" * 6000),
    "infinity": _content(b'[{"a": 1e999}]'),
    "not a number": _content(b'{"quant": {"percent": NaN}}'),
    "twice": _content(b'{"a": 1, "a": 2}'),
    "half": _content(b'{"\\ud800": "\\udfff"}'),
    "number": _content(b"1"),
    "null": _content(b"null"),
    "numbers": _content(b"[1, 2]"),
    "latin-1": _content('{"größer": "é"}'.encode("latin-1")),
    "utf-16": _content('{"a": "é"}'.encode("utf-16")),
    "escapes": _content(b"\x1b[2J\x1b]0;title\x07 0.5\n"),
    "noise": _content(np.random.default_rng(0).bytes(3000)),
}

PLACES: dict[str, tuple[str, ...]] = {
    "quant -m": ("quant", "-m", "FILE.onnx"),
    "quant -uds": ("quant", "-m", "net.onnx", "-uds", "FILE.py", "-if", "infer_net"),
    "quant -rc": ("quant", "-m", "net.onnx", "-rc", "FILE.json"),
    "quant -mc": ("quant", "-m", "net.onnx", "-mc", "FILE.json"),
    "quant --input-configs": ("quant", "-m", "net.onnx", "--input-configs", "FILE.json"),
    "quant --chip": ("quant", "-m", "net.onnx", "--chip", "FILE.toml"),
    "chips": ("chips", "FILE.toml"),
    "convert -rc": ("convert", "-m", "net.onnx", "-rc", "FILE.json"),
    "infer -m": ("infer", "-m", "FILE.onnx"),
    "infer -uds": ("infer", "-m", "net.onnx", "-uds", "FILE.py", "-if", "infer_net"),
    "infer -rc": ("infer", "-m", "net.onnx", "-rc", "FILE.json"),
    "infer --compare-with": ("infer", "-m", "net.onnx", "--compare-with", "FILE.onnx"),
    "infer --input-configs": ("infer", "-m", "net.onnx", "--input-configs", "FILE.json"),
    "compare -m": ("compare", "-m", "FILE.onnx", "-q", "net.onnx"),
    "compare -q": ("compare", "-m", "net.onnx", "-q", "FILE.onnx"),
    "compare -rc": ("compare", "-rc", "FILE.json"),
    "compare -qd": ("compare", "-qd", "FILE.dump"),
    "compare dump.json": ("compare", "-qd", "dump/dump.json"),
    "compare a dumped array": ("compare", "-qd", "dump/quant/0001:Relu_y/batch_0.npy"),
    "build -rc": ("build", "-rc", "FILE.json"),
    "template -m": ("template", "script", "-m", "FILE.onnx"),
    "labels": ("infer", "-m", "net.onnx", "--input-configs", "classes/labels.txt"),
    "picture": ("infer", "-m", "net.onnx", "--input-configs", "pictures/a.png"),
    "array": ("infer", "-m", "net.onnx", "--input-configs", "arrays/a.npy"),
    "raw array": ("infer", "-m", "net.onnx", "--input-configs", "raw/a.bin"),
    "audio": ("infer", "-m", "net.onnx", "-if", "infer_audio", "--input-configs", "audio/a.npy"),
    "vocabulary": ("infer", "-m", "net.onnx", "-if", "infer_audio", "--input-configs", "speech/words.json"),
}
"""Words of a command for each way in. FILE stands for the hostile file; a path for one in a folder of
`FOLDERS`: then the entry of input-configs that is for this folder is given, or the dump.
"""

FOLDERS: dict[str, dict[str, Any]] = {
    "dump": {},
    "classes": {"calculate_acc": True},
    "pictures": {},
    "arrays": {"quant_data_format": "Numpy", "input_name": "x"},
    "raw": {"quant_data_format": "Bin", "input_name": "x"},
    "audio": {},
    "speech": {"vocabulary": "speech/words.json"},
}


@pytest.fixture(autouse=True)
def never_hung() -> Iterator[None]:
    """A command that waits for ever is an error."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError("the command hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def made(words: tuple[str, ...], make: Callable[[Path], None]) -> tuple[list[str], str]:
    """The words of a command with the hostile file in the current folder, and that file's name."""
    given, culprit = [], ""
    for word in words:
        folder, slash, _ = word.partition("/")
        if word.startswith("FILE."):
            culprit = word = word.replace("FILE", "culprit")
            make(Path(word))
        elif slash and folder in FOLDERS:
            _fill(Path(folder))
            culprit = word
            Path(word).unlink(missing_ok=True)
            make(Path(word))
            Path("in.json").write_text(json.dumps([{"data_dir": folder, **FOLDERS[folder]}]))
            word = "in.json" if folder != "dump" else folder
        given.append(word)
    return given, Path(culprit).name


def _fill(folder: Path) -> None:
    """What such a folder holds where all is well."""
    folder.mkdir()
    if folder.name == "dump":
        for half in ("float", "quant"):
            (folder / half / "0001:Relu_y").mkdir(parents=True)
            np.save(folder / half / "0001:Relu_y" / "batch_0.npy", np.ones(3, np.float32))
    elif folder.name in ("classes", "pictures"):
        Image.new("RGB", (8, 8)).save(folder / "a.png")
        (folder / "labels.txt").write_text("a.png 1")
    else:
        np.save(folder / "a.npy", np.ones((1, 3, 8, 8), np.float32))
        (folder / "labels.txt").write_text("a.npy 1")


KINDS = {"pipe": "named pipe"}
BINARY = (".onnx", ".png", ".npy", ".bin", ".dump")
ANY_FILE = ("pipe", "socket", "device", "folder", "empty", "zeros", "nested", "digits", "noise")
"""What is tried where no text is read."""
NO_SAMPLES = ("picture", "array", "raw array", "audio")
"""Where a folder among the samples is passed over; what is said then is that there are none."""


@pytest.mark.parametrize("place", PLACES)
def test_every_hostile_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    wrong = []
    binary = any(Path(word).suffix in BINARY and word != "net.onnx" for word in PLACES[place])
    for name, make in HOSTILE.items():
        if binary and name not in ANY_FILE:
            continue
        here = tmp_path / name
        here.mkdir()
        monkeypatch.chdir(here)
        small_models.conv_net(here)
        words, culprit = made(PLACES[place], make)
        if words[0] not in ("chips", "build", "template"):
            words += ["--save-dir", "out"]
        result = CliRunner().invoke(knight, words, prog_name="knight")
        lines = result.stderr.splitlines()
        fine = result.exit_code in (1, 2) and len(lines) == 1 and len(lines[0]) < 2100
        named = culprit in result.stderr or (name == "folder" and place in NO_SAMPLES)
        if not fine or not named or "unexpected" in lines[0] or not lines[0].isprintable():
            wrong.append((name, result.exit_code, lines))
        if (here / "out").exists():
            wrong.append((name, "something was written", lines))
    assert wrong == []


@pytest.mark.parametrize("name", ["pipe", "socket", "device"])
@pytest.mark.parametrize("framework", ["caffe", "paddle", "pytorch", "tensorflow"])
@pytest.mark.parametrize("flag", ["-m", "-w"])
def test_no_framework_waits_for_what_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, framework: str, flag: str
) -> None:
    monkeypatch.chdir(tmp_path)
    HOSTILE[name](Path("culprit"))
    files = {"-m": "other", "-w": "other"} | {flag: "culprit"}
    words = [word for pair in files.items() for word in pair]
    result = CliRunner().invoke(knight, ["convert", "-f", framework, *words, "--save-dir", "out"])
    assert result.exit_code == 2 and flag in result.stderr
    assert f"culprit: is a {KINDS.get(name, name)}, not a file; name a file" in result.stderr
    assert not Path("out").exists()


def test_a_pipe_in_a_folder_that_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model/variables").mkdir(parents=True)
    os.mkfifo("model/variables/culprit")
    result = CliRunner().invoke(knight, ["convert", "-f", "tensorflow", "-m", "model", "--save-dir", "out"])
    assert result.exit_code == 1 and not Path("out").exists()
    assert "model/variables/culprit: is a named pipe, not a file" in result.stderr
