"""Words as guides print them and people copy them: dashes, one hyphen for two, a framework's name, -s."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from knight.cli._words import framework_word
from knight.converters import converters
from tests import small_models

Run = Callable[..., Result]


def refused(run: Run, *words: object) -> str:
    """The one line of a refusal."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("knight: error: ")
    return line


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("\N{EN DASH}m", "an en dash, where hyphens are meant: write -m"),
        ("\N{EM DASH}save-dir", "an em dash, where hyphens are meant: write --save-dir"),
        ("\N{EN DASH}\N{EN DASH}mean=3", "an en dash, where hyphens are meant: write --mean=3"),
        ("-\N{EN DASH}std", "an en dash, where hyphens are meant: write --std"),
        ("\N{MINUS SIGN}qm", "a minus sign, where hyphens are meant: write -qm"),
        ("\N{NON-BREAKING HYPHEN}if", "a non-breaking hyphen, where hyphens are meant: write -if"),
        ("\N{FULLWIDTH HYPHEN-MINUS}i", "a fullwidth hyphen-minus, where hyphens are meant: write -i"),
        ("\N{MINUS SIGN}0.5", "a minus sign, where hyphens are meant: write -0.5"),
        ("\N{EN DASH}ch", "an en dash, where hyphens are meant: write -ch"),
    ],
)
def test_a_dash_is_named_with_the_word_that_is_meant(run: Run, word: str, said: str) -> None:
    assert said in refused(run, "quant", "-m", "net.onnx", word, "x")


@pytest.mark.parametrize("command", ["convert", "infer"])
def test_so_it_is_in_the_commands_beside_it(run: Run, command: str) -> None:
    assert "write -uds" in refused(run, command, "-m", "net.onnx", "\N{EN DASH}uds", "x")
    known_to_quant_alone = refused(run, command, "-m", "net.onnx", "\N{EN DASH}qm", "kl")
    assert "write" not in known_to_quant_alone


def test_a_dash_before_the_command_and_in_compare_and_build(run: Run, tmp_path: Path) -> None:
    said = refused(run, "\N{EM DASH}chip", "TX5368AV200", "quant", "-m", "x")
    assert "begins with an em dash, where hyphens are meant: write --chip" in said
    assert "write -qd" in refused(run, "compare", "\N{EN DASH}qd", "x")
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"quant": {"model": "x.onnx"}}))
    said = refused(run, "build", "--run-config", path, "\N{EN DASH}quant.iteration", 3)
    assert "write --quant.iteration" in said


def test_a_file_whose_name_begins_with_a_dash_is_no_option(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path, name="\N{EN DASH}net")
    result = run("quant", "-m", "\N{EN DASH}net.onnx", "-s", "out", "--chip", "onnxruntime")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "\N{EN DASH}net_quantize.onnx").is_file()
    assert "extra argument (\N{EN DASH}m)" in run("infer", "-m", "gone.onnx", "--", "\N{EN DASH}m").output


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("-mean", "unknown option '-mean': did you mean '--mean'?"),
        ("-std", "unknown option '-std': did you mean '--std'?"),
        ("-save-dir", "unknown option '-save-dir': did you mean '--save-dir'?"),
        ("-model=x", "unknown option '-model': did you mean '--model'?"),
        ("-ssn", "unknown option '-ssn': did you mean '-snn'"),
    ],
)
def test_one_hyphen_for_two_is_no_short_option_with_a_value(run: Run, word: str, said: str) -> None:
    assert said in refused(run, "quant", "-m", "net.onnx", word, 1)


def test_a_value_may_follow_a_short_option_at_once(run: Run, tmp_path: Path) -> None:
    model = small_models.conv_net(tmp_path)
    result = run("quant", f"-m{model}", "-i2", "-s", tmp_path / "out", "--chip", "onnxruntime")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["quant", "infer"])
def test_the_word_that_names_the_vendors_tool(run: Run, tmp_path: Path, command: str) -> None:
    model = small_models.conv_net(tmp_path)
    chip = ("--chip", "onnxruntime")
    for more in ((), ("-f", "onnx")):
        result = run(*chip, command, "onnx", "-m", model, "-s", tmp_path / "out", *more)
        assert result.exit_code == 0, result.output
        assert "note: the word onnx is passed over; -f says what the model is" in result.stdout


def test_beside_it_the_flag_and_the_run_config_count(run: Run, tmp_path: Path) -> None:
    """As in ``Knight quant onnx -m yolov8s -f pytorch``."""
    words = ("-m", tmp_path / "gone.prototxt", "-s", tmp_path / "out")
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"quant": {"framework": "caffe"}}))
    for more in (("-f", "caffe"), ("-rc", path)):
        result = run("quant", "onnx", *words, *more)
        assert result.exit_code != 0 and "gone.prototxt" in result.stderr
        assert "--framework             caffe" in result.stdout


@pytest.mark.parametrize("words", [("-f", "caffe"), ("--framework=caffe",), ("--framework", "caffe")])
def test_a_framework_word_that_contradicts_the_flag(run: Run, words: tuple[str, ...]) -> None:
    said = refused(run, "quant", "paddle", "-m", "x.pdmodel", *words)
    assert "'paddle' and -" in said and "caffe contradict each other" in said


