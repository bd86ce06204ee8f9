"""The wheel: holds every file of the package, installs without extras, and works there by itself."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.pages import ROOT

Done = subprocess.CompletedProcess[str]


def call(*words: object, folder: Path | None = None) -> Done:
    """Runs it, with nothing in the environment that leads Python to other packages."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def needed(site: Path) -> dict[str, importlib.metadata.Distribution]:
    """What the Knight that is installed in `site` cannot do without, from the environment of the tests."""
    (knight,) = importlib.metadata.distributions(name="knight-quant", path=[str(site)])
    found: dict[str, importlib.metadata.Distribution] = {}
    left = _requirements(knight, set())
    while left:
        requirement = left.pop()
        if requirement.name not in found:
            found[requirement.name] = importlib.metadata.distribution(requirement.name)
            left += _requirements(found[requirement.name], requirement.extras)
    return found


def _requirements(distribution: importlib.metadata.Distribution, extras: set[str]) -> list[Requirement]:
    found = map(Requirement, distribution.requires or ())
    asked = [{"extra": extra} for extra in ("", *extras)]
    return [one for one in found if one.marker is None or any(map(one.marker.evaluate, asked))]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of an earlier build is in it and nothing stays in the repository."""
    source = tmp_path_factory.mktemp("source")
    for name in ("knight", "pyproject.toml", "LICENSE", "README.md"):
        call("cp", "-r", ROOT / name, source)
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, what it needs, and nothing else.

    What it needs is linked from the environment of the tests: nothing is downloaded, and what only an extra
    brings is missing.
    """
    folder = tmp_path_factory.mktemp("bare") / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    install = ("install", "--no-deps", "--no-index", "--quiet", wheel)
    call(sys.executable, "-m", "pip", "--python", python, *install)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for distribution in needed(site).values():
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(str(distribution.locate_file(top)))
    return python


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("knight/")}
    files = (path for path in (ROOT / "knight").rglob("*") if path.is_file())
    wanted = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert held == wanted
    kinds = {Path(name).suffix for name in held}
    assert kinds == {".py", ".toml", ".json", ".html", ".css", ".js", ".typed"} and "knight/py.typed" in held


def test_it_needs_what_it_says_and_nothing_of_the_extras(python: Path) -> None:
    call(sys.executable, "-m", "pip", "--python", python, "check")
    listed = call(sys.executable, "-m", "pip", "--python", python, "list", "--format", "freeze").stdout
    there = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in listed.splitlines()}
    assert {"knight-quant", "onnx", "onnxruntime"} <= there
    assert not there & {
        "torch",
        "tensorflow-cpu",
        "paddlepaddle",
        "opencv-python-headless",
        "matplotlib",
        "pillow",
    }
    place = call(python, "-c", "import knight; print(knight.__file__)", folder=python.parent).stdout
    assert Path(place.strip()).is_relative_to(python.parent.parent)


def test_each_step_works_in_it(python: Path, tmp_path: Path) -> None:
    digits = ROOT / "examples" / "digits"
    knight, feed = python.with_name("knight"), ("-uds", digits / "infer_digits.py", "-if", "infer_digits")
    model = digits / "digits.onnx"
    call(knight, "convert", "-m", model, "--save-dir", "out", folder=tmp_path)
    quant = ("--chip", "onnxruntime", "quant", "-m", "out/digits.onnx", *feed, "-i", 20, "--save-dir", "out")
    assert "Integer operators: 13 of 13" in call(knight, *quant, folder=tmp_path).stdout
    both = ("-m", model, "-q", "out/digits_quantize.onnx", *feed, "-i", 5)
    compared = call(knight, "compare", *both, "--html", "out/report.html", folder=tmp_path).stdout
    assert "Compare complete" in compared
    assert "<html" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "TX5368AV200" in call(knight, "chips", folder=tmp_path).stdout
