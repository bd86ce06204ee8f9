"""Which operators stay float: flags, run-config and -mc, told by --dry-run and kept by the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import Result

from tests import small_models

Run = Callable[..., Result]


def quant(run: Run, folder: Path, *words: object) -> Result:
    model = folder / "net.onnx"
    if not model.exists():
        small_models.conv_net(folder)
    script = small_models.script(folder, small_models.FEED)
    return run("quant", "-m", model, "-uds", script, "-if", "infer_net", "--save-dir", folder / "out", *words)


def left_in_float(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / "out" / "net_report.json").read_text())["kept_in_float"])


def mixed(folder: Path, *entries: dict[str, object]) -> Path:
    path = folder / "mix.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(
    ("words", "kept", "origin"),
    [
        (("--disable-names", "gemm"), {"gemm"}, "--disable-names"),
        (("--disable-names", "scores"), {"gemm"}, "--disable-names"),
        (("--disable-names", "co*", "gemm"), {"conv", "gemm"}, "--disable-names"),
        (("--disable-types", "Conv,Gemm"), {"conv", "gemm"}, "--disable-types"),
        (("--disable-types", "Global*"), {"pool"}, "--disable-types"),
        (("--keep-first", 1), {"conv"}, "--keep-first"),
        (("--keep-last", 1), {"gemm"}, "--keep-last"),
    ],
)
def test_operators_stay_in_float(
    run: Run, tmp_path: Path, words: tuple[object, ...], kept: set[str], origin: str
) -> None:
    result = quant(run, tmp_path, "-i", 3, *words)
    assert result.exit_code == 0, result.output
    reasons = left_in_float(tmp_path)
    assert {name for name, why in reasons.items() if why == f"left in float by {origin}"} == kept
    made = onnx.load(tmp_path / "out" / "net_quantize.onnx").graph
    makers = {name: node for node in made.node for name in node.output}
    for node in made.node:
        if node.name in kept and node.op_type in ("Conv", "Gemm"):
            assert node.input[1] not in makers  # the weight as it was


def test_the_keys_of_a_run_config_are_the_same(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "run.json"
    config.write_text(json.dumps({"quant": {"disable-types": ["Gemm"], "keep-first": 1}}))
    assert quant(run, tmp_path, "-i", 3, "-rc", config).exit_code == 0
    assert {"conv", "gemm"} <= left_in_float(tmp_path).keys()


def test_a_mix_config_is_followed_and_exclusion_wins_over_it(run: Run, tmp_path: Path) -> None:
    path = mixed(
        tmp_path,
        {"op_types": ["Conv"], "bitwidth": 8, "mode": "min_max"},
        {"op_names": ["pool"], "bitwidth": "float"},
    )
    result = quant(run, tmp_path, "-i", 3, "-mc", path, "-qm", "mse", "--disable-names", "gemm")
    assert result.exit_code == 0, result.output
    reasons = left_in_float(tmp_path)
    assert reasons["pool"] == f"left in float by -mc/--mix-config {path}: [1]"
    assert reasons["gemm"] == "left in float by --disable-names"
    result = quant(run, tmp_path, "-mc", path, "-qm", "mse", "--dry-run")
    assert [
        line.split("|")[-1].strip() for line in result.output.splitlines() if line.startswith("conv")
    ] == ["min_max"]


def test_a_kind_that_is_disabled_stays_float_though_the_file_names_it(run: Run, tmp_path: Path) -> None:
    path = mixed(tmp_path, {"op_names": ["gemm"], "bitwidth": 8})
    assert quant(run, tmp_path, "-i", 3, "-mc", path, "--disable-types", "Gemm").exit_code == 0
    assert left_in_float(tmp_path)["gemm"] == "left in float by --disable-types"


def test_a_mix_config_of_a_mode_quantizes_as_that_method_does(run: Run, tmp_path: Path) -> None:
    path = mixed(tmp_path, {"op_types": ["*"], "mode": "min_max"})
    assert quant(run, tmp_path, "-i", 3, "-mc", path, "-qm", "mse").exit_code == 0
    by_file = (tmp_path / "out" / "net_quantize.onnx").read_bytes()
    assert quant(run, tmp_path, "-i", 3, "-qm", "min_max").exit_code == 0
    assert (tmp_path / "out" / "net_quantize.onnx").read_bytes() == by_file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--disable-names", "gem"),
            "--disable-names: no operator is called 'gem' or makes a value of that name: ",
        ),
        (
            ("--disable-types", "Gem"),
            "--disable-types: the model has no operator of type 'Gem': did you mean 'Gemm'?",
        ),
        (("--keep-first", -1), "--keep-first is -1; it has to be at least 0"),
    ],
)
def test_what_matches_nothing_is_an_error_before_any_data_are_run(
    run: Run, tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    result = quant(run, tmp_path, "-i", 3, *words)
    assert result.exit_code == 2 and said in result.stderr
    assert "Stage2" not in result.output and not (tmp_path / "out").exists()


def test_a_dry_run_lists_all_and_runs_nothing(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "--dry-run", "--disable-names", "gemm", "-qm", "mse", "kl")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "Quantized        : 4 of 5 operators" in lines
    (conv,) = [line for line in lines if line.startswith("conv ")]
    assert [cell.strip() for cell in conv.split("|")] == ["conv", "Conv", "int8 per channel", "int8", "mse"]
    place = lines.index("Float, 1: left in float by --disable-names")
    assert lines[place + 1] == "  gemm | Gemm"
    assert lines[-2:] == ["Likewise by      : kl", "Dry run: no data were run, and nothing was written"]
    assert "Stage" not in result.output and not (tmp_path / "out").exists()


def test_a_dry_run_needs_no_data_at_all(run: Run, tmp_path: Path) -> None:
    result = run("quant", "-m", small_models.conv_net(tmp_path), "--dry-run", "--chip", "onnxruntime")
    assert result.exit_code == 0 and "uint8" in result.output
