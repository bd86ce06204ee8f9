"""-qid and -od on the command line: from pictures as bytes to a model that takes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from click.testing import Result

import knight
from knight.config import QuantConfig
from knight.errors import ConfigError
from knight.executor import Executor, InferFunction
from knight.input_configs import with_input_configs
from knight.tasks import infer_default, reads_inputs, tasks
from tests import exact, small_models

Run = Callable[..., Result]

PICTURES = """
import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func

@onnx_infer_func.register("infer_net")
def infer_net(executor):
    random = np.random.default_rng(0)
    total = 0.0
    for _ in range(executor.iteration):
        picture = random.integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
        total += float(np.abs(executor.forward(picture)[0]).mean())
    return total
"""
NORMALIZE = ("--mean", 120, 110, 100, "--std", 60, 50, 55)


def quant(run: Run, folder: Path, *words: object) -> Result:
    model, script = folder / "net.onnx", folder / "pictures.py"
    if not model.exists():
        small_models.conv_net(folder)
    script.write_text(PICTURES, encoding="utf-8")
    return run("quant", "-m", model, "-uds", script, "-if", "infer_net", "--save-dir", folder / "out", *words)


@pytest.mark.parametrize("chip", ["onnxruntime", "TX5368AV200"])
def test_pictures_go_straight_in(run: Run, tmp_path: Path, chip: str) -> None:
    result = quant(run, tmp_path, "-i", 3, "--chip", chip, "-qid", "uint8", *NORMALIZE, "-l", 1)
    assert result.exit_code == 0, result.output
    assert "input x takes uint8" in result.output
    path = tmp_path / "out" / "net_quantize.onnx"
    onnx.checker.check_model(path, full_check=True)
    (taken,) = exact.session(path).get_inputs()
    assert (taken.name, taken.type) == ("x", "tensor(uint8)")
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    schema = json.loads(Path(knight.__file__).with_name("report_schema.json").read_text())
    jsonschema.validate(report, schema)
    assert report["inputs"] == [{"name": "x", "dtype": "uint8"}]
    assert report["arguments"]["input_dtypes"] == ["uint8"]
    assert report["sqnr_db"] > 25
    assert report["loss"] < 5


def test_what_became_of_the_normalization_is_said(run: Run, tmp_path: Path) -> None:
    words = ("-i", 3, "--chip", "TX5368AV200", "-qid", "uint8", *NORMALIZE)
    result = quant(run, tmp_path, *words)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Normalization")]
    assert line.startswith("Normalization    : as integers: ") and line.endswith("in float on 3 samples")
    assert "left in float" not in result.output
    result = quant(run, tmp_path, *words, "--disable-types", "Div")
    (line,) = [line for line in result.output.splitlines() if line.startswith("Normalization")]
    assert line == "Normalization    : in float: x_normalized is left in float by --disable-types"
    result = quant(run, tmp_path, "-i", 3, "--chip", "onnxruntime", "-qid", "uint8", *NORMALIZE)
    assert "Normalization" not in result.output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "as integers, if the outputs lose less than 0.1 dB"),
        (("--keep-first", 1), "in float: conv stays float: left in float by --keep-first"),
    ],
)
def test_a_dry_run_says_what_will_be_tried(
    run: Run, tmp_path: Path, more: tuple[object, ...], said: str
) -> None:
    result = quant(run, tmp_path, "--chip", "TX5368AV200", "-qid", "uint8", *NORMALIZE, "--dry-run", *more)
    assert result.exit_code == 0, result.output
    assert f"Normalization    : {said}" in result.output.splitlines()


@pytest.mark.parametrize("words", [(), NORMALIZE], ids=["as it is", "normalized"])
@pytest.mark.parametrize("chip", ["onnxruntime", "TX5368AV200"])
def test_the_dump_takes_the_same_pictures(
    run: Run, tmp_path: Path, chip: str, words: tuple[object, ...]
) -> None:
    result = quant(run, tmp_path, "-i", 2, "--chip", chip, "-qid", "uint8", *words, "-du")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "dump" / "dump.json").exists()


def infer(run: Run, folder: Path, *words: object) -> Result:
    model, script = folder / "out" / "net_quantize.onnx", folder / "pictures.py"
    return run("infer", "-m", model, "-uds", script, "-if", "infer_net", "-i", 2, *words)


def test_infer_takes_the_type_from_the_model_and_says_where_it_differs(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path, "-i", 2, "-qid", "uint8", *NORMALIZE).exit_code == 0
    for words in ((), ("-qid", "uint8"), ("-qid", "None")):
        result = infer(run, tmp_path, *words)
        assert result.exit_code == 0, result.output
    result = infer(run, tmp_path, "-qid", "int8")
    assert result.exit_code == 2
    lines = [line for line in result.output.splitlines() if "-qid/--quantize-input-dtype" in line]
    assert lines[-1].endswith("int8: input 'x' of the model takes uint8; give that, or leave the flag out")


def test_the_float_model_beside_it_sees_the_same_pictures(run: Run, tmp_path: Path) -> None:
    """Its metric is that of the normalized numbers: about the quantized model's."""
    assert quant(run, tmp_path, "-i", 2, "-qid", "uint8", *NORMALIZE).exit_code == 0
    result = infer(run, tmp_path, "--compare-with", tmp_path / "net.onnx")
    assert result.exit_code == 0, result.output
    assert "net.onnx is given the input types and the normalization of the other" in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Quantization Loss")]
    assert float(line.split()[2]) < 5


