"""Flags that other distributions add: where they show, how their values travel, what is left out aloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from knight import registry
from knight.cli import _extras, flags
from knight.cli._command import FlagCommand, added, extras
from knight.cli._flags import MODEL, QUANT, Flag
from knight.entry_points import EntryPoint

LEVEL = Flag(("-al", "--acme-level"), "Acme", "of detail", int, 1, commands=("quant", "infer"))
NAMES = Flag(("--acme-names",), MODEL, "of things", several=True, commands=("infer",))


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What other distributions register under ``knight.flags``: filled by the test."""
    found: dict[str, object] = {}
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [EntryPoint(group, name, f"acme:{name}", "acme 2.0") for name in found],
    )
    monkeypatch.setattr(EntryPoint, "load", lambda entry: found[entry.name])
    vars(flags).pop("plugins", None)
    yield found
    vars(flags).pop("plugins", None)


def run(*words: str, name: str = "quant") -> tuple[Result, dict[str, Any]]:
    got: dict[str, Any] = {}

    def callback(**values: Any) -> None:
        got.update(values, extras=extras(values), added=[flag.key for flag in added()])

    command = FlagCommand(name, QUANT, callback)
    return CliRunner().invoke(command, ["-m", "net.onnx", *words]), got


def test_a_value_arrives_with_the_others_and_as_an_extra(plugins: dict[str, object]) -> None:
    plugins["acme"] = [LEVEL, NAMES]
    for words, level in (((), 1), (("-al", "3"), 3), (("--acme-level", "4"), 4)):
        got = run(*words)[1]
        assert got["acme_level"] == level and got["extras"] == {"acme_level": level}
        assert got["added"] == ["acme_level"], "the other flag is for another command"
    got = run("--acme-names", "a", "b", name="infer")[1]
    assert got["extras"] == {"acme_level": 1, "acme_names": ("a", "b")}
    assert run("--acme-names", "a")[0].exit_code == 2
    assert run("-al", "much")[0].exit_code == 2


def test_help_has_them_under_their_title(plugins: dict[str, object]) -> None:
    plugins["acme"], plugins["other"] = LEVEL, (NAMES,)
    output = run("--help")[0].output
    assert "\nAcme:\n  -al, --acme-level N" in output and "acme-names" not in output
    output = run("--help", name="infer")[0].output
    assert "--acme-names" in output.partition("\nData:")[0], "under Model"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (Flag(("--strict",), "Acme", "x"), "--strict is a name of knight quant already"),
        (Flag(("-m", "--acme"), "Acme", "x"), "-m is a name of knight quant already"),
        (Flag(("--chip",), "Acme", "x"), "--chip is a name of knight quant already"),
        (
            [LEVEL, Flag(("-al", "--other"), "Acme", "x")],
            "-al is a name of flags 'broken' of acme 2.0 already",
        ),
        ([LEVEL, "no flag"], "holds 'no flag', which is no Flag"),
        (7, "holds 7, which is no Flag"),
    ],
)
def test_what_cannot_be_added_is_said_and_left_out(
    plugins: dict[str, object], broken: object, why: str
) -> None:
    plugins["broken"], plugins["whole"] = broken, Flag(("--acme-other",), "Acme", "y")
    result, got = run()
    assert result.exit_code == 0
    assert got["added"] == ["acme_other"]
    assert result.stderr.count("\n") == 1
    assert f"  warning: flags 'broken' of acme 2.0: {why}" in result.stderr


def test_of_two_packages_with_one_name_the_second_is_left_out(plugins: dict[str, object]) -> None:
    plugins["a"], plugins["b"] = LEVEL, LEVEL
    found, wrong = _extras.added("quant", QUANT)
    assert found == (LEVEL,)
    said = "flags 'b' of acme 2.0: -al is a name of flags 'a' of acme 2.0 already; mend that package or"
    assert [text.startswith(said) for text in wrong] == [True]


def test_without_such_packages_nothing_is_added() -> None:
    result, got = run()
    assert got["extras"] == {} and got["added"] == [] and result.stderr == ""


def test_outside_of_a_table_there_are_none(plugins: dict[str, object]) -> None:
    plugins["acme"] = LEVEL
    seen: list[Callable[..., object]] = []
    CliRunner().invoke(click.Command("plain", callback=lambda: seen.append(added())), [])  # type: ignore[arg-type]
    assert seen == [()]
