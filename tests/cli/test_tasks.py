"""The ready-made tasks from a file to a quantized model and its metric: masks, larger pictures, speech."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

Run = Callable[..., Result]
Case = Callable[[Path], tuple[str, dict[str, Any]]]
COUNT = 6
LIKE_TORCH = {"mean": 0, "std": 255, "color_space": "RGB"}


def save(
    folder: Path, nodes: list[onnx.NodeProto], shapes: list[list[int]], weights: dict[str, np.ndarray]
) -> None:
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip("xy", shapes, strict=True)
    )
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], tensors)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "net.onnx")


def segmentation(folder: Path) -> tuple[str, dict[str, Any]]:
    """Red, green and blue squares; the net scores colours on a map of a quarter of the size."""
    random = np.random.default_rng(0)
    for name in ("data", "truth"):
        (folder / name).mkdir()
    for number in range(COUNT):
        classes = np.kron(random.integers(0, 3, (4, 5)), np.ones((12, 12))).astype(np.uint8)
        colours = np.eye(3)[classes] * 180 + random.normal(size=(*classes.shape, 3)) * 20 + 30
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(folder / f"data/{number}.png")
        Image.fromarray(classes).save(folder / f"truth/{number}.png")
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], "pool", kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["p", "w"], ["y"], "conv"),
    ]
    save(folder, nodes, [[1, 3, 32, 40], [1, 3, 8, 10]], {"w": np.eye(3)[:, :, None, None]})
    return "infer_segmentation", LIKE_TORCH


def super_resolution(folder: Path) -> tuple[str, dict[str, Any]]:
    """Smooth pictures; the net repeats each pixel, with a little of its neighbours."""
    random = np.random.default_rng(0)
    for name in ("data", "truth"):
        (folder / name).mkdir()
    for number in range(COUNT):
        rough = Image.fromarray(random.integers(0, 255, (9, 9, 3)).astype(np.uint8))
        large = rough.resize((48, 48), Image.Resampling.BICUBIC)
        large.save(folder / f"truth/{number}.png")
        large.resize((24, 24), Image.Resampling.BOX).save(folder / f"data/{number}.png")
    weights = random.normal(size=(12, 3, 3, 3)) * 0.01
    weights[np.arange(12), np.arange(12) % 3, 1, 1] += 1
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["c"], ["y"], "shuffle", blocksize=2),
    ]
    save(folder, nodes, [[1, 3, 24, 24], [1, 3, 48, 48]], {"w": weights})
    return "infer_super_resolution", LIKE_TORCH


def audio(folder: Path) -> tuple[str, dict[str, Any]]:
    """Noisy frames of symbols; the net turns features into scores of symbols."""
    random = np.random.default_rng(0)
    symbols = ["", "|", "a", "b", "c", "d"]
    for name in ("data", "truth"):
        (folder / name).mkdir()
    lines = []
    for number in range(COUNT):
        said = random.integers(1, 6, 20).repeat(2)
        said[1::2] = 0
        frames = np.eye(8)[said] + random.normal(size=(40, 8)) * 0.2
        np.save(folder / f"data/{number}.npy", frames.astype(np.float32))
        lines.append(f"{number}.npy\t{''.join(symbols[each] for each in said).replace('|', ' ')}\n")
    (folder / "truth" / "labels.txt").write_text("".join(lines))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "scores")]
    save(folder, nodes, [[1, 40, 8], [1, 40, 6]], {"w": np.eye(8)[:, :6]})
    return "infer_audio", {"vocabulary": symbols}


def quant(run: Run, folder: Path, function: str, entry: dict[str, Any], *words: object) -> dict[str, Any]:
    section = {
        "model": str(folder / "net.onnx"),
        "infer-func": function,
        "iteration": COUNT,
        "save-dir": str(folder / "out"),
        "input-configs": [{"data_dir": str(folder / "data"), **entry}],
    }
    (folder / "run.json").write_text(json.dumps({"quant": section}))
    result = run("quant", "--run-config", folder / "run.json", *words)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads((folder / "out" / "net_report.json").read_text())
    return report


@pytest.mark.parametrize(
    ("case", "least", "lost"), [(segmentation, 0.7, 0.02), (super_resolution, 20, 1), (audio, 0.6, 0.1)]
)
def test_a_file_is_enough(run: Run, tmp_path: Path, case: Case, least: float, lost: float) -> None:
    function, entry = case(tmp_path)
    report = quant(run, tmp_path, function, {**entry, "label_dir": str(tmp_path / "truth")})
    assert report["metric_float"] > least
    assert report["metric_quantized"] == pytest.approx(report["metric_float"], abs=lost)


@pytest.mark.parametrize(("case", "least"), [(segmentation, 0.95), (super_resolution, 30), (audio, 0.8)])
def test_without_labels_the_float_model_is_the_measure(
    run: Run, tmp_path: Path, case: Case, least: float
) -> None:
    function, entry = case(tmp_path)
    for _ in range(2):  # the second run renews what the first one left
        report = quant(run, tmp_path, function, entry)
        assert report["metric_float"] in (1.0, None)
        assert report["metric_quantized"] > least
    assert any((tmp_path / "labels").iterdir())


@pytest.mark.parametrize("case", [segmentation, super_resolution])
def test_bytes_are_normalized_inside_the_model(run: Run, tmp_path: Path, case: Case) -> None:
    function, entry = case(tmp_path)
    entry = {**entry, "label_dir": str(tmp_path / "truth")}
    outside = quant(run, tmp_path, function, entry)
    inside = quant(run, tmp_path, function, entry, "-qid", "uint8")
    assert inside["inputs"] == [{"name": "x", "dtype": "uint8"}]
    assert inside["metric_float"] == pytest.approx(outside["metric_float"], rel=1e-3)
    assert inside["metric_quantized"] == pytest.approx(outside["metric_quantized"], rel=1e-2)
