"""What it costs to add one of each to Knight itself: its file, and nothing else in the tree.

A copy of the tree gets one new file per kind, those of docs/extending.md; the copy's own contract suites and
pins then have to pass with them, and the command line has to have them. A flag of our own costs two places.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.test_extending import FILES, ROOT, detector

PLACES = {
    "calibration method": {"knight/calibration/sigma.py": "knight_acme/sigma.py"},
    "optimizer": {"knight/optimizers/tight.py": "knight_acme/tight.py"},
    "engine": {"knight/engines/last_first.py": "knight_acme/last_first.py"},
    "chip": {"knight/targets/acme_npu.toml": "knight_acme/acme_npu.toml"},
    "pass": {"knight/passes/cancel_negations.py": "knight_acme/cancel_negations.py"},
    "form": {"knight/forms/neg_on_integers.py": "knight_acme/neg_on_integers.py"},
    "format": {"knight/exporters/with_scales.py": "knight_acme/with_scales.py"},
    "metric": {"knight/compare/metrics/norm.py": "knight_acme/norm.py"},
    "framework": {"knight/converters/acme.py": "knight_acme/layers.py"},
    "infer function": {"knight/tasks/infer_grid.py": "knight_acme/infer_grid.py"},
    "decoder": {"knight/tasks/_decoders/grid_boxes.py": "knight_acme/grid_boxes.py"},
    "subcommand": {"knight/cli/ops.py": "knight_acme/ops.py"},
}
"""Kind -> file in the tree -> where the page has its text."""

FLAG = {
    "knight/cli/_flags.py": (
        '    Flag(("--strict",)',
        '    Flag(("--seed",), NUMBERS, "of the random pictures", int, 0),\n    Flag(("--strict",)',
    ),
    "knight/config.py": ("    strict: bool = False\n", "    strict: bool = False\n    seed: int = 0\n"),
}
"""File -> what is replaced in it by what, for a flag of ``knight quant``."""


class Tree:
    """A copy of the code and of the tests that judge it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("knight", "tests", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.variables |= {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}

    def run(self, *words: str) -> str:
        """What a Python process in the copy prints; it has to succeed."""
        done = subprocess.run(
            [sys.executable, *words],
            check=False,
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def changed(self) -> set[str]:
        """Files of the code that are not as in the original."""
        return set(_differing(filecmp.dircmp(ROOT / "knight", self.folder / "knight"), "knight"))


def _differing(compared: filecmp.dircmp[str], where: str) -> list[str]:
    ours = [
        f"{where}/{name}" for name in (*compared.diff_files, *compared.right_only) if name != "__pycache__"
    ]
    return ours + [
        file for name, below in compared.subdirs.items() for file in _differing(below, f"{where}/{name}")
    ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy with one more of each kind, and with one more flag."""
    tree = Tree(tmp_path_factory.mktemp("tree"))
    for files in PLACES.values():
        for place, source in files.items():
            (tree.folder / place).write_text(FILES[source], "utf-8")
    for place, (before, after) in FLAG.items():
        text = (tree.folder / place).read_text("utf-8")
        assert text.count(before) == 1
        (tree.folder / place).write_text(text.replace(before, after), "utf-8")
    onnx.save(detector(), tree.folder / "net.onnx")
    (tree.folder / "layer.json").write_text('{"matrix": [[1, 2], [3, 4], [5, 6]], "bias": [0.5, -0.5]}')
    return tree


def test_each_kind_is_one_file_and_a_flag_two_places(tree: Tree) -> None:
    assert {len(files) for files in PLACES.values()} == {1} and len(FLAG) == 2
    assert tree.changed() == {place for files in (*PLACES.values(), FLAG) for place in files}


def test_the_trees_own_suites_pass_with_them(tree: Tree) -> None:
    """For each new entry the contract of its kind, and all pins of orders and names."""
    new = "sigma or tight or acme or cancel_negations or with_scales or last_first or norm or ops"
    pins = "order or known or keys or together or family or listed or every_pass"
    suites = [
        "tests/contract/test_calibrations.py",
        "tests/contract/test_optimizers.py",
        "tests/contract/test_targets.py",
        "tests/contract/test_metrics.py",
        "tests/contract/test_commands.py",
        "tests/contract/test_passes.py",
        "tests/contract/test_exporters.py",
        "tests/contract/test_engines.py",
        "tests/passes/test_order.py",
        "tests/contract/test_converters.py",
    ]
    told = tree.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"{new} or {pins}", *suites)
    assert " passed" in told


def test_they_are_in_the_command_line(tree: Tree) -> None:
    def knight(line: str) -> str:
        return tree.run("-m", "knight", *line.split())

    text = knight("plugins")
    for files in PLACES.values():
        for place in files:
            assert f" {Path(place).stem}" in text
    assert (
        "fuse_gelu\n"
        in knight("plugins --passes").partition("cancel_negations  (after fuse_gelu; built in)")[0]
    )
    assert "  ops       Count the operators of a model.\n" in knight("--help")

    chosen = "--chip ACME2 quant -m net.onnx -i 2"
    text = knight(f"{chosen} -if infer_grid -qm all --seed 3 --save-dir out")
    assert "sigma_it_2" in text
    made = onnx.load(tree.folder / "out" / "sigma_it_2" / "net_quantize.onnx")
    assert "Neg" not in [node.op_type for node in made.graph.node]
    knight("--chip ACME1 quant -m net.onnx -i 1 --format with_scales --save-dir scaled")
    assert (tree.folder / "scaled" / "net_scales.json").exists()
    assert "norm(%)" in knight(
        "compare -m net.onnx -q out/sigma_it_2/net_quantize.onnx -if infer_grid -i 2 --norm"
    )
    assert "Acme Convert To ONNX Succeed." in knight("convert -f acme -m layer.json --save-dir out")
    assert knight("ops out/layer.onnx").split() == ["Gemm", "1"]


def test_the_flag_arrives_by_its_name(tree: Tree) -> None:
    report = tree.folder / "out" / "sigma_it_2" / "net_report.json"
    assert '"seed": 3' in report.read_text("utf-8")
