"""Which chip is meant, and `knight chips`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from knight.cli._chip import settings_file
from knight.runner import saturates
from knight.targets import chip_names, families, load_target
from tests import small_models

Run = Callable[..., Result]


def chip_of(run: Run, folder: Path, before: tuple[object, ...] = (), after: tuple[object, ...] = ()) -> str:
    model = small_models.conv_net(folder)
    result = run(*before, "quant", "-m", model, "--save-dir", folder / "out", *after)
    assert result.exit_code == 0, result.stderr
    (line,) = [line for line in result.output.splitlines() if line.startswith("  --chip ")]
    return line.split()[-1]


def test_without_a_choice(run: Run, tmp_path: Path) -> None:
    assert chip_of(run, tmp_path) == "TX5368AV200"


@pytest.mark.parametrize(
    ("before", "after", "meant"),
    [
        (("--chip", "onnxruntime"), (), "onnxruntime"),
        ((), ("-ch", "onnxruntime"), "onnxruntime"),
        (("-ch", "generic", "--chip", "tensorrt"), ("--chip", "onnxruntime"), "generic"),
        ((), ("--chip", "TENSORRT", "--chip", "onnxruntime"), "tensorrt"),
    ],
)
def test_the_first_one_given_counts(
    run: Run, tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...], meant: str
) -> None:
    assert chip_of(run, tmp_path, before, after) == meant


def test_the_default_is_remembered(run: Run, tmp_path: Path) -> None:
    result = run("--default-chip", "onnxruntime")
    assert result.exit_code == 0 and "Default chip: onnxruntime" in result.output
    assert settings_file().is_relative_to(tmp_path)
    assert chip_of(run, tmp_path) == "onnxruntime"
    assert chip_of(run, tmp_path, ("--chip", "generic")) == "generic"


def test_the_default_is_set_and_used_in_one_line(run: Run, tmp_path: Path) -> None:
    assert chip_of(run, tmp_path, ("--default-chip", "generic")) == "generic"


def test_an_unknown_default_is_refused(run: Run) -> None:
    result = run("--default-chip", "onnxruntme")
    assert result.exit_code == 2 and "did you mean 'onnxruntime' or" in result.stderr
    assert not settings_file().exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", "{"])
def test_a_broken_settings_file_is_named(run: Run, tmp_path: Path, text: str) -> None:
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(text)
    result = run("quant", "-m", small_models.conv_net(tmp_path), "--save-dir", tmp_path / "out")
    assert result.exit_code == 2 and str(settings_file()) in result.stderr


def test_a_file_of_ones_own(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "onnxruntime"\ndescription = "like it"\nsource = "me"\n')
    assert chip_of(run, tmp_path, ("--chip", path)) == "mine"
    assert run("--default-chip", path).exit_code == 0
    assert chip_of(run, tmp_path) == "mine"
    assert "mine: like it" in run("chips", path).output


def test_chips_lists_every_family_and_chip(run: Run) -> None:
    *lines, machine = run("chips").output.splitlines()
    assert machine.startswith("This CPU (")
    assert ("onnxruntime-avx2 is made for such CPUs" in machine) is saturates()
    rows = {line.split(" | ")[0].strip(): line for line in lines[2:]}
    assert set(rows) == set(families())
    words = {word for line in lines for word in line.replace("|", " ").split()}
    assert set(chip_names()) <= words
    for name, row in rows.items():
        target = load_target(name)
        cells = [cell.strip() for cell in row.split(" | ")]
        usual = target.schemes[0]
        assert cells[1].split() == [scheme.name for scheme in target.schemes]
        assert ("unsigned" in cells[2]) is not usual.activation_signed
        assert ("symmetric" in cells[2]) is usual.activation_symmetric
        assert ("unsigned" in cells[3]) is not usual.weight_signed
        assert (cells[4] == "static") is target.static_shapes
        assert cells[5] == str(len(target.integer_operators))


def test_chips_shows_one(run: Run) -> None:
    target = load_target("TX5368AV200")
    output = run("chips", "tx5368av200").output
    assert output.startswith(f"TX5368AV200: {target.description}")
    assert all(f" {operator}" in output for operator in target.integer_operators | target.software)
    assert target.source in output and "shift of 0 to 31" in output


def test_chips_shows_each_scheme_with_its_facts(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "generic"\n[scheme.w16a16.activation]\nsigned = true\n[widths]\nConv = ["w8a8", "w4a8"]\n'
    )
    shown = [" ".join(line.split()) for line in run("chips", path).output.splitlines()]
    assert "w8a8 activations unsigned, zero point; weights signed, symmetric, per channel" in shown
    assert "w16a16 activations signed, zero point; weights signed, symmetric, per channel" in shown
    assert any(line.startswith("w4a8 ") and line.endswith("per channel, in blocks of 32") for line in shown)
    assert "Conv only w8a8 w4a8" in shown


def test_chips_of_an_unknown_name(run: Run) -> None:
    result = run("chips", "tensort")
    assert result.exit_code == 2 and "did you mean 'tensorrt'?" in result.stderr


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "{}", '{"default_chip": 3}', '{"default_chip": NaN}', "\udcff"]
)
def test_a_damaged_memory_is_named(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "settings" / "knight").mkdir(parents=True)
    file = tmp_path / "settings" / "knight" / "settings.json"
    file.write_text(text, "utf-8", "surrogateescape")
    result = run("quant", "-m", small_models.conv_net(tmp_path), "--save-dir", tmp_path / "out")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2 and f"{file}: " in line and line.endswith("choose again with --default-chip")
