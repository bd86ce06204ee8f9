"""Commands that signals meet at random moments leave nothing and lose nothing; see scripts/fuzz/kill.py."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts" / "fuzz"))

import kill

MOMENTS = {"quant": 2, "convert caffe": 2}
"""Command -> runs per signal; many more by hand."""
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return kill.prepare(tmp_path_factory.mktemp("inputs"))


@LINUX
@pytest.mark.parametrize("name", MOMENTS)
def test_nothing_is_left_and_nothing_is_lost(name: str, sources: tuple[Path, Path], tmp_path: Path) -> None:
    (case,) = (case for case in kill.CASES if case.name == name)
    subject = kill.Subject(case, tmp_path, sources)
    subject.measure()
    chance = random.Random(name)
    for number in kill.SIGNALS:
        for moment, ending in kill.strikes(subject, number, MOMENTS[name], chance):
            assert not ending.faults, (number, moment, ending)


def test_the_harness_sees_what_is_left(sources: tuple[Path, Path], tmp_path: Path) -> None:
    """A command that tidies nothing up: each kind of fault is told."""
    code = (
        "import os, sys, subprocess, tempfile, time; "
        "tempfile.mkdtemp(); os.makedirs(sys.argv[1], exist_ok=True); "
        "open(sys.argv[1] + '/.half', 'w').close(); open(sys.argv[1] + '/net.onnx', 'w').write('half'); "
        "subprocess.Popen(['sleep', '30']); time.sleep(30)"
    )
    case = kill.Case("careless", lambda source, out: (out,))
    subject = kill.Subject(case, tmp_path, sources, later=tmp_path / "later")
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "net.onnx").write_bytes(b"whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kill, "knight", lambda *words: [sys.executable, "-c", code, *map(str, words)])
        ending = subject.strike(signal.SIGTERM, 2.0, "process", over=False)
    for pid in kill.processes(tmp_path / "struck"):
        kill.os.kill(pid, signal.SIGKILL)
    told = " ".join(ending.faults)
    for words in ("process", "temporary tmp", ".half is left", "net.onnx is not whole"):
        assert words in told, ending
