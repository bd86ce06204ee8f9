"""``-rc``: the arguments of a subcommand from a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings, strategies as st

from knight.cli._command import FlagCommand
from knight.cli._compare_flags import compare_flags
from knight.cli._flags import CONVERT, INFER, QUANT
from knight.cli._run_config import read_section
from knight.errors import ConfigError
from tests import small_models

Run = Callable[..., Result]


def section(path: Path, values: Any, name: str = "compare") -> Path:
    path.write_text(json.dumps({name: values}), "utf-8")
    return path


def parsed(path: Path, *words: str) -> dict[str, Any]:
    """What the options come to, with the file and these words."""
    got: dict[str, Any] = {}
    command = FlagCommand("compare", compare_flags(), lambda **values: got.update(values))
    command.main([*words, "-rc", str(path)], standalone_mode=False)
    return got


def test_values_of_every_kind(tmp_path: Path) -> None:
    values = {
        "model": "net.onnx",
        "--quantized": "q.onnx",
        "infer_func": "infer_net",
        "iteration": 20,
        "mean": [123.7, 116],
        "std": "58.4, 57 57.5",
        "fail-under-cos": 0.98,
        "show-number": "5",
        "rmse": True,
        "bias": "no",
        "maxdiff": 1,
        "op-type": ["Conv", "Gemm"],
        "index-range": "0-3",
    }
    got = parsed(section(tmp_path / "rc.json", values))
    assert (got["model"], got["quantized"], got["infer_func"]) == ("net.onnx", "q.onnx", "infer_net")
    assert (got["iteration"], got["mean"], got["std"]) == ((20,), (123.7, 116.0), (58.4, 57.0, 57.5))
    assert (got["fail_under_cos"], got["show_number"]) == (0.98, 5)
    assert (got["rmse"], got["bias"], got["maxdiff"], got["no_mre"]) == (True, False, True, False)
    assert (got["op_type"], got["index_range"], got["sort"]) == ("Conv,Gemm", "0-3", None)


def test_the_command_line_wins(tmp_path: Path) -> None:
    path = section(tmp_path / "rc.json", {"sort": "mre", "iteration": [5], "show-number": 3, "rmse": False})
    got = parsed(path, "--sort", "cos", "-i", "7", "--rmse")
    assert (got["sort"], got["iteration"], got["rmse"], got["show_number"]) == ("cos", (7,), True, 3)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "rc.json").write_text(json.dumps({"compare": {"sort": "cos"}}), "utf-8-sig")
    assert parsed(tmp_path / "rc.json")["sort"] == "cos"


def test_a_whole_comparison_from_a_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path)
    small_models.script(tmp_path)
    quantized = run("quant", "-m", "net.onnx", "-uds", "infer.py", "-if", "infer_net", "--save-dir", "out")
    assert quantized.exit_code == 0, quantized.output
    (tmp_path / "config").mkdir()
    values = {
        "model": "net.onnx",  # beside the folder that the command runs in, not beside the file
        "quantized": "out/net_quantize.onnx",
        "user-defined-script": "infer.py",
        "infer-func": "infer_net",
        "iteration": 2,
        "json": "a.json",
        "fail-under-cos": 99.9999999,
    }
    result = run("compare", "--run-config", section(tmp_path / "config" / "rc.json", values))
    assert result.exit_code == 3, result.output
    assert json.loads((tmp_path / "a.json").read_text())["layers"]
    assert "2 samples in 2 forward calls" in result.stdout and "--fail-under-cos" in result.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("", "no JSON"),
        ('{"compare": {"sort": "cos"},}', "no JSON"),
        ("[" * 100_000, "is nested too deep"),
        ("\xff\xfe", "line 1: no UTF-8 text; save the file as UTF-8"),
        ("[]", "wants an object"),
        ('{"chip": "a"}', 'wants an object {"compare": {...}}'),
        ('{"chip": ["a"], "compare": {}}', 'chip: is ["a"]; it has to be a name'),
        ('{"chip": "", "compare": {}}', 'chip: is ""; it has to be a name'),
        ('{"compare": {"sort": "cos", "sort": "mre"}}', "sort: the same key is there twice"),
        ('{"compare": {}, "compare": {}}', "compare: the same key is there twice"),
        ('{"compare": {}, "qunat": {}}', "qunat: unknown section: did you mean 'quant'?"),
        ('{"compare": {}, "a\\nb": {}}', r"a\nb: unknown section: known: "),
        ('{"compare": {"a\\nb": 1}}', r"compare.a\nb: unknown key"),
        ('{"compare": {}, "run": 1}', "run: has to be an object"),
        ('{"quant": {}}', 'wants an object {"compare": {...}}'),
        ('{"compare": []}', "compare: has to be an object"),
        ('{"compare": {"srt": "cos"}}', "compare.srt: unknown key: did you mean 'sort'"),
        ('{"compare": {"run-config": "a.json"}}', "compare.run-config: unknown key"),
        ('{"compare": {"sort": null}}', "compare.sort: is null; it has to be a text"),
        ('{"compare": {"sort": ["cos"]}}', 'compare.sort: is ["cos"]; it has to be a text'),
        ('{"compare": {"show-number": 2.5}}', "compare.show-number: is 2.5; it has to be a whole number"),
        ('{"compare": {"show-number": "ten"}}', 'compare.show-number: is "ten"; it has to be a whole number'),
        ('{"compare": {"show-number": true}}', "compare.show-number: is true"),
        ('{"compare": {"show-number": 1e999}}', "compare.show-number: is Infinity"),
        ('{"compare": {"rmse": "perhaps"}}', 'compare.rmse: is "perhaps"; it has to be true or false'),
        ('{"compare": {"rmse": [true]}}', "compare.rmse: is [true]; it has to be true or false"),
        ('{"compare": {"iteration": []}}', "compare.iteration: is empty; give a whole number"),
        ('{"compare": {"iteration": " "}}', "compare.iteration: is empty"),
        ('{"compare": {"mean": {"a": 1}}}', 'compare.mean: is {"a": 1}; it has to be a number'),
        ('{"compare": {"save-dir": "a", "save_dir": "b"}}', "the same key is there twice"),
    ],
)
def test_mistakes_name_file_and_key(run: Run, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rc.json"
    path.write_bytes(text.encode("latin-1"))
    result = run("compare", "-rc", path)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"knight: error: -rc/--run-config {path}: ") and said in line


def test_values_are_checked_like_those_of_the_command_line(run: Run, tmp_path: Path) -> None:
    for key, value, said in (
        ("show", "hits", "-sh/--show: unknown value 'hits': did you mean 'hist'?"),
        ("show-level", 9, "-sl/--show-level: unknown value '9'"),
        ("show-number", 0, "-sn/--show-number is 0"),
        ("sort", "cso", "cannot sort by 'cso'"),
    ):
        result = run("compare", "-qd", "dump", "-rc", section(tmp_path / "rc.json", {key: value}))
        assert result.exit_code == 2 and said in result.stderr, result.output


@pytest.mark.parametrize("path", ["gone.json", "."])
def test_a_file_that_cannot_be_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("compare", "-rc", path)
    assert result.exit_code == 2 and result.stderr.startswith(f"knight: error: -rc/--run-config {path}: ")
    assert result.stderr.count("\n") == 1


# the other subcommands -----------------------------------------------------------------------------------


def parsed_by(name: str, source: object, *words: object) -> dict[str, Any]:
    """What the options of `name` come to, with the run-config and these words."""
    got: dict[str, Any] = {}
    flags = {"quant": QUANT, "infer": INFER, "convert": CONVERT}[name]
    command = FlagCommand(name, flags, lambda **values: got.update(values))
    command.main([*map(str, words), "-rc", str(source)], standalone_mode=False)
    return got


@pytest.mark.parametrize("name", ["quant", "infer", "convert"])
def test_every_subcommand_reads_its_own_section(tmp_path: Path, name: str) -> None:
    own = {"model": "net.onnx", "batch-size": "4", "cpu-num": 2, "input-configs": [{"data_dir": "x"}]}
    others = {
        other: {"no-such-key": 1}
        for other in ("quant", "infer", "convert", "compile", "run")
        if other != name
    }
    path = tmp_path / "rc.json"
    path.write_text(json.dumps({"chip": "onnxruntime", name: own, **others}))
    for source in (path, path.read_text()):  # the text itself serves as well
        got = parsed_by(name, source, "-cn", 3)
        assert (got["model"], got["batch_size"], got["cpu_num"]) == ("net.onnx", 4, 3)
        assert got["input_configs"] == [{"data_dir": "x"}] and got["chip"] == ("onnxruntime",)
        assert got["iteration"] == (1,)


@pytest.mark.parametrize(
    ("value", "shapes"),
    [
        ([1, 3, 8, 8], ((1, 3, 8, 8),)),
        ("1 3 8 8", ((1, 3, 8, 8),)),
        ("1x3x8x8", ((1, 3, 8, 8),)),
        (["1", "3"], ((1, 3),)),
        ([[1, 3], [2]], ((1, 3), (2,))),
        (["1,3", [2]], ((1, 3), (2,))),
        ([-1, 3, 8, 8], ((-1, 3, 8, 8),)),
        (["1 -1", "-1x3"], ((1, -1), (-1, 3))),
        (5, ((5,),)),
    ],
)
def test_shapes_of_inputs(tmp_path: Path, value: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    path = section(tmp_path / "rc.json", {"model": "m", "input-shapes": value}, "convert")
    assert parsed_by("convert", path)["input_shapes"] == shapes


def test_lists_numbers_and_switches_of_quant(tmp_path: Path) -> None:
    values = {
        "model": "net.onnx",
        "quant-mode": "kl, mse",
        "iteration": "5 10",
        "quantize-input-dtype": ["uint8", "None"],
        "output-name": "a",
        "output-dequant": "true",
        "percent": "0.9999",
        "dump-limit": 2,
    }
    got = parsed_by("quant", section(tmp_path / "rc.json", values, "quant"))
    assert (got["quant_mode"], got["iteration"]) == (("kl", "mse"), (5, 10))
    assert (got["quantize_input_dtype"], got["output_name"]) == (("uint8", "None"), ("a",))
    assert (got["output_dequant"], got["percent"], got["dump_limit"]) == (True, 0.9999, 2.0)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (
            "quant",
            {"model": "net.onnx", "bit-wdth": 8},
            "quant.bit-wdth: unknown key: did you mean 'bit-width'?",
        ),
        ("infer", {"model": "net.onnx", "comparewith": "a"}, "infer.comparewith: unknown key: did you mean"),
        ("convert", {"modle": "net.onnx"}, "convert.modle: unknown key: did you mean 'model'"),
        ("convert", {"input-shapes": [["a"]]}, 'convert.input-shapes: is "a"; it has to be a whole number'),
        ("convert", {"input-shapes": [[]]}, "convert.input-shapes: is empty"),
        ("quant", {"iteration": [1.5]}, "quant.iteration: is 1.5; it has to be a whole number"),
    ],
)
def test_mistakes_of_the_others(
    run: Run, tmp_path: Path, name: str, values: dict[str, Any], said: str
) -> None:
    path = section(tmp_path / "rc.json", values, name)
    result = run(name, "-rc", path)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert f"-rc/--run-config {path}: {said}" in result.stderr


def test_what_the_file_leaves_out_is_still_required(run: Run, tmp_path: Path) -> None:
    result = run("quant", "-rc", section(tmp_path / "rc.json", {"iteration": 2}, "quant"))
    assert result.exit_code == 2 and "--model" in result.stderr


@pytest.mark.parametrize("where", ["before", "after", "file"])
def test_the_chip_of_the_file_counts_unless_one_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path)
    document = {"chip": "tensorrt", "quant": {"model": "net.onnx", "save-dir": "out"}}
    (tmp_path / "rc.json").write_text(json.dumps(document))
    chip = ("--chip", "onnxruntime")
    before, after = chip if where == "before" else (), chip if where == "after" else ()
    result = run(*before, "quant", "-rc", "rc.json", *after)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    assert report["chip"] == ("tensorrt" if where == "file" else "onnxruntime")


def test_an_unknown_chip_in_the_file(run: Run, tmp_path: Path) -> None:
    small_models.conv_net(tmp_path)
    (tmp_path / "rc.json").write_text(
        json.dumps({"chip": "TX9", "quant": {"model": str(tmp_path / "net.onnx")}})
    )
    result = run("quant", "-rc", tmp_path / "rc.json")
    assert result.exit_code == 2 and "TX9" in result.stderr and result.stderr.count("\n") == 1


# any JSON ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [name for flag in compare_flags() for name in (flag.key, flag.names[-1], flag.names[0])]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=JSON | st.dictionaries(KEYS, JSON, max_size=4))
def test_no_value_crashes(tmp_path: Path, values: Any) -> None:
    path = section(tmp_path / "rc.json", values)
    try:
        found = read_section(str(path), "compare", compare_flags())
    except ConfigError as error:
        assert str(error).startswith(f"-rc/--run-config {path}: ")
        return
    flags = {flag.key: flag for flag in compare_flags()}
    for key, value in found.items():
        kind, items = flags[key].kind, value if flags[key].several else [value]
        assert items and (kind is object or all(type(item) is kind for item in items))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.dictionaries(KEYS, JSON, max_size=2))
def test_what_is_read_is_an_option_or_an_error(tmp_path: Path, values: Any) -> None:
    path = section(tmp_path / "rc.json", values)
    try:
        got = parsed(path)
    except (ConfigError, click.UsageError):
        return
    assert set(got) >= {flag.key for flag in compare_flags()}
