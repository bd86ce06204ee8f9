"""What ``knight infer`` hands to a script: fixed-point outputs as they are; to all others, real numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

from knight import api
from tests import exact, small_models

Run = Callable[..., Result]

KEEP = """
random = np.random.default_rng(7)
samples = [random.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(executor.iteration)]
kept = [executor.forward(sample)[0] for sample in samples]
np.save(f"{executor.run_mode}_{len(os.listdir())}.npy", np.concatenate(kept))
return float(np.abs(kept).sum())
"""
SAID = "outputs are fixed-point; scale printed above"


def samples(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(count)]


def from_file(path: Path, count: int = 2) -> np.ndarray:
    """What the file's outputs are, independent of Knight."""
    session = exact.session(path)
    return np.concatenate([session.run(None, {"x": sample})[0] for sample in samples(count)])


def newest(folder: Path, mode: str) -> np.ndarray:
    return np.load(max(folder.glob(f"{mode}_*.npy"), key=lambda path: path.stat().st_mtime_ns))


@pytest.fixture
def quantized(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Quantizes net.onnx with a script that keeps what it is handed, in the current folder."""
    monkeypatch.chdir(tmp_path)
    small_models.conv_net(tmp_path)
    small_models.script(tmp_path, KEEP)

    def make(*words: object) -> Path:
        chosen = ("-uds", "infer.py", "-if", "infer_net", "-i", 2, "--save-dir", "out")
        result = run("quant", "-m", "net.onnx", *chosen, *words)
        assert result.exit_code == 0, result.output
        return tmp_path / "out" / "net_quantize.onnx"

    return make


def infer(run: Run, *words: object) -> Result:
    result = run(
        "infer", "-m", "out/net_quantize.onnx", "-uds", "infer.py", "-if", "infer_net", "-i", 2, *words
    )
    assert result.exit_code == 0, result.output
    return result


def scale_of(path: Path) -> float:
    (found,) = (prop.value for prop in onnx.load(path).metadata_props if prop.key == "knight.output_scales")
    return float(json.loads(found)["scores"]["scale"])


def test_a_script_has_the_outputs_of_a_chip_as_they_are(
    run: Run, quantized: Callable[..., Path], tmp_path: Path
) -> None:
    path = quantized("--chip", "TX5368AV200")
    in_quant = newest(tmp_path, "quant")
    result = infer(run)
    handed = newest(tmp_path, "infer")
    assert np.array_equal(handed, from_file(path)) and np.array_equal(handed, np.rint(handed))
    assert np.allclose(handed * scale_of(path), in_quant, rtol=1e-6)  # quant hands out real numbers
    lines = result.stdout.splitlines()
    scale = lines.index(f"Dequantization scale of output scores: {scale_of(path):.9g}")
    assert scale < lines.index(SAID) < next(i for i, line in enumerate(lines) if line.startswith("Metric"))


@pytest.mark.parametrize("words", [("--chip", "onnxruntime"), ("--chip", "TX5368AV200", "-od")])
def test_outputs_that_are_real_stay_so(
    run: Run, quantized: Callable[..., Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    path = quantized(*words)
    result = infer(run, "--compare-with", "net.onnx")
    assert SAID not in result.stdout and "metrics count only if" not in result.stdout
    assert "Dequantization scale" not in result.stdout
    real = from_file(tmp_path / "net.onnx")
    assert np.allclose(newest(tmp_path, "infer"), real, rtol=1e-4, atol=1e-5)
    assert np.abs(from_file(path) - real).max() < np.abs(real).max() / 20


def test_compare_with_hands_both_out_in_the_same_units(
    run: Run, quantized: Callable[..., Path], tmp_path: Path
) -> None:
    path = quantized("--chip", "TX5368AV200")
    for words in (("--compare-with", "net.onnx"), ("-m", "net.onnx", "--compare-with", path)):
        result = infer(run, *words)
        assert (
            "warning: the metrics count only if infer_net multiplies outputs by their scale" in result.stdout
        )
        first, second = sorted(tmp_path.glob("infer_*.npy"), key=lambda file: file.stat().st_mtime_ns)[-2:]
        fixed, other = (second, first) if "-m" in words else (first, second)
        assert np.array_equal(np.load(fixed), from_file(path))
        assert np.allclose(
            np.load(other) * scale_of(path), from_file(tmp_path / "net.onnx"), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ["infer_auto", "infer_default"])
def test_ready_made_functions_have_real_numbers_also_when_a_script_calls_them(
    run: Run, quantized: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    path = quantized("--chip", "TX5368AV200")
    np.save(tmp_path / "0.npy", samples(1)[0])
    entry = {"input_name": "x", "quant_data_format": "Numpy", "data_dir": str(tmp_path)}
    (tmp_path / "entries.json").write_text(json.dumps([entry]))
    module = "infer_auto" if name == "infer_auto" else "infer_common"
    (tmp_path / "calls.py").write_text(
        f"import numpy as np, json\nfrom onnx_quantize_tool.common.register import onnx_infer_func\n"
        f"from {module} import {name}\n"
        f"@onnx_infer_func.register('calls')\n"
        f"def calls(executor):\n"
        f"    forward, seen = executor.forward, []\n"
        f"    executor.forward = lambda *a: seen.append(forward(*a)) or seen[-1]\n"
        f"    {name}(executor)\n"
        f"    inside = seen[-1][0]\n"
        f"    np.savez('seen.npz', inside=inside, x=np.load('0.npy'), after=forward(np.load('0.npy'))[0])\n"
    )
    words = ("-m", path, "-uds", "calls.py", "--input-configs", "entries.json")
    result = run("infer", *words, "-if", "calls")
    assert result.exit_code == 0, result.output
    with np.load("seen.npz") as seen:
        after = exact.session(path).run(None, {"x": seen["x"]})[0]
        assert np.array_equal(seen["after"], after)  # the script's own calls are as they are
        inside = seen["inside"] / scale_of(path)
        assert not np.array_equal(seen["inside"], np.rint(seen["inside"]))
        assert np.allclose(inside, np.rint(inside), atol=1e-3)
    by_itself = run("infer", *words, "-if", name)
    assert by_itself.exit_code == 0 and SAID not in by_itself.stdout


def test_the_python_api_gives_real_numbers_unless_asked(
    quantized: Callable[..., Path], tmp_path: Path
) -> None:
    path = quantized("--chip", "TX5368AV200")
    seen = {}
    for fixed_point in (False, True):
        kept: list[np.ndarray] = []
        api.infer(
            path,
            lambda executor, kept=kept: kept.append(
                (executor.forward(samples(1)[0])[0], dict(executor.output_scales))
            ),
            fixed_point=fixed_point,
        )
        (seen[fixed_point],) = kept
    raw = from_file(path, 1)
    assert seen[True][1]["scores"]["scale"] == pytest.approx(scale_of(path)) and seen[False][1] == {}
    assert np.array_equal(seen[True][0], raw)
    assert np.allclose(seen[False][0], raw * scale_of(path), rtol=1e-6)


def test_a_function_that_reads_the_scales_is_right_everywhere(
    run: Run, quantized: Callable[..., Path], tmp_path: Path
) -> None:
    small_models.script(
        tmp_path,
        """
        (out,) = executor.forward(np.random.default_rng(7).normal(size=(1, 3, 8, 8)).astype(np.float32))
        found = executor.output_scales.get(executor.output_node_list[0], {"scale": 1, "zero_point": 0})
        total = float(np.abs((out - found["zero_point"]) * found["scale"]).sum())
        executor.output_scales = {}
        (real,) = executor.forward(np.random.default_rng(7).normal(size=(1, 3, 8, 8)).astype(np.float32))
        assert abs(float(np.abs(real).sum()) - total) < 1e-4
        return total
        """,
        file="reads.py",
    )
    quantized("--chip", "TX5368AV200", "-uds", "reads.py")
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    result = infer(run, "-uds", "reads.py", "--compare-with", "net.onnx")
    metric = float(result.stdout.split("Metric: ")[1].split()[0])
    assert metric == pytest.approx(report["metric_quantized"], rel=1e-5)
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("net.onnx ")]
    assert float(row.split("|")[1]) == pytest.approx(report["metric_float"], rel=1e-4)
