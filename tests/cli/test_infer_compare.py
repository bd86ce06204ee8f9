"""``knight infer --compare-with``: the metrics of two models over the same data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests import small_models

Run = Callable[..., Result]


@pytest.fixture
def infer(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``knight infer`` on net.onnx with two samples, in a folder that has other.onnx beside it."""
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path)
    small_models.conv_net(tmp_path, name="other", opset=13)
    small_models.script(tmp_path, small_models.SUM_OF_OUTPUTS)
    return lambda *words: run("infer", "-m", "net.onnx", "-uds", "infer.py", "-if", "infer_net", *words)


def test_both_metrics_and_the_loss(infer: Run, run: Run) -> None:
    assert run(
        "quant", "-m", "net.onnx", "-uds", "infer.py", "-if", "infer_net", "--save-dir", "out"
    ).exit_code == 0  # fmt: skip
    words = ("-m", "out/net_quantize.onnx", "-i", 2)
    alone = infer("-i", 2)
    result = infer(*words, "--compare-with", "net.onnx")
    assert result.exit_code == 0, result.output
    rows = [
        [cell.strip() for cell in line.split("|")] for line in result.stdout.splitlines() if " | " in line
    ]
    assert rows[0] == ["Model", "Metric", "Samples", "Samples per second"]
    assert [row[0] for row in rows[1:]] == ["net.onnx", "out/net_quantize.onnx"]
    assert [row[2] for row in rows[1:]] == ["2", "2"]
    reference, quantized = (float(row[1]) for row in rows[1:])
    assert f"Metric: {quantized}" in result.stdout
    scale = float(result.stdout.split("Dequantization scale of output scores: ")[1].split()[0])
    real = float(alone.stdout.split("Metric: ")[1].split()[0])
    assert reference * scale == pytest.approx(real, rel=1e-5)  # in units of the other's output
    loss = float(result.stdout.split("Quantization Loss: ")[1].split(" %")[0])
    assert loss == pytest.approx((reference - quantized) / reference * 100, rel=1e-3, abs=1e-4)


def test_the_same_model_loses_nothing(infer: Run) -> None:
    result = infer("--compare-with", "net.onnx")
    assert result.exit_code == 0 and "Quantization Loss: 0.0000 %" in result.stdout


def test_a_function_without_a_metric(infer: Run, tmp_path: Path) -> None:
    small_models.script(tmp_path, "executor.forward(np.ones((1, 3, 8, 8), np.float32))")
    result = infer("--compare-with", "other.onnx")
    assert result.exit_code == 0 and "Quantization Loss: none (it needs two finite metrics)" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--compare-with", "gone.onnx"), 1, "gone.onnx: no such file"),
        (("--compare-with", ""), 2, "--compare-with is empty"),
        (("--compare-with", "infer.py"), 1, "infer.py"),
        (("--compare-with", "other.onnx", "-i", 0), 2, "-i/--iteration is 0"),
        (("--compare-with", "other.onnx", "-i", 1, 2), 2, "-i/--iteration: infer takes one number"),
        (("--compare-with", "other.onnx", "-bs", 0), 2, "-bs/--batch-size is 0"),
    ],
)
def test_mistakes_are_found_before_the_first_model_runs(
    infer: Run, tmp_path: Path, words: tuple[object, ...], code: int, said: str
) -> None:
    small_models.script(tmp_path, "raise AssertionError('the infer function must not run')")
    result = infer(*words)
    assert result.exit_code == code, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("knight: error: ") and said in line
