"""Whole pickled models: refused with the command that loads them, which then reaches the scripts as well."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from torch import nn

Run = Callable[..., Result]

SCRIPT = """
import numpy as np, torch
from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model

{top}

@pytorch_model.register("net")
def net(weight_path=None):
    return {{"model": {model}, "inputs": [torch.zeros(1, 3, 8, 8)]}}

@onnx_infer_func.register("feed")
def feed(executor):
    {body}
    for _ in range(executor.iteration):
        executor.forward(np.ones((1, 3, 8, 8), np.float32))
    return 1
"""
PLACES = {
    "in the register function": {"model": 'torch.load(weight_path)["model"].float()'},
    "while the script is loaded": {"top": 'kept = torch.load("whole net.pt")', "model": 'kept["model"]'},
    "in the infer function": {"model": "torch.nn.Conv2d(3, 4, 3)", "body": 'torch.load("whole net.pt")'},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(inplace=True))
    torch.save({"epoch": 3, "model": net, "ema": None}, tmp_path / "whole net.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(**parts: str) -> None:
    Path("nets.py").write_text(SCRIPT.format(**{"top": "", "body": "pass", **parts}))


def typed(run: Run, monkeypatch: pytest.MonkeyPatch, *words: object) -> Result:
    monkeypatch.setattr(sys, "argv", ["knight", *map(str, words)])
    return run(*words)


def told(result: Result) -> list[str]:
    """The words of the command that the refusal ends with."""
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    said, mark, command = result.stderr.strip().partition(
        "if you trust the file, add --allow-pickle: knight "
    )
    assert mark and "would run torch.nn.modules" in said
    return shlex.split(command)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("command", ["convert", "quant"])
def test_a_script_that_loads_a_whole_model(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, where: str, command: str
) -> None:
    written(**PLACES[where])
    words = ["--chip", "TX5368AV200", command, "-f", "pytorch", "-m", "net", "-uds", "nets.py", "-if", "feed"]
    words += ["-w", "whole net.pt", "--save-dir", "out it"]
    refused = typed(run, monkeypatch, *words)
    assert not list(Path("out it").glob("*.onnx"))
    again = told(refused)
    assert again == [*words, "--allow-pickle"]
    assert "nets.py:" in refused.stderr
    before = dict(os.environ)
    result = run(*again)
    assert result.exit_code == 0, result.output
    assert "no effect" not in result.output and "TORCH_FORCE" not in result.output
    assert dict(os.environ) == before


def test_a_script_beside_an_onnx_model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The infer function of any model may load one."""
    written(**PLACES["in the infer function"])
    run("convert", "-f", "pytorch", "-m", "net", "-uds", "nets.py", "--save-dir", ".")
    words = ["--chip", "onnxruntime", "quant", "-m", "net.onnx", "-uds", "nets.py", "-if", "feed"]
    result = run(*told(typed(run, monkeypatch, *words, "--save-dir", "out")))
    assert result.exit_code == 0, result.output
    assert "no effect" not in result.output


def test_a_checkpoint_as_the_model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["convert", "-f", "pytorch", "-m", "whole net.pt", "-is", "1", "3", "8", "8", "--save-dir", "out"]
    result = run(*told(typed(run, monkeypatch, *words)))
    assert result.exit_code == 0, result.output
    assert Path("out", "whole net.onnx").exists()


def test_a_build_has_a_flag_of_its_own(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(**PLACES["in the register function"])
    section = {
        "framework": "pytorch",
        "model": "net",
        "weight": "whole net.pt",
        "user-defined-script": "nets.py",
        "infer-func": "feed",
        "save-dir": "out",
    }
    Path("run.json").write_text(json.dumps({"chip": "onnxruntime", "quant": section}))
    again = told(typed(run, monkeypatch, "build", "-rc", "run.json"))
    assert again == ["build", "-rc", "run.json", "--quant.allow-pickle"]
    result = run(*again)
    assert result.exit_code == 0, result.output


def test_a_damaged_pickle_is_no_matter_of_trust(run: Run, folder: Path) -> None:
    written(**PLACES["in the register function"])
    Path("cut.pt").write_bytes(b"\x80\x02}q\x00")
    words = ["-f", "pytorch", "-m", "net", "-uds", "nets.py", "-w", "cut.pt", "--save-dir", "out"]
    result = run("convert", *words)
    assert result.exit_code == 1 and "if you trust the file" not in result.stderr
    assert "nets.py:" in result.stderr and result.stderr.count("\n") == 1
