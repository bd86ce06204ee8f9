"""``knight convert`` and ``quant -f``: files, words, exit codes, and earlier results that stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from PIL import Image

from tests import small_models

Run = Callable[..., Result]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pytorch" / "models.py"


def test_words_and_file(run: Run, tmp_path: Path) -> None:
    model = small_models.conv_net(tmp_path, batch="N")
    result = run("convert", "-m", model, "--save-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for words in (
        "Convert Start",
        "Onnx Convert To ONNX Succeed.",
        "of the range of output scores (3 samples, batch sizes 1 2 5)",
        "Operators        : 5, opset 17",
        f"ONNX model       : {tmp_path / 'out' / 'net'}.onnx",
        "Convert complete",
    ):
        assert words in result.output, result.output
    onnx.checker.check_model(str(tmp_path / "out" / "net.onnx"), full_check=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".knight.lock", "net.onnx"]


def test_the_example_is_converted_and_quantized(run: Run, tmp_path: Path) -> None:
    words = ("-f", "pytorch", "-m", "blobs", "-uds", EXAMPLE, "-if", "infer_blobs", "-i", 20)
    result = run("--chip", "onnxruntime", "quant", *words, "--save-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Pytorch Convert To ONNX Succeed." in result.output
    assert "(7 samples, batch sizes 1 2 5)" in result.output  # its own three among them
    assert "Quantized metric : 100" in result.output
    assert {"blobs.onnx", "blobs_quantize.onnx", "blobs_report.json"} <= {p.name for p in tmp_path.iterdir()}


PICTURES = """
import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func

@onnx_infer_func.register("infer_net")
def infer_net(executor):
    for _ in range(executor.iteration):
        executor.forward(np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8))
    return 1
"""


def test_what_the_infer_function_feeds_is_told_as_to_quant(run: Run, tmp_path: Path) -> None:
    model, script = small_models.conv_net(tmp_path), tmp_path / "pictures.py"
    script.write_text(PICTURES)
    words = (
        "-m",
        model,
        "-uds",
        script,
        "-qid",
        "uint8",
        "--mean",
        120,
        "--std",
        60,
        "--save-dir",
        tmp_path / "out",
    )
    result = run("convert", *words, "-if", "infer_net")
    assert result.exit_code == 0, result.output
    assert "(4 samples)" in result.output
    result = run("quant", *words, "-if", "infer_net", "-r", "convert")
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    result = run("convert", *words)
    assert "no effect without -if: --mean, --std, -qid/--quantize-input-dtype" in result.output


def test_pictures_of_input_configs_are_told_too(run: Run, tmp_path: Path) -> None:
    """The entry's type and normalization, as quant reads them."""
    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pictures" / "a.png")
    entry = {
        "input_name": "x",
        "data_dir": str(tmp_path / "pictures"),
        "quant_data_format": "Image",
        "mean": [120.0] * 3,
        "std": [60.0] * 3,
        "quantize_input_dtype": "uint8",
    }
    (tmp_path / "inputs.json").write_text(json.dumps([entry]))
    words = ("-m", small_models.conv_net(tmp_path), "--input-configs", tmp_path / "inputs.json")
    result = run("convert", *words, "--save-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "(4 samples)" in result.output


def test_run_mode_convert(run: Run, tmp_path: Path) -> None:
    words = ("-f", "pytorch", "-m", "blobs", "-uds", EXAMPLE, "-qm", "mse")
    result = run("--chip", "onnxruntime", "quant", *words, "-r", "convert", "--save-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert "no effect with -r convert: -qm/--quant-mode" in result.output
    assert not (tmp_path / "blobs_quantize.onnx").exists()


def test_options_of_other_frameworks_are_named(run: Run, tmp_path: Path) -> None:
    model = small_models.conv_net(tmp_path)
    result = run("convert", "-m", model, "-snn", "a", "b", "-c2chw", "--save-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "no effect with -f onnx: -snn/--start-node-names, -c2chw/--convert2chw" in result.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-m", "none.onnx"), 1, "model none.onnx: no such file"),
        (("-m", "net.pt", "-f", "caffe"), 1, "is no Caffe model (it looks like pytorch: use -f pytorch)"),
        (("-m", "net", "-f", "pytorch"), 1, "needs the script, with -uds"),
        (("-m", "net", "-f", "pytroch"), 2, "unknown value 'pytroch': did you mean 'pytorch'?"),
        (("-m", "net", "-is", 1, 0), 2, "-is/--input-shapes 1 0: sizes are at least 1, or -1 for open"),
        (("-m", "net", "-is", -1, -2), 2, "-is/--input-shapes -1 -2: sizes are at least 1"),
        (("-m", "net", "--tolerance", 0), 2, "--tolerance 0.0: wants a fraction of a range"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    words: tuple[object, ...], code: int, said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.pt").touch()
    result = run("convert", *words, "--save-dir", "out")
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("out").exists()


def test_a_failed_proof_costs_no_earlier_result(run: Run, tmp_path: Path) -> None:
    model, out = small_models.conv_net(tmp_path, batch="N"), tmp_path / "out"
    assert run("convert", "-m", model, "--save-dir", out).exit_code == 0
    before = (out / "net.onnx").read_bytes()
    words = ("-f", "pytorch", "-m", "blobs", "-uds", EXAMPLE, "--tolerance", "1e-12")
    result = run("convert", *words, "--save-dir", out)
    assert result.exit_code == 1
    assert "the converted model is wrong: output 'output' differs by" in result.stderr
    assert "the first layer that differs is" in result.stderr
    assert (out / "net.onnx").read_bytes() == before
    assert not (out / "blobs.onnx").exists()


def test_infer_wants_onnx(run: Run) -> None:
    result = run("infer", "-f", "caffe", "-m", "net.prototxt")
    assert result.exit_code == 2
    assert "infer runs ONNX models; make one with knight convert -f caffe" in result.stderr