def test_real_numbers_as_outputs(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-i", 2, "-qid", "uint8", *NORMALIZE, "-od", "--chip", "TX5368AV200")
    assert result.exit_code == 0, result.output
    assert "Dequantization scale" not in result.output
    session = exact.session(tmp_path / "out" / "net_quantize.onnx")
    (scores,) = session.run(None, {"x": np.full((1, 3, 8, 8), 200, np.uint8)})
    assert not np.array_equal(scores, np.rint(scores))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-qid", "int16"), "-b 16 is needed"),
        (("-qid", "uint8", "int8"), "has 2 types, the model 1 input(s) ('x')"),
        (("-qid", "unit8"), "-qid/--quantize-input-dtype: unknown value 'unit8': did you mean 'uint8'"),
    ],
)
def test_refusals(run: Run, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = quant(run, tmp_path, "-i", 2, *words)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_pictures_of_floats_are_refused_by_name(run: Run, tmp_path: Path) -> None:
    body = PICTURES.replace("np.uint8", "np.float32")
    quant(run, tmp_path, "-i", 2)
    (tmp_path / "floats.py").write_text(body, encoding="utf-8")
    words = ("-uds", tmp_path / "floats.py", "-if", "infer_net", "--save-dir", tmp_path / "out")
    result = run("quant", "-m", tmp_path / "net.onnx", *words, "-qid", "uint8")
    assert result.exit_code == 1
    assert "input 'x' wants uint8[1x3x8x8], got float32[1x3x8x8]" in result.output


NEWER = {
    "data_dir": "pictures",
    "input_name": "x",
    "quant_data_format": "Image",
    "quantize_input_dtype": "uint8",
    "mean": [120, 110, 100],
    "std": [60, 50, 55],
}
CONFIG = QuantConfig(methods=("kl",))


def plain(executor: Executor) -> None:
    """Feeds what it likes."""


def test_a_task_from_elsewhere_says_itself_how_its_entries_are_read() -> None:
    """Also one that lies in no module of Knight's."""

    @reads_inputs(infer_default.read_inputs)
    def marked(executor: Executor) -> None:
        """Reads entries as infer_default does."""

    found = with_input_configs(CONFIG, [NEWER], ["x"], marked)
    assert found.input_dtypes == ("uint8",)
    assert (found.mean, found.std) == ((120, 110, 100), (60, 50, 55))
    assert found == with_input_configs(CONFIG, [NEWER], ["x"], tasks.get("infer_default"))


@pytest.mark.parametrize("infer", [plain, tasks.get("infer_auto"), tasks.get("infer_audio")])
@pytest.mark.parametrize("others", [{}, {"crop": [1, 2], "labels": {"a": 1}, "color_space": "HSV"}])
def test_entries_for_any_other_function_count_whatever_else_they_hold(
    infer: InferFunction, others: dict[str, object]
) -> None:
    found = with_input_configs(CONFIG, [{**NEWER, **others}], ["x"], infer)
    assert (found.input_dtypes, found.mean, found.std) == (("uint8",), (120, 110, 100), (60, 50, 55))


def test_an_entry_without_a_name_is_that_of_the_input_in_its_place() -> None:
    entries = [
        {"quantize_input_dtype": "uint8", "mean": "0 0 0", "std": 255},
        {"quantize_input_dtype": "uint8"},
    ]
    found = with_input_configs(CONFIG, entries, ["x", "mask", "sizes"], plain)
    assert found.input_dtypes == ("uint8", "uint8", None)
    assert (found.mean, found.std) == ((0, 0, 0), (255,))


@pytest.mark.parametrize(
    "entry",
    [
        {"mean": [1], "anything": 3},
        {"mean": [1], "std": [2]},
        {"quantize_input_dtype": "float32", "input_name": "x", "mean": [1, 2, 3], "std": [2, 2, 2]},
        {"input_name": "no input of the model's"},
    ],
)
def test_what_a_function_does_with_floats_is_its_own_business(entry: dict[str, object]) -> None:
    config = replace(CONFIG, mean=(4,), std=(5,), input_dtypes=("None",))
    assert with_input_configs(config, [entry], ["x"], plain) == config


def test_a_type_for_all_inputs_stays_one() -> None:
    """The border gives it to those that are floats."""
    config = replace(CONFIG, input_dtypes=("uint8",))
    assert with_input_configs(config, [{"labels": 1}], ["x", "indices"], plain) == config


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"quantize_input_dtype": "unit8"}, "input-configs[0].quantize_input_dtype"),
        ({"quantize_input_dtype": "uint8", "mean": "grey"}, "input-configs[0].mean"),
        ({"quantize_input_dtype": "uint8", "mean": [1]}, "input-configs[0].mean is given without std"),
        ({"quantize_input_dtype": "uint8", "mean": [1], "std": [0]}, "input-configs[0].std holds 0"),
        ({"quantize_input_dtype": "uint8", "input_name": "y"}, "input-configs[0].input_name: no input 'y'"),
        ({"input_name": 3}, "input-configs[0].input_name"),
    ],
)
def test_the_keys_that_count_are_checked(entry: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_input_configs(CONFIG, [entry], ["x"], plain)
    assert said in str(caught.value)


def test_a_scripts_own_function_with_an_entry(run: Run, tmp_path: Path) -> None:
    """The same file as with the flags: its bytes are fed, and normalized inside."""
    assert quant(run, tmp_path, "-i", 2, "-qid", "uint8", *NORMALIZE).exit_code == 0
    by_flags = (tmp_path / "out" / "net_quantize.onnx").read_bytes()
    (tmp_path / "entries.json").write_text(json.dumps([{**NEWER, "my_own": True}]))
    result = quant(run, tmp_path, "-i", 2, "--input-configs", tmp_path / "entries.json")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "net_quantize.onnx").read_bytes() == by_flags
