"""``knight quant`` and ``knight infer``, end to end on tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import Result

import knight
from tests import small_models

Run = Callable[..., Result]


def quant(run: Run, folder: Path, *words: object, body: str = small_models.FEED) -> Result:
    model = folder / "net.onnx"
    if not model.exists():
        small_models.conv_net(folder)
    script = small_models.script(folder, body)
    save = () if "--save-dir" in words else ("--save-dir", folder / "out")
    return run("quant", "-m", model, "-uds", script, "-if", "infer_net", *save, *words)


def test_files_and_words(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-i", 3)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    words = (
        "Quant Start",
        "Stage1: Do Graph Optimize.",
        "Stage2: Run Float Model And Calculate Quantization Scales.",
        "Stage3: Run Model Quantization.",
        "Stage4: Quantitative Parameter Fixed-point.",
        "Stage5: Quantitation Postprocess.",
        "Float metric     : 1",
        "Quantized metric : 1",
        "Quantization Loss: 0.0000 %",
        "Integer operators: ",
        "Dequantization scale of output scores: ",
        f"Quantized Model : {out / 'net_quantize.onnx'}",
        "Quant complete",
    )
    places = [result.output.index(word) for word in words]
    assert places == sorted(places)
    assert "stage4 " in result.output and " dB" in result.output
    onnx.checker.check_model(out / "net_quantize.onnx")
    assert {path.name for path in (out / "steps").iterdir()} >= {"output_all_layers_quantize.onnx"}
    left = {path.name for path in out.iterdir()}
    assert left == {"net_quantize.onnx", "net_report.json", "steps", ".knight.lock"}


def test_report_follows_its_schema_and_says_what_the_screen_says(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-i", 3, "-qm", "mse", "--chip", "onnxruntime")
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    schema = json.loads(Path(knight.__file__).with_name("report_schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(report, schema)
    assert set(report) == set(schema["required"])
    assert (report["method"], report["iteration"], report["samples"]) == ("mse", 3, 3)
    assert f"{report['sqnr_db']:.2f} dB" in result.output
    assert f"{report['integer_operators']} of " in result.output


def test_same_input_same_bytes(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert quant(run, tmp_path, "-i", 3, "--save-dir", tmp_path / name).exit_code == 0
    first, second = ((tmp_path / name / "net_quantize.onnx").read_bytes() for name in ("a", "b"))
    assert first == second


def test_several_methods_and_iterations(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-i", 2, 4, "-qm", "kl", "min_max", "kl")
    assert result.exit_code == 0, result.output
    labels = [f"{method}_it_{iteration}" for method in ("kl", "min_max") for iteration in (2, 4)]
    for label in labels:
        report = json.loads((tmp_path / "out" / label / "net_report.json").read_text())
        assert f"{report['method']}_it_{report['iteration']}" == label
    rows = [line.split(" | ") for line in result.output.splitlines() if line.startswith("net ")]
    sqnr = [float(row[4].split()[0]) for row in rows]  # the losses are all zero
    assert len(rows) == 4 and sqnr == sorted(sqnr, reverse=True)
    assert f"Best: {Path(rows[0][5].strip()).name}" in result.output


def test_all_is_the_five(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-i", 2, "-qm", "all")
    assert result.exit_code == 0, result.output
    folders = {path.name.removesuffix("_it_2") for path in (tmp_path / "out").glob("*_it_2")}
    assert folders == {"min_max", "percentile", "mse", "kl", "kl_v2"}


def test_one_failure_among_several_is_told_and_one_success_is_enough(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_methods(monkeypatch, {"mse"})
    result = quant(run, tmp_path, "-qm", "mse", "kl")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    (row,) = [line for line in lines if line.startswith("net ") and " mse " in line]
    assert " Fail " in row and lines.index(row) > lines.index("Stage1: Do Graph Optimize.")
    assert "Fail: mse_it_1: mse is broken" in lines and "Best: kl_it_1" in lines
    assert not (tmp_path / "out" / "mse_it_1").exists()


def test_all_failed_is_a_failure(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _break_methods(monkeypatch, {"mse", "kl"})
    result = quant(run, tmp_path, "-qm", "mse", "kl")
    assert result.exit_code == 1
    assert "knight: error: none of the 2 combinations worked; the first: mse is broken" in result.stderr


def _break_methods(monkeypatch: pytest.MonkeyPatch, broken: set[str]) -> None:
    from knight import realizing
    from knight.errors import DataError
    from knight.types import QuantPlan

    solve = realizing.solve

    def patched(model: object, plan: QuantPlan, *args: object, **settings: object) -> object:
        for method in broken & {group.method for group in plan.groups.values()}:
            raise DataError(f"{method} is broken")
        return solve(model, plan, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(realizing, "solve", patched)


@pytest.mark.parametrize("value", ["None", "'good'", "float('nan')", "[1, 2]"])
def test_a_function_without_a_number_has_no_loss(run: Run, tmp_path: Path, value: str) -> None:
    result = quant(run, tmp_path, body=small_models.FEED.replace("return 1.0", f"return {value}"))
    assert result.exit_code == 0, result.output
    assert "Quantization Loss: none (the infer function returned no number" in result.output


def test_loss_is_relative_to_the_float_metric(run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    body = small_models.FEED.replace(
        "return 1.0",
        f"seen = os.path.exists({str(state)!r})\n"
        f"open({str(state)!r}, 'w').close()\n"
        f"return 60 if seen else 80",
    )
    assert "Quantization Loss: 25.0000 %" in quant(run, tmp_path, body=body).output


def test_infer_function_sees_the_settings(run: Run, tmp_path: Path) -> None:
    checks = (
        'executor.iteration == 2 and executor.batch_size == 1 and executor.dataset == "here"',
        'executor.run_mode == "quant" and executor.save_dir.endswith("out") and executor.gpu == -1',
        'executor.user_defined_script.endswith("infer.py") and executor.input_types == {"x": 1}',
        'executor.input_nodes == ["x"] and executor.output_node_list == ["scores"]',
    )
    body = "".join(f"assert {check}\n" for check in checks) + small_models.FEED
    result = quant(run, tmp_path, "-d", "here", "-i", 2, body=body)
    assert result.exit_code == 0, result.stderr


def test_levels(run: Run, tmp_path: Path) -> None:
    quiet, info = (quant(run, tmp_path, "-l", level).output for level in (3, 1))
    assert "  info: " not in quiet and "  info: " in info
    assert "Quant complete" in quiet


def test_mean_and_std_with_negative_numbers(run: Run, tmp_path: Path) -> None:
    words = ("--mean", -0.5, 0.1, ".2", "--std", 1.5, 2, 3)
    result = quant(run, tmp_path, *words, "--chip", "onnxruntime")
    assert result.exit_code == 0, result.stderr
    sample = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    normalized = (sample - np.array([-0.5, 0.1, 0.2]).reshape(3, 1, 1)) / np.array([1.5, 2, 3]).reshape(
        3, 1, 1
    )
    prepared = ort.InferenceSession(tmp_path / "out" / "steps" / "stage1_prepared.onnx").run(
        None, {"x": sample}
    )
    source = ort.InferenceSession(tmp_path / "net.onnx").run(None, {"x": normalized.astype(np.float32)})
    np.testing.assert_allclose(prepared[0], source[0], rtol=1e-4, atol=1e-5)


def test_crop(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path, "-on", "relu").exit_code == 0
    model = onnx.load(tmp_path / "out" / "net_quantize.onnx")
    assert [output.name for output in model.graph.output] == ["relu"]


@pytest.mark.parametrize("words", [("quant", "-r", "infer"), ("infer",)])
def test_infer(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert quant(run, tmp_path).exit_code == 0
    model, script = tmp_path / "out" / "net_quantize.onnx", tmp_path / "infer.py"
    result = run(*words, "-m", model, "-uds", script, "-if", "infer_net", "-i", 7)
    assert result.exit_code == 0, result.stderr
    assert "Metric: 1.0" in result.output
    assert "7 samples in 7 forward calls" in result.output and "samples per second" in result.output


def test_infer_says_which_flags_do_nothing(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path).exit_code == 0
    model = tmp_path / "out" / "net_quantize.onnx"
    result = run("quant", "-r", "infer", "-m", model, "-qm", "kl", "-per", 0.9)
    assert result.exit_code == 0, result.stderr
    assert "no effect with -r infer: -qm/--quant-mode, -per/--percent" in result.output
    assert "Metric: none (the infer function returned nothing)" in result.output


def test_infer_on_all_layers_gives_all_of_them(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path).exit_code == 0
    model = tmp_path / "out" / "steps" / "output_all_layers_quantize.onnx"
    body = """
        outputs = executor.forward(np.zeros((1, 3, 8, 8), np.float32))
        assert len(outputs) == len(executor.output_node_list) and "conv" in executor.output_node_list
        return len(outputs)
    """
    script = small_models.script(tmp_path, body)
    result = run("infer", "-m", model, "-uds", script, "-if", "infer_net")
    assert result.exit_code == 0, result.stderr
    assert float(result.output.split("Metric: ")[1].split()[0]) > 3


@pytest.mark.parametrize("chip", ["TX5368AV200", "onnxruntime"])
def test_dynamic_batch(run: Run, tmp_path: Path, chip: str) -> None:
    small_models.conv_net(tmp_path, batch="N")
    result = quant(run, tmp_path, "-bs", 4, "-i", 2, "--chip", chip, "-ib", 2)
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    assert report["samples"] == 8
    model = onnx.load(tmp_path / "out" / "net_quantize.onnx")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


def test_an_unused_script_is_told(run: Run, tmp_path: Path) -> None:
    small_models.conv_net(tmp_path)
    script = small_models.script(tmp_path)
    result = run("quant", "-m", tmp_path / "net.onnx", "-uds", script, "--save-dir", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "the built-in infer_auto is used, not the script's own infer_net" in result.output


def test_optimizers_are_tried_in_order_and_their_fate_is_told(run: Run, tmp_path: Path) -> None:
    words = ("-i", 20, "-qm", "mse", "min_max", "--chip", "onnxruntime", "--optimize")
    result = quant(run, tmp_path, *words, "equalization,bias_correction")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Optimizer ")]
    assert len(lines) == 2 and "equalization was not used: it found nothing to change" in lines[0]
    assert "bias_correction was " in lines[1] and lines[1].endswith("on 5 samples held back")
    label = "mse_it_20_equalization_bias_correction"
    report = json.loads((tmp_path / "out" / label / "net_report.json").read_text())
    jsonschema.validate(report, json.loads(Path(knight.__file__).with_name("report_schema.json").read_text()))
    assert [one["optimizer"] for one in report["optimizers"]] == ["equalization", "bias_correction"]
    assert report["arguments"]["optimizers"] == ["equalization", "bias_correction"]
    assert f"optimizer {lines[0].partition(': ')[2]}" in report["warnings"]


def test_an_optimizer_that_there_is_not(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "--optimize", "bias_corection")
    assert result.exit_code == 2
    assert "--optimize: unknown value 'bias_corection': did you mean 'bias_correction'?" in result.output
    result = quant(run, tmp_path, "--optimize", "bias_correction", "equalization")
    assert result.exit_code == 2 and "name equalization before bias_correction" in result.output
    assert "bias_correction equalization" in " ".join(run("quant", "--help").output.split())


def test_too_few_samples_for_an_optimizer_are_said(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-i", 3, "--optimize", "bias_correction")
    assert result.exit_code == 0, result.output
    assert "warning: optimizer bias_correction was not used: plain rounding, since " in result.output
