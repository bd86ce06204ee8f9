"""The root of the command line: version, help, and one line for whatever goes wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import knight
from knight import pipeline
from tests import small_models

Run = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "msgspec",
    "numpy",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "rich",
    "torch",
    "knight.pipeline",
    "knight.targets",
}


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version(run: Run, flag: str) -> None:
    assert run(flag).output.split() == ["knight", knight.__version__]


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_help(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 0
    for name in ("quant", "infer", "convert", "compare", "chips", "template", "Example"):
        assert name in result.output


@pytest.mark.parametrize("words", ["['--help']", "['quant', '--help']", "['--version']"])
def test_help_imports_nothing_heavy(words: str) -> None:
    code = f"""
import sys
from knight.cli import main
try:
    sys.argv[1:] = {words}
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert not HEAVY & set(process.stderr.split())


def test_module_is_the_command() -> None:
    command = [sys.executable, "-m", "knight", "--version"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert process.stdout.split() == ["knight", knight.__version__]


def test_ctrl_c_while_packages_load_ends_without_a_traceback() -> None:
    code = """
import os, signal, sys

class Presses:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Presses())
from knight.__main__ import main
main()
"""
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert (process.returncode, process.stderr) == (-signal.SIGINT, b"")


def test_the_command_is_also_written_as_the_vendors() -> None:
    """``Knight --chip X quant`` and ``Knight quant --chip X``."""
    text = (ROOT / "pyproject.toml").read_text("utf-8").split("[project.scripts]")[1].split("[")[0]
    scripts = dict(line.replace('"', "").split(" = ") for line in text.strip().splitlines())
    assert scripts["Knight"] == scripts["knight"] == "knight.__main__:main"


@pytest.mark.parametrize("words", [("--chip", "TX5368AV200", "quant"), ("quant", "-ch", "TX5368AV200")])
def test_the_chip_stands_before_or_behind_the_command(
    run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    model = small_models.conv_net(tmp_path)
    result = run(*words, "-m", model, "--quant-mode", "min_max", "-i", 1, "-s", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "--chip                  TX5368AV200" in result.stdout


def test_unknown_command(run: Run) -> None:
    result = run("quont", "-m", "x")
    assert result.exit_code == 2
    assert result.stderr.strip() == "knight: error: unknown command 'quont': did you mean 'quant'?"


def test_chip_without_a_command(run: Run) -> None:
    result = run("--chip", "onnxruntime")
    assert result.exit_code == 2 and "subcommand" in result.stderr


@pytest.mark.parametrize("words", [("quant",), ("quant", "-m"), ("quant", "-i", "x", "-m", "y"), ("--nope",)])
def test_usage_errors_are_one_line(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("knight: error: ")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("two\nlines"), 1, "unexpected RuntimeError: two lines; run again with -l 0"),
        (MemoryError(), 1, "out of memory"),
        (OSError(28, "No space left on device", "/tmp/x"), 1, "No space left on device: /tmp/x"),
        (KeyboardInterrupt(), 130, "interrupted; earlier results are as they were"),
    ],
)
@pytest.mark.parametrize("level", [3, 0])
def test_what_nobody_foresaw(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
    level: int,
) -> None:
    def broken(*args: object, **settings: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "quantize", broken)
    result = run("quant", "-m", small_models.conv_net(tmp_path), "--save-dir", tmp_path / "out", "-l", level)
    assert result.exit_code == code
    *before, line = result.stderr.strip().splitlines()
    assert line.startswith("knight: error: ") and said in line
    assert ("Traceback" in result.stderr) is (level == 0 and code != 130)
    assert before == [] or level == 0


def test_debug_level_shows_where_a_users_error_came_from(run: Run, tmp_path: Path) -> None:
    script = small_models.script(tmp_path, "raise LookupError('mine')")
    words = ("-m", small_models.conv_net(tmp_path), "-uds", script, "-if", "infer_net", "-l", 0)
    result = run("quant", *words, "--save-dir", tmp_path / "out")
    assert "Traceback" in result.stderr and "raise LookupError('mine')" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("knight: error: ")
