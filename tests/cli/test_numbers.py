"""Every number of every subcommand: what is none, or out of bounds, is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from knight.cli import commands
from knight.cli._command import FlagCommand
from knight.cli._flags import POSTPONED, Flag
from tests import small_models

Run = Callable[..., Result]
COMMANDS = ("quant", "infer", "convert", "compare")


def numeric(name: str) -> list[Flag]:
    """The flags of a subcommand that take numbers."""
    command = commands.get(name)
    assert isinstance(command, FlagCommand)
    return [flag for flag in command.own if flag.kind in (int, float) and flag not in POSTPONED]


def refused(flag: Flag) -> list[str]:
    """Values that no flag of that kind may take, and those just beyond its bounds."""
    found = ["nan", "inf", "-inf", "1e999", "x", "", "9" * 6000, "1" + "0" * 400, "0x10", "1_", "\udcff"]
    if flag.least is not None:
        found += [str(flag.least - 1), "-" + "9" * 4000]
    if flag.most is not None:
        found.append(str(flag.most + 1))
    return found


CASES = [(name, flag) for name in COMMANDS for flag in numeric(name)]


@pytest.mark.parametrize(("name", "flag"), CASES, ids=[f"{name} {flag.label}" for name, flag in CASES])
def test_what_is_no_number_is_refused(run: Run, tmp_path: Path, name: str, flag: Flag) -> None:
    for value in refused(flag):
        result = run(name, "-m", tmp_path / "none.onnx", f"{flag.names[-1]}={value}", "--save-dir", tmp_path)
        (line,) = result.stderr.splitlines()
        assert result.exit_code == 2 and any(each in line for each in flag.names), (value, line)
        assert len(line) < 2100


def test_every_count_has_bounds() -> None:
    for _, flag in CASES:
        if flag.kind is int and not flag.choices and not flag.grouped:
            assert flag.least is not None, flag.label


@pytest.mark.parametrize(
    "words",
    [
        ("--tolerance", 0),
        ("--tolerance", 1.5),
        ("--tolerance", -1),
        ("-is", 0),
        ("-is", 1, -3, 8, 8),
    ],
)
def test_numbers_of_conversion(run: Run, tmp_path: Path, words: tuple[object, ...]) -> None:
    for name in ("quant", "convert"):
        model = small_models.conv_net(tmp_path)
        result = run(name, "-m", model, "-f", "caffe", *words, "--save-dir", tmp_path / "out")
        assert result.exit_code == 2 and str(words[0]) in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [("-per", 0.5), ("-per", -1), ("-per", 1.5), ("--dump-limit", 0), ("--dump-limit", -1)]
)
def test_numbers_of_quantization(run: Run, tmp_path: Path, words: tuple[object, ...]) -> None:
    result = run("quant", "-m", small_models.conv_net(tmp_path), *words, "--save-dir", tmp_path / "out")
    assert result.exit_code == 2 and str(words[0]) in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_number_of_a_run_config_has_the_same_bounds(run: Run, tmp_path: Path) -> None:
    for value in ("0", "1e3", "100000", '"nan"', "1e400", "9" * 5000, "[]", "[1, 2]", "{}", "null", "true"):
        (tmp_path / "rc.json").write_text(f'{{"quant": {{"cpu-num": {value}}}}}')
        result = run(
            "quant", "-m", tmp_path / "none.onnx", "-rc", tmp_path / "rc.json", "--save-dir", tmp_path / "out"
        )
        (line,) = result.stderr.splitlines()
        assert (result.exit_code == 2 and "cpu-num" in line) or (value == "1e3" and "none.onnx" in line)
