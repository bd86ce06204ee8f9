"""From what the user types to parameters: names, several values, choices, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, strategies as st

from knight.cli._command import FlagCommand, spread
from knight.cli._flags import AVAILABLE, INFER, QUANT, Flag
from knight.errors import ConfigError

GUIDE = """
-m --model -f --framework -if --infer-func --save-dir -d --data -gsj --generate-scale-json
-lsj --load-scale-json -b --bit-width -i --iteration -bs --batch-size -ib --ir-batch -du --dump
-gt --generate-template -mc --mix-config -l --log-level -qm --quant-mode -per --percent
-r --run-mode -ll --lut-len -lt --layer-threshold -qid --quantize-input-dtype -od --output-dequant
--mean --std -w --weight -snn --start-node-names -enn --end-node-names -c2chw --convert2chw
-is --input-shapes -uds --user-defined-script -cn --cpu-num -cd --cache-distribution
-uis --unify-input-scale -amr --auto-mix-ratio -ams --auto-mix-strategy -rc --run-config
-on --output-name
"""
"""Every flag of the vendor's quantization guide."""


def parse(*words: object, flags: tuple[Flag, ...] = QUANT) -> dict[str, Any]:
    """The parameters that a command gets."""
    got: dict[str, Any] = {}
    command = FlagCommand("quant", flags, lambda **values: got.update(values))
    result = CliRunner().invoke(command, ["-m", "net.onnx", *map(str, words)])
    if isinstance(result.exception, ConfigError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return got


def test_every_flag_of_the_guide_exists() -> None:
    assert set(GUIDE.split()) <= {name for flag in QUANT for name in flag.names}


def test_names_are_given_once() -> None:
    names = [name for flag in QUANT for name in flag.names]
    assert len(names) == len(set(names)) and len({flag.key for flag in QUANT}) == len(QUANT)
    assert {flag for flag in INFER if flag.key != "compare_with"} <= set(QUANT)


def test_defaults() -> None:
    got = parse()
    assert got["quant_mode"] == ("kl",) and got["iteration"] == (1,) and got["batch_size"] == 1
    assert got["ir_batch"] is None and got["percent"] == 0.99999 and got["infer_func"] == "infer_auto"
    assert got["save_dir"] == "/TS-KnightOutput/QuantOnnx/" and got["cpu_num"] == 5 and got["log_level"] == 3
    assert got["mean"] == got["std"] == got["output_name"] == ()


@pytest.mark.parametrize(
    "flag",
    [flag for flag in AVAILABLE if flag.kind is not bool and flag.key != "run_config"],
    ids=lambda f: f.key,
)
def test_short_and_long_names_mean_the_same(flag: Flag) -> None:
    value = (
        flag.default
        if flag.default is not None and not flag.several
        else flag.known[0]
        if flag.known
        else {int: 3, float: 0.5}.get(flag.kind, "kl")
    )
    values = {str(parse(name, value)[flag.key]) for name in flag.names}
    assert len(values) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("-i", 5, 10, "-qm", "kl", "min_max"),
        ("-i", 5, "-qm", "kl", "-i", 10, "-qm", "min_max"),
        ("--iteration", "5,10", "--quant-mode", "kl,min_max"),
        ("--iteration=5", 10, "--quant-mode=kl,min_max"),
    ],
)
def test_several_values(words: tuple[object, ...]) -> None:
    got = parse(*words)
    assert got["iteration"] == (5, 10) and got["quant_mode"] == ("kl", "min_max")


def test_negative_numbers_are_values() -> None:
    got = parse("--mean", -0.5, "-.25", 1, "-1e-3", "--std", 1, "-on", "a", "b,c", "-l", 1)
    assert got["mean"] == (-0.5, -0.25, 1.0, -0.001) and got["std"] == (1.0,)
    assert got["output_name"] == ("a", "b,c"), "names may contain commas"
    assert got["log_level"] == 1


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_any_list_of_numbers_arrives(numbers: list[float]) -> None:
    words = spread(["--mean", *map(repr, numbers), "-l", "1"], QUANT)
    assert words == [word for number in numbers for word in ("--mean", repr(number))] + ["-l", "1"]


def test_grouped_values_stay_together() -> None:
    words = ["-is", "1", "3", "8", "8", "-is", "1,4", "-m", "x", "-is=2x5"]
    assert spread(words, QUANT) == ["-is", "1 3 8 8", "-is", "1,4", "-m", "x", "-is", "2x5"]
    assert parse("-is", 1, 3, 8, 8, "-is", 1)["input_shapes"] == ((1, 3, 8, 8), (1,))
    assert parse("-is", "2x5", "--input-shapes", "1,4")["input_shapes"] == ((2, 5), (1, 4))
    assert parse("-is", -1, 3, -1, "-is", "2,-1")["input_shapes"] == ((-1, 3, -1), (2, -1))
    with pytest.raises(AssertionError, match="'1 b' is no list of whole numbers such as 1 3 224 224"):
        parse("-is", 1, "b")


def test_a_flag_without_values_is_left_to_click() -> None:
    assert spread(["-i", "-qm", "kl"], QUANT) == ["-i", "-qm", "kl"]
    assert spread(["-m", "x", "--", "-i", "1", "2"], QUANT) == ["-m", "x", "--", "-i", "1", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-gsj",), "-gsj/--generate-scale-json"),
        (("-lsj", "x"), "-lsj/--load-scale-json"),
        (("-b", 16), "-b/--bit-width 16"),
        (("-gt",), "-gt/--generate-template"),
        (("-ll", 8), "-ll/--lut-len 8"),
        (("-lt", -3), "-lt/--layer-threshold"),
        (("-cd", "x"), "-cd/--cache-distribution"),
        (("-uis",), "-uis/--unify-input-scale"),
        (("-amr", 0.3), "-amr/--auto-mix-ratio 0.3"),
        (("-ams", "HAWQ"), "-ams/--auto-mix-strategy HAWQ"),
    ],
)
def test_what_comes_later_is_refused_by_name(words: tuple[object, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said} is not available yet"):
        parse(*words)


@pytest.mark.parametrize("flag", [flag for flag in QUANT if flag.works == ()], ids=lambda flag: flag.key)
def test_nothing_of_a_later_flag_is_ignored(flag: Flag) -> None:
    value = () if flag.kind is bool else ("1",)
    for name in flag.names:
        with pytest.raises(ConfigError, match="is not available yet"):
            parse(name, *value)


def test_defaults_may_be_given_explicitly() -> None:
    words = ("-b", 8, "-ll", 10, "-amr", 0.5, "-ams", "initial", "-qid", "None", "-f", "onnx", "-r", "quant")
    assert parse(*words)["bit_width"] == 8


def test_choices_suggest_near_misses() -> None:
    with pytest.raises(ConfigError, match="-r/--run-mode: unknown value 'infr': did you mean 'infer'"):
        parse("-r", "infr")
    with pytest.raises(ConfigError, match="-l/--log-level: unknown value '7': known: 0, 1, 2, 3"):
        parse("-l", 7)


def test_the_vendors_example_lines_parse(run: Callable[..., Result]) -> None:
    """As in the guide, options before and after, several values, negative numbers; the model is missing."""
    line = (
        "--chip TX5368AV200 quant --save-dir /tmp/resnet18 -m /no/resnet18.onnx -if infer_cls_model -qm kl "
        "min_max -bs 10 -r quant -i 5 10 -uds /no/infer_demo.py --std 1.2 1.1 1.3 --mean 0.1 0.2 0.3"
    )
    result = run(*line.split())
    assert "script /no/infer_demo.py: no such file" in result.stderr
