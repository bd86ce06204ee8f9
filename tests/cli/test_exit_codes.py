"""Exit codes: 2 for what is wrong on the command line, names that there are not among it; 1 for files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests import small_models

Run = Callable[..., Result]

NAMES = {
    "an infer function": ("quant", "-m", "net.onnx", "-if", "infer_nt"),
    "an infer function of a script": ("infer", "-m", "net.onnx", "-uds", "infer.py", "-if", "infer_nt"),
    "an infer function that is compared by": (
        "compare",
        "-m",
        "net.onnx",
        "-q",
        "net.onnx",
        "-if",
        "infer_nt",
    ),
    "a chip": ("quant", "-m", "net.onnx", "--chip", "TX"),
    "a chip that is shown": ("chips", "TX"),
    "a method": ("quant", "-m", "net.onnx", "-qm", "klm"),
    "an optimizer": ("quant", "-m", "net.onnx", "--optimize", "more"),
    "a framework": ("convert", "-m", "net.onnx", "-f", "onyx"),
    "a format": ("quant", "-m", "net.onnx", "--format", "qd"),
    "an output": ("quant", "-m", "net.onnx", "-on", "score"),
    "an output that is shown": ("compare", "-m", "net.onnx", "-q", "net.onnx", "-on", "score"),
    "a type": ("quant", "-m", "net.onnx", "-qid", "int32"),
    "a field": ("compare", "-m", "net.onnx", "-q", "net.onnx", "--sort", "cosine"),
    "an operator": ("quant", "-m", "net.onnx", "--disable-names", "nobody"),
    "a kind of operators": ("quant", "-m", "net.onnx", "--disable-types", "Cnv"),
    "an option": ("infer", "-m", "net.onnx", "--nothing"),
    "a command": ("quont",),
    "a template": ("template", "scrip"),
    "a section": ("build", "-rc", "rc.json", "--quantt.iteration", "1"),
    "a key": ("build", "-rc", "rc.json", "--quant.iterations", "1"),
}
FILES = {
    "a model": ("quant", "-m", "gone.onnx"),
    "a model to compare with": ("infer", "-m", "net.onnx", "--compare-with", "gone.onnx"),
    "a script": ("quant", "-m", "net.onnx", "-uds", "gone.py", "-if", "infer_net"),
    "a script that fails": ("quant", "-m", "net.onnx", "-uds", "bad.py", "-if", "infer_net"),
    "a dump": ("compare", "-qd", "gone"),
    "a place for results": ("quant", "-m", "net.onnx", "--save-dir", "net.onnx/below"),
}
CONFIGURATIONS = {
    "a run-config": ("quant", "-m", "net.onnx", "-rc", "gone.json"),
    "a run-config without the section": ("infer", "-rc", "rc.json"),
    "a mix-config": ("quant", "-m", "net.onnx", "-mc", "gone.json"),
    "input-configs": ("quant", "-m", "net.onnx", "--input-configs", "gone.json"),
    "a chip's file": ("chips", "gone.toml"),
}


@pytest.fixture
def code(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The exit code of a command that fails in one line, in a folder with a model and a script."""
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path)
    small_models.script(tmp_path)
    small_models.script(tmp_path, "raise ValueError('mine')", file="bad.py")
    (tmp_path / "rc.json").write_text('{"quant": {"model": "net.onnx"}}')

    def failed(words: tuple[str, ...]) -> int:
        own = words[0] in ("quant", "convert") and "--save-dir" not in words
        result = run(*words, *(("--save-dir", "out") if own else ()))
        (line,) = result.stderr.splitlines()
        assert line.startswith("knight: error: ") and not Path("out").exists()
        return result.exit_code

    return failed


@pytest.mark.parametrize("what", NAMES)
def test_a_name_that_there_is_not(code: Callable[..., int], what: str) -> None:
    assert code(NAMES[what]) == 2


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_cannot_be_used(code: Callable[..., int], what: str) -> None:
    assert code(FILES[what]) == 1


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_a_configuration_that_cannot_be_used(code: Callable[..., int], what: str) -> None:
    assert code(CONFIGURATIONS[what]) == 2


def test_a_run_config_without_the_section_says_what_it_has(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rc.json").write_text('{"chip": "generic", "quant": {}}')
    line = run("infer", "-rc", tmp_path / "rc.json").stderr
    assert "rc.json: has no section infer, only chip, quant; infer wants an object" in line
    assert "knight build runs all steps" in line
