"""``knight build``: all steps of a run-config."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from tests import small_models

Run = Callable[..., Result]

QUANT: dict[str, Any] = {
    "model": "net.onnx",
    "user-defined-script": "infer.py",
    "infer-func": "infer_net",
    "iteration": 2,
    "save-dir": "out",
}


@pytest.fixture(autouse=True)
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path)
    small_models.script(tmp_path)


def document(values: Any) -> Path:
    Path("configs").mkdir(exist_ok=True)
    path = Path("configs") / "rc.json"  # its paths start at the current folder all the same
    path.write_text(json.dumps(values), "utf-8")
    return path


def steps(result: Result) -> list[str]:
    return [line.removeprefix("== ") for line in result.stdout.splitlines() if line.startswith("== ")]


def test_steps_run_in_their_order_and_take_what_went_before(run: Run) -> None:
    path = document({"infer": {}, "compare": {"json": "a.json"}, "chip": "onnxruntime", "quant": QUANT})
    result = run("build", "--run-config", path)
    assert result.exit_code == 0, result.output
    assert steps(result) == ["quant", "compare", "infer"]
    compared = json.loads(Path("a.json").read_text())
    assert (compared["reference"], compared["result"]) == ("net.onnx", "out/net_quantize.onnx")
    assert result.stdout.count("2 samples in 2 forward calls") == 2  # compare and infer
    assert json.loads(Path("out/net_report.json").read_text())["chip"] == "onnxruntime"


def test_overrides(run: Run) -> None:
    path = document({"quant": QUANT | {"iteration": 9, "quant_mode": "mse"}})
    result = run(
        *("build", "--run-config", path, "--quant.iteration", 2, "3", "--quant.quant-mode", "min_max"),
        *(
            "--quant.output_dequant",
            "--quant.strict=true",
            "--quant.percent",
            "0.9999",
            "--infer.iteration=1",
        ),
        *("--infer.model", "net.onnx"),
    )
    assert result.exit_code == 0, result.output
    assert steps(result) == ["quant", "infer"]  # a section may be of overrides alone
    folders = sorted(path.name for path in Path("out").iterdir() if path.is_dir())
    assert folders[:2] == ["min_max_it_2", "min_max_it_3"]
    shown = " ".join(result.stdout.split())
    assert "--output-dequant True" in shown and "--strict True" in shown and "--percent 0.9999" in shown
    assert "1 samples in 1 forward calls" in result.stdout


def test_numbers_below_zero_and_lists_as_json(run: Run) -> None:
    path = document({"quant": QUANT})
    result = run(
        "build",
        "-rc",
        path,
        "--quant.mean",
        "-1",
        "0",
        "1.5",
        "--quant.std",
        "[2, 2.5, 3]",
        "--quant.iteration",
        1,
    )
    assert result.exit_code == 0, result.output
    assert "--mean -1.0 0.0 1.5 --std 2.0 2.5 3.0" in " ".join(result.stdout.split())


def test_input_configs_as_json(run: Run) -> None:
    entries = '[{"data_dir": "gone", "calculate_acc": true}]'
    path = document({"quant": {"model": "net.onnx", "save-dir": "out"}})
    result = run(
        "build", "-rc", path, "--quant.infer-func", "infer_default", "--quant.input-configs", entries
    )
    assert result.exit_code == 1 and "gone: there is no such folder" in result.stderr, result.output


@pytest.mark.parametrize("where", ["before", "after", "file", "default"])
def test_the_chip(run: Run, where: str) -> None:
    path = document({"chip": "tensorrt" if where != "default" else None, "quant": QUANT})
    chip = ("--chip", "onnxruntime")
    before, after = chip if where == "before" else (), chip if where == "after" else ()
    result = run(*before, "build", "-rc", path, *after)
    assert result.exit_code == 0, result.output
    expected = {"file": "tensorrt", "default": "TX5368AV200"}.get(where, "onnxruntime")
    assert json.loads(Path("out/net_report.json").read_text())["chip"] == expected


def test_what_only_the_vendor_has_is_skipped_aloud(run: Run) -> None:
    others = {name: {"save-dir": "x"} for name in ("compile", "run", "profiling", "demo")}
    result = run("build", "-rc", document({"quant": QUANT, **others}), "--compile.opt-level", 2)
    assert result.exit_code == 0 and steps(result) == ["quant"], result.output
    for name in others:
        assert f"warning: {name}: needs the vendor's own tools; skipped" in result.stdout
    result = run("build", "-rc", document(others))
    assert result.exit_code == 2 and "has no section of convert, quant, compare, infer" in result.stderr


def test_a_comparison_may_be_disabled(run: Run) -> None:
    path = document({"quant": QUANT, "compare": {}, "build": {"disable-compare": True}})
    assert steps(run("build", "-rc", path)) == ["quant"]
    assert steps(run("build", "-rc", path, "--build.disable-compare", "false")) == ["quant", "compare"]


def test_a_gate_stops_the_build_with_its_code(run: Run) -> None:
    path = document({"quant": QUANT, "compare": {"fail-under-cos": 0.9999999999}, "infer": {}})
    result = run("build", "-rc", path)
    assert result.exit_code == 3 and steps(result) == ["quant", "compare"], result.output
    assert "Quantized Model" in result.stdout and result.stderr.count("\n") == 1


def test_a_step_that_fails_stops_the_build(run: Run) -> None:
    Path("infer.py").write_text("import no_such_module\n")
    result = run("build", "-rc", document({"quant": QUANT, "infer": {}}))
    assert result.exit_code not in (0, 3) and steps(result) == ["quant"], result.output
    assert "no_such_module" in result.stderr and not Path("out/net_quantize.onnx").exists()


def test_later_steps_say_themselves_what_differs(run: Run) -> None:
    small_models.script(Path("."), name="infer_other", file="other.py")
    own = {"user-defined-script": "other.py", "infer-func": "infer_other", "iteration": 1}
    path = document({"quant": QUANT, "compare": own, "infer": own | {"model": "net.onnx"}})
    result = run("build", "-rc", path)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("1 samples in 1 forward calls") == 2
    assert " ".join(result.stdout.split()).count("--infer-func infer_other") == 2


def test_input_types_and_normalization_reach_the_later_steps(run: Run) -> None:
    feed = """
    for number in range(executor.iteration):
        executor.forward(np.full((1, 3, 8, 8), 40 * number, np.uint8))
    return 1.0
    """
    small_models.script(Path("."), feed)
    border = {"quantize-input-dtype": "uint8", "mean": [120], "std": "60"}
    result = run("build", "-rc", document({"quant": QUANT | border, "compare": {}, "infer": {}}))
    assert result.exit_code == 0 and steps(result) == ["quant", "compare", "infer"], result.output


def test_a_normalization_of_input_configs_reaches_the_comparison(run: Run) -> None:
    image = pytest.importorskip("PIL.Image")
    Path("pictures").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image.fromarray(pixels).save(Path("pictures") / f"{number}.png")
    entry = {"input_name": "x", "quant_data_format": "Image", "data_dir": "pictures"}
    entry |= {"mean": [120], "std": [60], "quantize_input_dtype": "uint8"}
    quant = {"model": "net.onnx", "save-dir": "out", "iteration": 3, "input-configs": [entry]}
    path = document({"chip": "onnxruntime", "quant": quant, "compare": {"fail-under-cos": 0.99}, "infer": {}})
    result = run("build", "-rc", path)
    assert result.exit_code == 0 and steps(result) == ["quant", "compare", "infer"], result.output


def test_several_models_leave_a_choice(run: Run) -> None:
    several = QUANT | {"quant-mode": ["kl", "mse"], "iteration": [2, 1]}
    for step, key in (("compare", "quantized"), ("infer", "model")):
        result = run("build", "-rc", document({"quant": several, step: {}}))
        assert result.exit_code == 2 and steps(result) == [], result.output
        example = Path("out", "kl_it_2", "net_quantize.onnx")
        assert f"{step}.{key} is missing: quant makes several models" in result.stderr
        assert str(example) in result.stderr
        result = run("build", "-rc", document({"quant": several, step: {key: str(example)}}))
        assert result.exit_code == 0 and steps(result) == ["quant", step], result.output
        assert "2 samples in 2 forward calls" in result.stdout  # of several iterations the most


def test_dump_folders_need_no_models(run: Run) -> None:
    path = document({"quant": QUANT | {"dump": True}, "compare": {"quant-dump": "out/dump"}})
    result = run("build", "-rc", path)
    assert result.exit_code == 0 and steps(result) == ["quant", "compare"], result.output


def test_quant_takes_what_convert_made(run: Run) -> None:
    convert = {"model": "net.onnx", "save-dir": "converted"}
    quant = {key: value for key, value in QUANT.items() if key != "model"}
    path = document({"convert": convert, "quant": quant, "compare": {"json": "a.json"}})
    result = run("build", "-rc", path)
    assert result.exit_code == 0 and steps(result) == ["convert", "quant", "compare"], result.output
    compared = json.loads(Path("a.json").read_text())
    assert compared["reference"] == str(Path("converted", "net.onnx"))
    del convert["model"]
    result = run("build", "-rc", document({"convert": convert, "quant": quant}))
    assert result.exit_code == 2 and "convert.model is missing" in result.stderr


def test_a_pytorch_model_from_the_start(run: Run) -> None:
    pytest.importorskip("torch")
    script = str(Path(__file__).parents[2] / "examples" / "pytorch" / "models.py")
    quant = {"framework": "pytorch", "model": "blobs", "user-defined-script": script, "save-dir": "out"}
    path = document({"quant": quant | {"iteration": 2}, "compare": {"json": "a.json"}, "infer": {}})
    result = run("build", "-rc", path)
    assert result.exit_code == 0 and steps(result) == ["quant", "compare", "infer"], result.output
    compared = json.loads(Path("a.json").read_text())
    assert compared["reference"] == str(Path("out", "blobs.onnx"))


def test_the_example_is_that_of_its_page_and_works(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    root, out = Path(__file__).parents[2], str(Path("out").resolve())
    monkeypatch.chdir(root)
    path = Path("examples/run_config/run_config.json")
    assert path.read_text("utf-8") in Path("docs/run-config.md").read_text("utf-8")
    result = run("build", "--run-config", path, "--quant.save-dir", out)
    assert result.exit_code == 0 and steps(result) == ["quant", "compare", "infer"], result.output
    assert result.stdout.count("of 50 pictures") == 4  # two of quant, one each of compare and infer
    assert "PASS fail-under-cos" in result.stdout and "Metric: 1.0" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--quant.bit-wdth", 8), "--quant.bit-wdth: unknown key: did you mean 'bit-width'?"),
        (("--qunt.bit-width", 8), "--qunt.bit-width: unknown section: did you mean 'quant'?"),
        (("--chip.name", "onnxruntime"), "--chip.name: unknown section"),
        (("--build.disable-compre",), "--build.disable-compre: unknown key: did you mean 'disable-compare'"),
        (("--quant.iteration", "two"), '--quant.iteration: is "two"; it has to be a whole number'),
        (("--quant.save-dir",), "--quant.save-dir: is true; it has to be a text"),
        (("--quant.save-dir", "a", "b"), '--quant.save-dir: is ["a", "b"]; it has to be a text'),
        (("--quant.input-configs", '[{"data_dir": }]'), "--quant.input-configs: no JSON"),
        (("--quant.strict", "perhaps"), '--quant.strict: is "perhaps"; it has to be true or false'),
        (("--quant", 8), "'--quant': build takes --SECTION.KEY VALUE"),
        (("net.json",), "'net.json': build takes --SECTION.KEY VALUE"),
        (("--infer.log-level", 7), "-l/--log-level: unknown value '7'"),
    ],
)
def test_wrong_overrides(run: Run, words: tuple[object, ...], said: str) -> None:
    result = run("build", "-rc", document({"quant": QUANT}), *words)
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert result.stderr.count("\n") == 1 and steps(result) == []


def test_mistakes_in_a_late_section_cost_no_quantization(run: Run) -> None:
    for late, said in (
        ({"compare": {"srt": "mre"}}, "rc.json: compare.srt: unknown key: did you mean 'sort'"),
        ({"infer": {"log-level": 9}}, "-l/--log-level: unknown value '9'"),
        ({"build": {"disable": True}}, "rc.json: build.disable: unknown key"),
        ({"cmpare": {}}, "rc.json: cmpare: unknown section: did you mean 'compare'"),
    ):
        result = run("build", "-rc", document({"quant": QUANT, **late}))
        assert result.exit_code == 2 and said in result.stderr and steps(result) == [], result.output


def test_help_and_a_missing_file(run: Run) -> None:
    shown = run("build", "-h")
    assert shown.exit_code == 0 and "--SECTION.KEY VALUE" in shown.stdout
    assert "Relative paths start at the current folder" in " ".join(shown.stdout.split())
    missing = run("build")
    assert missing.exit_code == 2 and "--run-config" in missing.stderr
    gone = run("build", "-rc", "gone.json")
    assert gone.exit_code == 2 and "gone.json: No such file" in gone.stderr
