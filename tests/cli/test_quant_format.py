"""``knight quant --format``: another form of the result, which every other subcommand takes as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import Result

from knight import registry
from knight.entry_points import EntryPoint
from knight.exporters import Exported, exporters
from tests import small_models

Run = Callable[..., Result]


@pytest.fixture
def quant(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``knight quant`` on net.onnx with four samples, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path)
    small_models.script(tmp_path, small_models.SUM_OF_OUTPUTS)
    words = ("-m", "net.onnx", "-uds", "infer.py", "-if", "infer_net", "-i", 4, "--chip", "onnxruntime")
    return lambda *more: run("quant", *words, *more)


def vendor(model: ir.Model) -> Exported:
    """A format that writes two files of its own, and another number into the model."""
    twin = model.clone()
    bias = next(value for name, value in twin.graph.initializers.items() if name.endswith("_bias_quantized"))
    assert bias.const_value is not None
    bias.const_value = ir.tensor(bias.const_value.numpy() + np.int32(1000), name=bias.name)
    return Exported(twin, {"scales.txt": b"1 2\n", "vendor/net.bin": b"\x00\xff"})


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format of another distribution."""
    entry = EntryPoint(exporters.group, "vendor", "tests.cli.test_quant_format:vendor", "formats 1.0")
    found = {exporters.group: (entry,)}
    monkeypatch.setattr(registry, "entry_points", lambda group: found.get(group, ()))
    monkeypatch.delitem(exporters.__dict__, "plugins", raising=False)  # what was found before


def operators(path: str) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def report(folder: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(folder, "net_report.json").read_text("utf-8"))
    return found


def test_integer_operators_from_quant_to_compare(quant: Run, run: Run) -> None:
    for name in ("qdq", "qoperator"):
        result = quant("--format", name, "--save-dir", name)
        assert result.exit_code == 0, result.output
    model = "qoperator/net_quantize.onnx"
    onnx.checker.check_model(model, full_check=True)
    kinds = operators(model)
    assert kinds["QLinearConv"] == kinds["QLinearGlobalAveragePool"] == kinds["QGemm"] == 1
    assert kinds["DequantizeLinear"] == 0 < operators("qdq/net_quantize.onnx")["DequantizeLinear"]
    left, right = report("qdq"), report("qoperator")
    assert left["sqnr_db"] == pytest.approx(right["sqnr_db"], abs=0.2)
    assert (left["arguments"]["format"], right["arguments"]["format"]) == ("qdq", "qoperator")  # type: ignore[index]

    words = ("-uds", "infer.py", "-if", "infer_net", "-i", 4)
    result = run("infer", "-m", model, *words, "--compare-with", "net.onnx")
    assert result.exit_code == 0, result.output
    assert f"{right['metric_quantized']:.6g}"[:6] in result.output
    tables = []
    for name in ("qdq", "qoperator"):
        quantized = f"{name}/net_quantize.onnx"
        result = run("compare", "-m", "net.onnx", "-q", quantized, *words, "--save-dir", f"compared_{name}")
        assert result.exit_code == 0, result.output
        document = json.loads(Path(f"compared_{name}/net_quantize_compare.json").read_text("utf-8"))
        tables.append({layer["output"]: layer["accumulated_sqnr"] for layer in document["layers"]})
    assert tables[0].keys() == tables[1].keys() >= {"relu", "pool", "scores"}
    assert list(tables[0].values()) == pytest.approx(list(tables[1].values()), abs=0.2)


def test_the_integers_of_all_layers_are_dumped(quant: Run) -> None:
    result = quant("--format", "qoperator", "--save-dir", "out", "-du")
    assert result.exit_code == 0, result.output
    assert "layers x 4 forward calls" in result.output


def test_the_default_is_qdq(quant: Run) -> None:
    assert quant("--save-dir", "a").exit_code == quant("--save-dir", "b", "--format", "qdq").exit_code == 0
    assert Path("a/net_quantize.onnx").read_bytes() == Path("b/net_quantize.onnx").read_bytes()


@pytest.mark.usefixtures("plugged")
def test_figures_are_of_the_file_as_written_with_its_files_beside_it(quant: Run) -> None:
    assert quant("--save-dir", "plain").exit_code == 0
    result = quant("--save-dir", "out", "--format", "vendor")
    assert result.exit_code == 0, result.output
    assert Path("out/net_scales.txt").read_text() == "1 2\n"
    assert Path("out/net_vendor/net.bin").read_bytes() == b"\x00\xff"
    assert "Written beside it: out/net_scales.txt" in result.output
    plain, found = (float(str(report(folder)["sqnr_db"])) for folder in ("plain", "out"))
    assert found < plain - 10


def test_help_lists_the_formats_that_there_are(run: Run) -> None:
    assert "qdq qoperator" in " ".join(run("quant", "--help").output.split())


@pytest.mark.parametrize(
    ("given", "message"),
    [("qdqq", "did you mean 'qdq'?"), ("tflite", "known: qdq, qoperator")],
)
def test_unknown_formats(quant: Run, given: str, message: str) -> None:
    result = quant("--format", given)
    assert result.exit_code == 2
    assert f"--format: unknown value {given!r}: {message}" in result.output


def test_from_a_run_config(run: Run, quant: Run) -> None:
    keys = {"model": "net.onnx", "user-defined-script": "infer.py", "infer-func": "infer_net"}
    document = {"chip": "onnxruntime", "quant": {**keys, "save-dir": "out", "format": "qoperator"}}
    Path("config.json").write_text(json.dumps(document))
    result = run("quant", "-rc", "config.json")
    assert result.exit_code == 0, result.output
    assert operators("out/net_quantize.onnx")["QLinearConv"] == 1
