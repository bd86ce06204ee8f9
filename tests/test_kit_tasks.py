"""The kit's nets by a JSON file alone: as accurate as a careful script with OpenCV finds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from knight.cli import knight
from tests import exact


@dataclass(frozen=True)
class Classifier:
    """A net, its pictures, the preset for it, and the same preparation written down once more (BGR in)."""

    file: str
    pictures: str
    preset: str
    count: int
    prepare: Callable[[np.ndarray], np.ndarray]


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """The middle of a picture whose shorter side is 256."""
    assert min(picture.shape[:2]) == 256
    top, left = (round((length - side) / 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def like_keras(bgr: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(middle(bgr, 224), cv2.COLOR_BGR2RGB) / np.float32(127.5) - 1


def like_caffe(bgr: np.ndarray) -> np.ndarray:
    return middle(bgr, 227).astype(np.float32) - np.array([104, 117, 123], np.float32)


def like_torch(bgr: np.ndarray) -> np.ndarray:
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.float32) / 255
    return (rgb - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)


CLASSIFIERS = (
    Classifier("mobilenet_v1_0.25_224.onnx", "imagenet", "imagenet-tf", 120, like_keras),
    Classifier("squeezenet_v1.1.onnx", "imagenet", "imagenet-caffe", 120, like_caffe),
    Classifier("resnet20_cifar10.onnx", "cifar10", "cifar10", 300, like_torch),
)


def knight_says(tmp_path: Path, command: str, **values: Any) -> str:
    path = tmp_path / f"{command}.json"
    keys = {key.replace("_", "-"): value for key, value in values.items()}
    path.write_text(json.dumps({"chip": "onnxruntime", command: keys}), "utf-8")
    result = CliRunner().invoke(knight, [command, "-rc", str(path)])
    assert result.exit_code == 0, result.output
    return result.output


def metric_of(output: str) -> float:
    (line,) = [line for line in output.splitlines() if line.startswith("Metric: ")]
    return float(line.removeprefix("Metric: "))


def by_a_careful_script(model: Path, kit: Path, one: Classifier) -> float:
    """Top-1 accuracy over the first pictures."""
    session = exact.session(model)
    rows = (kit / "images" / f"{one.pictures}_labels.txt").read_text("utf-8").splitlines()
    labels = {row.split()[0]: int(row.split()[1]) for row in rows}
    right = 0
    for path in sorted((kit / "images" / one.pictures).glob("*.jpg"))[: one.count]:
        numbers = one.prepare(cv2.imread(str(path))).transpose(2, 0, 1)[None].astype(np.float32)
        scores = session.run(None, {session.get_inputs()[0].name: numbers})[0]
        right += int(scores.argmax()) == labels[path.name]
    return right / one.count


@pytest.mark.parametrize("one", CLASSIFIERS, ids=lambda one: one.file.split("_")[0])
def test_a_classifier_is_as_accurate_as_a_careful_script_finds_it(
    kit: Path, tmp_path: Path, one: Classifier
) -> None:
    """Within one picture: the two decode JPEG by different means."""
    entry = {
        "preset": one.preset,
        "data_dir": str(kit / "images" / one.pictures),
        "label_dir": str(kit / "images" / f"{one.pictures}_labels.txt"),
    }
    model = kit / "onnx" / one.file
    knight_says(
        tmp_path,
        "quant",
        model=str(model),
        iteration=one.count,
        save_dir=str(tmp_path / "out"),
        input_configs=[entry],
    )
    report = json.loads((tmp_path / "out" / f"{model.stem}_report.json").read_text("utf-8"))
    picture = 1.01 / one.count
    careful = by_a_careful_script(model, kit, one)
    assert careful > 0.5
    assert report["metric_float"] == pytest.approx(careful, abs=picture)
    quantized = by_a_careful_script(tmp_path / "out" / f"{model.stem}_quantize.onnx", kit, one)
    assert report["metric_quantized"] == pytest.approx(quantized, abs=picture)
    assert report["samples"] == one.count


def fruits(kit: Path, **values: Any) -> dict[str, Any]:
    folder = str(kit / "images" / "fruits")
    return {"preset": "fastestdet", "data_dir": folder, "label_dir": folder, "nc": 5, **values}


def test_the_fruit_detector_has_the_accuracy_that_is_known_of_it(kit: Path, tmp_path: Path) -> None:
    """mAP50 0.9637 and mAP50-95 0.7083 in the kit's manifest, by other code with another interpolation."""
    output = knight_says(
        tmp_path,
        "infer",
        model=str(kit / "onnx" / "fastestdet_fruits_512.onnx"),
        iteration=120,
        input_configs=[fruits(kit)],
    )
    assert metric_of(output) == pytest.approx(0.963, abs=0.005)
    (line,) = [line for line in output.splitlines() if "mAP50-95" in line]
    assert float(line.split("mAP50-95")[1].split()[0]) == pytest.approx(0.708, abs=0.01)


def test_the_quantized_fruit_detector_by_three_lines_of_json(kit: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted((kit / "images" / "fruits").glob("*.jpg"))[::6]:
        (pictures / path.name).symlink_to(path)
    knight_says(
        tmp_path,
        "quant",
        model=str(kit / "onnx" / "fastestdet_fruits_512.onnx"),
        iteration=20,
        quantize_input_dtype="uint8",
        save_dir=str(tmp_path / "out"),
        input_configs=[{**fruits(kit), "data_dir": str(pictures)}],
    )
    report = json.loads((tmp_path / "out" / "fastestdet_fruits_512_report.json").read_text("utf-8"))
    assert report["inputs"][0]["dtype"] == "uint8"
    assert report["metric_float"] > 0.9
    assert report["metric_quantized"] > report["metric_float"] - 0.03
