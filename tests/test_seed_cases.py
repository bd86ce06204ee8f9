"""The vendor's three worked cases of run-config, with the keys of its parameter list and the kit's nets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from knight.cli import knight

FRUITS = ["pear", "grape", "cucumber", "banana", "mango"]


def chosen(source: Path, place: Path, count: int) -> Path:
    """A folder of links to every n-th picture of `source` and its label."""
    place.mkdir(parents=True)
    pictures = sorted(path for path in source.iterdir() if path.suffix in (".jpg", ".png"))
    for path in pictures[:: max(1, len(pictures) // count)][:count]:
        (place / path.name).symlink_to(path)
        label = path.with_suffix(".txt")
        if label.exists():
            (place.parent / "truth").mkdir(exist_ok=True)
            (place.parent / "truth" / label.name).symlink_to(label)
    return place


def run(tmp_path: Path, quant: dict[str, Any]) -> str:
    """What ``knight quant --run-config`` prints."""
    path = tmp_path / "run_config.json"
    path.write_text(json.dumps({"chip": "TX5368AV200", "quant": quant}))
    result = CliRunner().invoke(knight, ["quant", "--run-config", str(path)])
    assert result.exit_code == 0, result.stderr
    return result.output


def arguments(tmp_path: Path, model: Path, entry: dict[str, Any], **others: Any) -> dict[str, Any]:
    """The quant section as the vendor's examples have it: numbers and lists also as strings."""
    return {
        "model": str(model),
        "framework": "onnx",
        "infer-func": "infer_common.infer_default",
        "user-defined-script": "/opt/Quantize/onnx_examples/infer_common.py",
        "bit-width": 8,
        "iteration": "12",
        "batch-size": 1,
        "quant-mode": ["mse"],
        "run-mode": "quant",
        "save-dir": str(tmp_path / "result"),
        "log-level": 3,
        "input-configs": [entry],
        **others,
    }


def number(output: str, name: str) -> float:
    line = next(line for line in output.splitlines() if line.strip().startswith(name))
    return float(line.split(":")[1].split()[0])


def test_classification(kit: Path, tmp_path: Path) -> None:
    pictures = chosen(kit / "images" / "cifar10", tmp_path / "data" / "pictures", 12)
    labels = tmp_path / "data" / "labels"
    labels.mkdir()
    known = [line.split()[:2] for line in (kit / "images" / "cifar10_labels.txt").open() if line.strip()]
    names = {path.name for path in pictures.iterdir()}
    (labels / "labels.txt").write_text("".join(f"{file} {label}\n" for file, label in known if file in names))
    entry = {
        "data_dir": str(pictures),
        "label_dir": str(labels),
        "is_yolo": False,
        "color_space": "RGB",
        "augment": False,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "calculate_acc": True,
    }
    output = run(tmp_path, arguments(tmp_path, kit / "onnx" / "resnet20_cifar10.onnx", entry))
    assert number(output, "Float metric") >= 0.5 and number(output, "Quantization Loss") <= 20
    assert (tmp_path / "result" / "resnet20_cifar10_quantize.onnx").is_file()


@pytest.fixture
def detection(kit: Path, tmp_path: Path) -> dict[str, Any]:
    pictures = chosen(kit / "images" / "fruits", tmp_path / "data" / "pictures", 12)
    return {
        "data_dir": str(pictures),
        "label_dir": str(tmp_path / "data" / "truth"),
        "is_yolo": True,
        "resize": "squash",  # the vendor's nets are letterboxed; this one was trained without
        "color_space": "BGR",
        "augment": False,
        "mean": [0, 0, 0],
        "std": [255, 255, 255],
        "calculate_acc": True,
        "draw_box": False,
        "max_det": 300,
        "nc": 5,
        "conf_thres": 0.001,
        "iou_thres": 0.35,
        "names": FRUITS,
    }


def test_detection(kit: Path, tmp_path: Path, detection: dict[str, Any]) -> None:
    model = kit / "onnx" / "fastestdet_fruits_512.onnx"
    output = run(tmp_path, arguments(tmp_path, model, detection))
    assert number(output, "Float metric") > 0.9
    assert number(output, "Quantized metric") > 0.85


def test_boxes_are_drawn(kit: Path, tmp_path: Path, detection: dict[str, Any]) -> None:
    model = kit / "onnx" / "fastestdet_fruits_512.onnx"
    drawing = {**detection, "draw_box": True, "calculate_acc": False}
    run(tmp_path, arguments(tmp_path, model, drawing, **{"run-mode": "infer"}))
    drawn = sorted((tmp_path / "data" / "label_imgs").iterdir())
    assert len(drawn) == 12
    for path in drawn:
        source = next((tmp_path / "data" / "pictures").glob(f"{path.stem}.*"))
        before, after = (np.asarray(Image.open(each).convert("RGB"), int) for each in (source, path))
        assert before.shape == after.shape
        assert (np.abs(before - after).max(axis=2) > 30).any()  # every picture has a fruit
