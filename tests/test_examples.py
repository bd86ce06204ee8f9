"""The examples, run as users run them, in folders of their own: one for each framework, and those for CI."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

import knight
from tests.pages import Command, Folder as WithExamples, commands

ROOT = Path(__file__).resolve().parent.parent
CI = ROOT / "examples" / "ci"
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
KNIGHT = str(Path(sys.executable).with_name("knight"))
REPORTS = ("html", "json", "csv", "xml")
WORST = "/features/features.4/second/second.1/BatchNormalization_output_0"
"""The layer of the digits net with the largest error of its own."""

Done = subprocess.CompletedProcess[str]


def run(command: list[str], folder: Path, **variables: str) -> Done:
    """Runs it in `folder`, with the variables in its environment and no others of the examples'."""
    environment = {
        key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "PYTHONPATH") if key in os.environ
    }
    environment |= {"KNIGHT": KNIGHT, "PYTHON": sys.executable, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def check(folder: Path, **variables: str) -> Done:
    return run(["bash", str(CI / "check.sh")], folder, **variables)


NEEDS = {"pytorch": "torch", "caffe": "cv2", "paddle": "paddle", "tensorflow": "tensorflow"}
"""Folder of an example -> the package that it cannot do without."""

SCRIPTS = sorted((ROOT / "examples").rglob("*.py"))


def head(script: Path) -> list[str]:
    """The commands at the head of a script, which stand indented there."""
    text = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("framework", NEEDS)
def test_a_framework_has_an_example_that_runs_as_printed(
    framework: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if importlib.util.find_spec(NEEDS[framework]) is None:
        if request.config.getoption("--require-kit"):
            pytest.fail(f"{NEEDS[framework]} is not installed")
        pytest.skip(f"{NEEDS[framework]} is not installed")
    (script,) = (ROOT / "examples" / framework).glob("*.py")
    commands = head(script)
    assert f" convert -f {framework} " in commands[-2] and " quant " in commands[-1]
    folder = WithExamples(tmp_path)
    wrong = [text for command in commands if (text := folder.type(Command(command, ())))]
    assert not wrong, "\n".join(wrong)
    check_results(tmp_path)


def test_a_quantized_source_has_an_example_that_runs_as_printed(tmp_path: Path) -> None:
    commands = head(ROOT / "examples" / "qdq" / "blinks.py")
    assert len(commands) == 3
    folder = WithExamples(tmp_path)
    wrong = [text for command in commands if (text := folder.type(Command(command, ())))]
    assert not wrong, "\n".join(wrong)
    report = check_results(tmp_path)
    assert report["quantized_source"]["integer_operators"] == 2
    assert report["values"]["signal"]["scale"] == 1 / 32 and report["values"]["edges"]["scale"] == 1 / 16


def check_results(tmp_path: Path) -> dict[str, Any]:
    """What an example leaves behind: its report, which says that all is well."""
    (quantized,) = (tmp_path / "out").glob("*_quantize.onnx")
    name = quantized.name.removesuffix("_quantize.onnx")
    assert (tmp_path / "out" / f"{name}.onnx").exists()
    report = json.loads((tmp_path / "out" / f"{name}_report.json").read_text("utf-8"))
    assert report["metric_float"] == report["metric_quantized"] == 100 and report["float_operators"] == 0
    assert 30 < report["sqnr_db"] < 60
    return dict(report)


def test_the_stages_print_their_table(tmp_path: Path) -> None:
    text = ast.get_docstring(ast.parse((ROOT / "examples" / "stages.py").read_text("utf-8"))) or ""
    (command,) = commands(text.partition("\n\n")[2])
    assert len(command.printed) == 7  # two recipes by three methods
    assert not WithExamples(tmp_path).type(command)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples_import_public_names_alone(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("knight.")]
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "knight":
            assert node.module == "knight" and {alias.name for alias in node.names} <= set(knight.__all__)


@pytest.fixture(scope="module")
def make(request: pytest.FixtureRequest) -> str:
    found = shutil.which("make")
    if found is None:
        if request.config.getoption("--require-kit"):
            pytest.fail("make is not installed")
        pytest.skip("make is not installed")
    return found


class Folder:
    """A folder to run make in, and what is built there."""

    def __init__(self, make: str, path: Path) -> None:
        self.path, self.build, self._make = path, path / "out", make

    def make(self, *arguments: str) -> Done:
        settings = [f"KNIGHT={KNIGHT}", "BUILD=out"]
        return run([self._make, "-f", str(CI / "Makefile"), *settings, *arguments], self.path)

    def made(self) -> dict[str, int]:
        """When each model and report was written."""
        kinds = ("*.onnx", "*_compare.*", "*.passed")
        return {path.name: path.stat().st_mtime_ns for kind in kinds for path in self.build.glob(kind)}


@pytest.fixture(scope="module")
def folder(make: str, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """All is made in it; each test leaves it so that the next `make` makes it good."""
    folder = Folder(make, tmp_path_factory.mktemp("ci"))
    done = folder.make()
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def verdict(build: Path, name: str = "digits") -> dict[str, bool]:
    """Threshold -> kept, as JSON and JUnit say alike; both are checked as files."""
    document = json.loads((build / f"{name}_compare.json").read_text("utf-8"))
    jsonschema.validate(
        document, json.loads((ROOT / "knight/compare/compare_schema.json").read_text("utf-8"))
    )
    gates = {gate["name"]: gate["passed"] for gate in document["gates"]}
    root = ET.parse(build / f"{name}_compare.xml").getroot()
    cases = root.findall("testsuite/testcase[@classname='gate']")
    assert {case.attrib["name"]: case.find("failure") is None for case in cases} == gates
    assert int(root.attrib["tests"]) == len(gates) + len(document["layers"])
    assert (build / f"{name}_compare.csv").read_text("utf-8").count("\n") == 1 + len(document["layers"])
    assert "<html" in (build / f"{name}_compare.html").read_text("utf-8")
    return gates


ALL_KEPT = {"fail-under-cos": True, "fail-under-sqnr": True, "fail-over-loss": True}


def test_make_converts_quantizes_and_compares(folder: Folder) -> None:
    assert folder.make().returncode == 0
    models = {"digits.onnx", "digits_quantize.onnx", "digits.passed"}
    assert set(folder.made()) == models | {f"digits_compare.{kind}" for kind in REPORTS}
    assert verdict(folder.build) == ALL_KEPT


def test_make_again_does_nothing(folder: Folder) -> None:
    assert folder.make().returncode == 0
    before = folder.made()
    assert folder.make("-q").returncode == 0
    again = folder.make()
    assert again.returncode == 0 and "Nothing to be done" in again.stdout
    assert folder.made() == before


def test_make_stops_at_a_threshold_and_runs_only_the_comparison(folder: Folder) -> None:
    assert folder.make().returncode == 0
    before = folder.made()
    done = folder.make("MIN_SQNR=60")
    assert done.returncode == 2  # make's own; knight's is in its message
    assert "Error 3" in done.stderr and WORST in done.stderr and "under 60 dB" in done.stderr
    assert verdict(folder.build) == {**ALL_KEPT, "fail-under-sqnr": False}
    after = folder.made()
    assert "digits.passed" not in after
    assert all(after[name] == before[name] for name in ("digits.onnx", "digits_quantize.onnx"))
    assert folder.make("-q", "MIN_SQNR=60").returncode == 1  # a failure is not forgotten
    assert folder.make().returncode == 0 and "digits.passed" in folder.made()


def test_make_remakes_what_is_older(folder: Folder) -> None:
    assert folder.make().returncode == 0
    before = folder.made()
    os.utime(folder.build / "digits_quantize.onnx")
    done = folder.make()
    assert done.returncode == 0 and "Compare complete" in done.stdout and "Quant Start" not in done.stdout
    planned = folder.make("-n", "QUANT_FLAGS=-qm mse", "MIN_COS=").stdout
    assert "-qm mse" in planned and "fail-under-cos" not in planned and " convert " not in planned
    assert folder.make("-q", "-W", str(DIGITS)).returncode == 1
    assert folder.make("-q", "-W", str(DIGITS.with_suffix(".npz"))).returncode == 1
    assert folder.made()["digits.onnx"] == before["digits.onnx"]


def test_make_names_a_model_that_is_missing(folder: Folder) -> None:
    done = folder.make("MODEL=no/such.onnx")
    assert done.returncode == 2
    assert "model no/such.onnx: no such file" in done.stderr and "Error 1" in done.stderr
    assert "MODEL is empty" in folder.make("MODEL=").stderr


def test_make_clean_leaves_what_it_did_not_make(make: str, tmp_path: Path) -> None:
    folder = Folder(make, tmp_path)
    (folder.build / "steps").mkdir(parents=True)
    for name in ("digits.onnx", "digits_quantize.onnx", "digits_compare.xml", "digits.passed", "mine.onnx"):
        (folder.build / name).touch()
    assert folder.make("clean").returncode == 0
    assert [path.name for path in folder.build.iterdir()] == ["mine.onnx"]
    (folder.build / "mine.onnx").unlink()
    assert folder.make("clean").returncode == 0 and not folder.build.exists()
    assert folder.make("clean").returncode == 0


def test_make_blobs_starts_from_pytorch(make: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = Folder(make, tmp_path)
    done = folder.make("blobs")
    assert done.returncode == 0, done.stderr
    assert verdict(folder.build, "blobs") == ALL_KEPT


def test_script_passes_with_a_build_folder_elsewhere(tmp_path: Path) -> None:
    build, here = tmp_path / "build of today", tmp_path / "here"
    here.mkdir()
    done = check(here, BUILD=str(build))
    assert done.returncode == 0, done.stderr
    assert "3 of 3 thresholds kept" in done.stdout and f"report: {build}/digits_compare.html" in done.stdout
    assert verdict(build) == ALL_KEPT
    assert not list(here.iterdir())


def test_script_says_which_threshold_is_not_kept(tmp_path: Path) -> None:
    stale = tmp_path / "build" / "digits_compare.json"
    stale.parent.mkdir()
    stale.write_text("an earlier run's")
    done = check(tmp_path, MIN_COS="0.99999", MAX_LOSS="", SAMPLES="20", CHECKED="5")
    assert done.returncode == 3
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("threshold not kept: ")]
    assert "fail-under-cos" in line and WORST in line and "under 99.999 %" in line
    assert verdict(stale.parent) == {"fail-under-cos": False, "fail-under-sqnr": True}


@pytest.mark.parametrize(
    ("variables", "code", "message"),
    [
        ({"MODEL": "no/such.onnx"}, 1, "model no/such.onnx: no such file"),
        ({"CHIP": "TX9999", "SAMPLES": "1"}, 2, "TX9999"),
        ({"KNIGHT": "no-such-knight"}, 127, "no-such-knight"),
    ],
)
def test_script_hands_on_other_exit_codes(
    tmp_path: Path, variables: dict[str, str], code: int, message: str
) -> None:
    done = check(tmp_path, **variables)
    assert done.returncode == code and message in done.stderr
    assert not list(tmp_path.glob("build/*_compare.*"))
