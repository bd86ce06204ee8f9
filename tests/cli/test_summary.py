"""The end of a run in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knight.cli._summary import aligned, arguments, ranked, result_lines, table
from knight.pipeline import Outcome


def report(**changes: Any) -> dict[str, Any]:
    return {
        "metric_float": 80.0,
        "metric_quantized": 79.0,
        "loss": 1.25,
        "sqnr_db": 30.0,
        "cosine": 0.9995,
        "integer_operators": 9,
        "float_operators": 0,
        "float_operator_names": [],
        "outputs": [],
        "normalization": None,
        "optimizers": [],
        "peak_memory_mb": 100.0,
        "times": {"stage1": 1.0},
        "host": None,
    } | changes


def said(**changes: Any) -> str:
    return "\n".join(result_lines(report(**changes)))


def test_metrics_and_loss() -> None:
    text = said()
    assert "Float metric     : 80\n" in text and "Quantized metric : 79\n" in text
    assert "Quantization Loss: 1.2500 %" in text and "30.00 dB" in text and "0.999500" in text


def test_no_loss_says_why() -> None:
    assert "no number, so there is no loss" in said(metric_float=None, loss=None)
    assert "none (the float metric is zero)" in said(metric_float=0.0, loss=None)
    assert "no float output" in said(sqnr_db=None, cosine=None)


def test_operators_left_in_float_are_named() -> None:
    names = [f"Softmax op{number}" for number in range(12)]
    text = said(float_operators=12, float_operator_names=names)
    assert "Integer operators: 9 of 21; left in float: Softmax op0, " in text
    assert "Softmax op9 and 2 more" in text and "op10" not in text


def test_scales_of_fixed_point_outputs() -> None:
    outputs = [
        {"name": "fc", "scale": 0.1035662, "zero_point": 0},
        {"name": "box", "scale": None, "zero_point": None},
        {"name": "score", "scale": 0.25, "zero_point": 7},
    ]
    lines = [line for line in said(outputs=outputs).splitlines() if line.startswith("Dequantization")]
    assert lines == [
        "Dequantization scale of output fc: 0.1035662",
        "Dequantization scale of output score: 0.25, zero point 7",
    ]


def outcome(label: str, loss: float | None, sqnr: float | None, failure: str | None = None) -> Outcome:
    values = {} if failure else {"loss": loss, "sqnr_db": sqnr}
    return Outcome("kl", 1, label, report=values, failure=failure)


def test_rank() -> None:
    outcomes = [
        outcome("failed", None, None, "no"),
        outcome("no loss, worse", None, 20.0),
        outcome("worse loss", 2.0, 40.0),
        outcome("same loss, worse", 1.0, 10.0),
        outcome("no loss, better", None, 30.0),
        outcome("best", 1.0, 30.0),
        outcome("no loss, no outputs", None, None),
    ]
    assert [one.label for one in ranked(outcomes)] == [
        "best",
        "same loss, worse",
        "worse loss",
        "no loss, better",
        "no loss, worse",
        "no loss, no outputs",
        "failed",
    ]


def test_table() -> None:
    outcomes = [outcome("a", 1.0, 30.0), outcome("b", None, 20.0), outcome("c", None, None, "no such thing")]
    lines = list(table("net", outcomes, {"a": Path("out/a"), "b": Path("out/b")}))
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    assert cells[0] == ["Model", "Quant Mode", "Iteration", "Quantization Loss", "SQNR", "Subdirectory"]
    assert cells[2][3:] == ["1.0000 %", "30.00 dB", "out/a"]
    assert cells[3][3:] == ["none", "20.00 dB", "out/b"]
    assert cells[4][3:] == ["Fail", "-", "-"]
    assert lines[5] == "Fail: c: no such thing"


def test_columns_line_up() -> None:
    lines = list(aligned([("a", "bcd"), ("efgh", "i")]))
    assert lines == ["a    | bcd", "-----+----", "efgh | i"]


def test_arguments_show_lists_and_gaps() -> None:
    lines = list(arguments({"--mean": (0.1, 0.2), "--data": None, "--std": ()}))
    assert lines == ["  --mean  0.1 0.2", "  --data  -", "  --std   -"]
