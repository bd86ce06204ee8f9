"""Standard output that is closed, full, read no longer or for few characters; warnings of Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from tests import small_models

Run = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[2]


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of Bash, in which $K is the command; gives its last exit code, and what came out."""
    start = {"K": f"{sys.executable} -m knight", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    return subprocess.run(
        command,
        cwd=folder,
        env=start | {"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        errors="backslashreplace",
        check=False,
    )


@pytest.fixture
def quant(tmp_path: Path) -> str:
    """A line that quantizes a small model; an infer function that prints much is in a script beside it."""
    small_models.conv_net(tmp_path)
    small_models.script(tmp_path, "print('x' * 100_000)\nexecutor.forward(np.ones((1, 3, 8, 8), np.float32))")
    return "$K quant -m net.onnx -uds infer.py -if infer_net --save-dir out"


def result(folder: Path) -> list[str]:
    """The files of a result."""
    return sorted(path.name for path in folder.glob("out/net*"))


def test_nobody_reads_what_is_printed(tmp_path: Path, quant: str) -> None:
    done = shell(f"{quant} | head -1", tmp_path)
    assert (done.returncode, done.stdout) == (141, "Quant Start\n")
    assert done.stderr == (
        "knight: error: nobody reads standard output any more; earlier results are as they were\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line", ["$K --help | true", "$K template run-config --schema | true", "$K chips | head -1"]
)
def test_nobody_reads_what_is_asked_for(tmp_path: Path, line: str) -> None:
    done = shell(line, tmp_path)
    assert done.returncode in (0, 141) and len(done.stderr.splitlines()) == (done.returncode > 0)


def test_a_full_disk_behind_standard_output(tmp_path: Path) -> None:
    done = shell("$K chips > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "knight: error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_hindrance(tmp_path: Path, quant: str, closed: str) -> None:
    done = shell(f"{quant} {closed}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert result(tmp_path) == ["net_quantize.onnx", "net_report.json"]
    assert b"xxx" not in (tmp_path / "out" / "net_quantize.onnx").read_bytes()


def test_an_error_that_cannot_be_printed_keeps_its_exit_code(tmp_path: Path) -> None:
    assert shell("$K nothing 2>/dev/full", tmp_path).returncode == 2


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["é", "$'\\xff'"])
def test_any_name_in_any_locale(tmp_path: Path, environment: dict[str, str], name: str) -> None:
    small_models.conv_net(tmp_path)
    done = shell(f"$K quant -m net.onnx --save-dir out{name}", tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Quantized Model : out" in done.stdout
    (report,) = tmp_path.glob("out*/net_report.json")
    assert str(json.loads(report.read_text("utf-8"))["samples"]) == "1"
    again = shell(f"mv net.onnx {name}.onnx && $K infer -m {name}.onnx", tmp_path, **environment)
    refused = "error: model " in again.stderr and "its path is no valid UTF-8" in again.stderr
    assert (again.returncode, again.stderr) == (0, "") or (refused and len(again.stderr.splitlines()) == 1)


def test_what_pillow_warns_of_names_the_picture(run: Run, tmp_path: Path) -> None:
    small_models.conv_net(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "a.jpg")
    plain = (pictures / "a.jpg").read_bytes()
    tags = b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03" * 20  # many more than there are
    exif = b"\xff\xe1" + (8 + len(tags)).to_bytes(2, "big") + b"Exif\0\0" + tags
    (pictures / "a.jpg").write_bytes(plain[:2] + exif + plain[2:])
    (tmp_path / "in.json").write_text(json.dumps([{"data_dir": str(pictures)}]))
    ran = run("infer", "-m", tmp_path / "net.onnx", "--input-configs", tmp_path / "in.json")
    assert ran.exit_code == 0
    assert ran.stderr and all(
        line.startswith(f"  warning: {pictures / 'a.jpg'}: ") for line in ran.stderr.splitlines()
    )


def test_a_warning_of_python_is_one_line(run: Run, tmp_path: Path) -> None:
    script = small_models.script(tmp_path, "np.ones(1, np.float32) / np.float32(0)\nraise ValueError('mine')")
    ran = run("quant", "-m", small_models.conv_net(tmp_path), "-uds", script, "-if", "infer_net")
    warning, error = ran.stderr.splitlines()
    assert warning.startswith("  warning: RuntimeWarning: divide by zero encountered")
    assert f"({script}:7)" in warning and error.startswith("knight: error: ")


def test_a_warning_may_name_what_is_in_strangers_files(tmp_path: Path) -> None:
    name = r"'a\x1b[2Jb\nknight: error: c'"
    small_models.conv_net(tmp_path)
    tell = f"import logging, warnings\nlogging.error({name})\nwarnings.warn({name})\nraise ValueError('mine')"
    small_models.script(tmp_path, tell)
    done = shell("$K quant -m net.onnx -uds infer.py -if infer_net", tmp_path)
    warning, error = done.stderr.splitlines()
    assert warning.startswith("  warning: ") and r"a\x1b[2Jb knight: error: c" in warning
    assert error.startswith("knight: error: infer function 'infer_net'")
