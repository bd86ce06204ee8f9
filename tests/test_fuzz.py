"""A short run of scripts/fuzz with fixed inputs: it finds nothing, and would find what there is to find."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

from knight.errors import DataError, KnightError, ModelError, ScriptError
from scripts.fuzz import _framework_seeds, _judge, _onnx_seeds, _seeds, targets
from scripts.fuzz._driver import Fuzzer
from scripts.fuzz._judge import Outcome
from scripts.fuzz._process import Answer, Worker
from scripts.fuzz.mutators import Mutator
from scripts.fuzz.run import groups
from tests.pages import ROOT

INPUTS = 24
"""Of each target, seeds among them."""


@pytest.mark.parametrize("names", groups(targets.names()), ids="+".join)
def test_nothing_is_found(names: list[str], tmp_path: Path) -> None:
    """Targets that need the same packages run in one process, since others bring each other down."""
    run = [sys.executable, str(ROOT / "scripts" / "fuzz" / "run.py"), *names, "--engine", "own"]
    run += ["--inputs", str(INPUTS), "--out", str(tmp_path)]
    done = subprocess.run(run, check=False, capture_output=True, text=True)
    told = "\n".join(path.read_text("utf-8") for path in tmp_path.rglob("findings/*.txt"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}\n{told[:4000]}"


def test_every_seed_is_made_by_the_script_and_read_by_a_target() -> None:
    made = {*_onnx_seeds.SEEDS, *_framework_seeds.SEEDS, *_seeds.SEEDS}
    there = {
        path.relative_to(targets.SEEDS).as_posix() for path in targets.SEEDS.rglob("*") if path.is_file()
    }
    assert made == there
    assert {name.partition("/")[0] for name in made} == {
        targets.load(name).seeds or name for name in targets.names()
    }
    assert sum((targets.SEEDS / name).stat().st_size for name in made) < 300_000


class Raw(ModelError):
    """Hands out its text as it is."""

    def __str__(self) -> str:
        return str(self.args[0])


def raising(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelError("model m.onnx: is cut short; copy it again"), ""),
        (ModelError("unexpected TypeError: x; run again with -l 0 for details"), "unexpected"),
        (ModelError("model m.pt: torch cannot load it: unexpected end of data"), ""),
        (Raw("one\ntwo"), "unprintable"),
        (Raw("\x1b[31mred"), "unprintable"),
        (KnightError(""), "no message"),
        (DataError("a" * 30_000), "endless message"),
        (ModelError("ONNX Runtime: std::bad_alloc"), "memory"),
        (ScriptError("infer function 'infer' raised ValueError"), "blames the script"),
        (MemoryError(), "memory"),
        (IndexError("list index out of range"), "IndexError"),
        (SystemExit(3), "SystemExit"),
    ],
)
def test_what_is_a_finding(error: BaseException, kind: str) -> None:
    assert _judge.judged(raising(error), model=True).kind == kind


def test_a_script_may_be_blamed_where_there_is_one() -> None:
    assert not _judge.judged(raising(ScriptError("infer function 'mine' raised")), model=False).kind


def test_memory_that_ran_out_below_is_seen() -> None:
    error = ModelError("model m: cannot be read")
    error.__cause__ = MemoryError()
    assert _judge.judged(raising(error), model=True).kind == "memory"


def test_every_fault_is_seen_and_the_worker_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Worker(seconds=1) as worker:
        kinds = {
            fault: worker.run("tests.fuzz_faults", fault.encode()).outcome.kind
            for fault in ("fine", "crash", "fine again", "hang", "wait", "memory", "exit", "index", "fine")
        }
        after = worker.run("tests.fuzz_faults", b"fine").outcome
    assert not list(tmp_path.iterdir())
    assert kinds == {
        "fine": "",
        "crash": "crash SIGSEGV",
        "fine again": "",
        "hang": "hang",
        "wait": "hang",
        "memory": "memory",
        "exit": "crash exit 3",
        "index": "IndexError",
    }
    assert after.text == "as it should be"


def test_findings_are_made_smaller_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of a reader that stumbles over one byte; seven of a hundred inputs have it."""
    answers = {True: Outcome("IndexError", "here", "told"), False: Outcome(text="refused")}

    class Stub(Worker):
        def run(self, target: str, data: bytes) -> Answer:
            return Answer(answers[b"!" in data], frozenset({("a.py", len(data) // 10)}))

    monkeypatch.setattr(targets, "seeds", lambda name: [b"a" * 50, b"b" * 30 + b"!" + b"c" * 30])
    found = Fuzzer("samples", Stub(), 0, tmp_path).run(lambda found: found.inputs < 200)
    ((data, answer),) = found.findings.values()
    assert data == b"!" and answer.outcome.signature == "IndexError here"
    (kept,) = (path for path in tmp_path.glob("samples/findings/*") if path.suffix != ".txt")
    assert kept.read_bytes() == b"!"
    assert found.kept == len(list(tmp_path.glob("samples/kept/*"))) and found.kept > 2
    assert sum(found.times.values()) + found.refused == found.inputs


MUTATED = [name for name in targets.names() if not targets.load(name).modules]


@pytest.mark.parametrize("name", MUTATED)
def test_changes_follow_from_the_seed_and_reach_the_reader(name: str) -> None:
    """The same inputs every time; hardly any is the input again; what is smaller is."""
    mutator: Mutator = targets.load(name).mutator
    seeds = targets.seeds(name)
    first, again = (
        [mutator.mutate(seeds[number % len(seeds)], seeds, random) for number in range(40)]
        for random in (Random(1), Random(1))
    )
    assert first == again
    assert sum(one not in seeds for one in first) > 20
    assert any(len(less) < len(seeds[0]) for less in mutator.smaller(seeds[0]))


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_atheris_keeps_inputs_and_suspects_none(tmp_path: Path) -> None:
    """The second engine, on a reader without faults."""
    run = [sys.executable, str(ROOT / "scripts" / "fuzz" / "run.py"), "mix_config", "--engine", "atheris"]
    done = subprocess.run([*run, "--seconds", "5", "--out", str(tmp_path)], check=False, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert len(list((tmp_path / "mix_config" / "kept").iterdir())) > 3
    assert not list((tmp_path / "mix_config" / "suspects").iterdir())