@pytest.mark.parametrize("name", ["pytorch", "caffe", "paddle", "tensorflow"])
def test_every_framework_may_be_such_a_word(name: str) -> None:
    assert name in converters.names()
    words, note = framework_word([name, "-m", "x"], converters.names())
    assert words == ["-f", name, "-m", "x"] and note == f"the word {name} is taken as -f {name}"
    words, note = framework_word([name, "-m", "x", "-f", name], converters.names())
    assert words == ["-f", name, "-m", "x", "-f", name]
    assert framework_word(["-m", name], converters.names()) == (["-m", name], None)


def test_such_a_word_wins_over_a_run_config_as_the_flag_does(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"quant": {"model": str(tmp_path / "gone.prototxt"), "framework": "paddle"}}))
    result = run("quant", "caffe", "-rc", path, "-s", tmp_path / "out")
    assert "--framework             caffe" in result.stdout


@pytest.mark.parametrize("words", [("onx",), ("-m", "a.onnx", "onnx")])
def test_other_stray_words_are_errors(run: Run, words: tuple[str, ...]) -> None:
    assert words[-1] in refused(run, "quant", *words, *(() if "-m" in words else ("-m", "a.onnx")))


@pytest.mark.parametrize("name", ["run", "profiling", "compile", "demo", "rne-compile"])
def test_the_vendors_own_commands_say_so_in_one_line(run: Run, name: str) -> None:
    said = refused(run, "--chip", "TX5368AV200", name, "--run-config", "x.json", "-m", "y")
    assert f"knight {name} is the vendor's own tool" in said and "NAME_quantize.onnx" in said


def test_build_says_which_sections_it_left_alone(run: Run, tmp_path: Path) -> None:
    model = small_models.conv_net(tmp_path)
    quant = {"model": str(model), "save-dir": str(tmp_path / "out")}
    others = {"compile": {"onnx": "x", "save-dir": "y"}, "run": {"input": "z"}, "profiling": {"model": "w"}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"chip": "onnxruntime", "quant": quant, **others}))
    result = run("build", "--run-config", path)
    assert result.exit_code == 0, result.output
    for name in others:
        assert f"{name}: needs the vendor's own tools; skipped" in result.output
    assert (tmp_path / "out" / "net_quantize.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("quant", "-m", "--save-dir", "out"),
            "-m wants a value, and the option --save-dir stands behind it",
        ),
        (
            ("quant", "-i", "--save-dir=out"),
            "-i wants a value, and the option --save-dir=out stands behind it",
        ),
        (("quant", "-qm", "-m", "net.onnx"), "-qm wants a value, and the option -m stands"),
        (("quant", "-m", "net.onnx", "-is"), "-is wants a value, and nothing stands behind it"),
        (("quant", "-m", "--", "net.onnx"), "-m wants a value, and nothing stands behind it"),
        (("quant", "--mean", "-1", "--std", "-h"), "--std wants a value, and the option -h stands"),
        (("quant", "-ch", "-m", "net.onnx"), "-ch wants a value, and the option -m stands"),
        (("infer", "-if", "-m", "net.onnx"), "-if wants a value, and the option -m stands"),
        (("compare", "-q", "-m", "net.onnx"), "-q wants a value, and the option -m stands"),
        (("quant", "-od", "true", "-m", "net.onnx"), "-od takes no value, it is on where it is given"),
        (("convert", "-c2chw", "1", "-m", "net.pb"), "-c2chw takes no value"),
        (("--chip", "quant", "-m", "net.onnx"), "--chip wants the name of a chip, and quant is a command"),
        (("--default-chip", "infer"), "--default-chip wants the name of a chip, and infer is a command"),
        (("-m", "net.onnx"), "-m stands before a command"),
        (
            ("--chip", "TX5368AV200", "-m", "net.onnx", "quant"),
            "write it behind one, such as knight quant -m",
        ),
    ],
)
def test_a_value_that_is_missing_or_too_many(run: Run, words: tuple[str, ...], said: str) -> None:
    """No option is taken for the value of another, and no command for a chip."""
    assert said in refused(run, *words)


def test_what_looks_like_an_option_can_still_be_a_value(run: Run, tmp_path: Path) -> None:
    result = run("quant", "-m", "-m.onnx")
    assert result.exit_code == 1 and "model -m.onnx: no such file" in result.stderr
    assert "model -od: no such file" in run("quant", "--model=-od").stderr
    assert "model net.onnx: no such file" in run("quant", "-m=net.onnx").stderr  # as -qm=kl
    assert "model a=b: no such file" in run("quant", "-m=a=b").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("infer", "-od"), "-od is an option of knight quant, not of knight infer; leave it out"),
        (("infer", "-b", 8), "-b is an option of knight quant, not of knight infer"),
        (("convert", "-qm=kl"), "-qm is an option of knight quant, not of knight convert"),
        (("infer", "--std", 3), "--std is an option of knight quant, not of knight infer"),
        (("quant", "-xyz"), "no such option -xyz; see knight quant --help"),
        (("compare", "-y"), "no such option -y; see knight compare --help"),
    ],
)
def test_an_option_that_the_command_does_not_have(run: Run, words: tuple[object, ...], said: str) -> None:
    """It is named whole, not by its first letter, and told where it belongs."""
    assert said in refused(run, words[0], "-m", "net.onnx", *words[1:])
