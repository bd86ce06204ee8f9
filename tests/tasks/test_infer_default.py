"""infer_default through the pipeline and the command line: a file and pictures give a model its metric."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from knight import model as models, pipeline
from knight.cli import knight
from knight.config import QuantConfig
from knight.executor import RunSettings
from knight.targets import load_target
from knight.tasks import tasks
from tests import exact, small_models
from tests.tasks import _runs

Knight = Callable[..., Result]
NORMALIZATION = {"mean": [120, 110, 100], "std": [60, 50, 55]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Knight:
    """``run("quant", {"model": ...}, "-i", 3)``: a run-config's section, then words."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))

    def invoke(command: str, values: dict[str, Any], *words: object) -> Result:
        section = {"model": str(tmp_path / "net.onnx"), "save-dir": str(tmp_path / "out"), **values}
        if command == "infer":
            section.pop("save-dir")
        path = tmp_path / "run.json"
        path.write_text(json.dumps({"chip": "onnxruntime", command: section}), "utf-8")
        return CliRunner().invoke(knight, [command, "-rc", str(path), *map(str, words)], prog_name="knight")

    return invoke


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve small pictures of noise, and the net that sorts them into four classes."""
    small_models.conv_net(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(12):
        noise = np.clip(random.normal(random.integers(30, 220, 3), 30, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "pictures" / f"{number:02}.png")
    return tmp_path / "pictures"


def entry(pictures: Path, **values: Any) -> dict[str, Any]:
    return {"data_dir": str(pictures), "calculate_acc": True, **NORMALIZATION, **values}


def answers(model: Path, pictures: Path) -> dict[str, int]:
    """What the float model says, by other means than the tested ones."""
    session = exact.session(model)
    found = {}
    for path in sorted(pictures.iterdir()):
        bgr = np.asarray(Image.open(path), np.float32)[:, :, ::-1]
        x = ((bgr - NORMALIZATION["mean"]) / NORMALIZATION["std"]).transpose(2, 0, 1)[None]
        found[path.name] = int(session.run(None, {"x": x.astype(np.float32)})[0].argmax())
    return found


def labels_of(folder: Path) -> dict[str, int]:
    lines = (folder / "labels.txt").read_text("utf-8").split()
    return dict(zip(lines[::2], map(int, lines[1::2]), strict=True))


def report(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "out" / "net_report.json").read_text("utf-8"))
    return found


def test_the_pipeline_makes_labels_and_measures_against_them(pictures: Path, tmp_path: Path) -> None:
    heard = _runs.Heard()
    settings = RunSettings(iteration=12, input_configs_dict=(entry(pictures),))
    (outcome,) = pipeline.quantize(
        models.load(str(tmp_path / "net.onnx")),
        tasks.get("infer_default"),
        load_target("onnxruntime"),
        QuantConfig(iterations=(12,)),
        settings,
        name="net",
        listener=heard,
    )
    assert labels_of(tmp_path / "labels") == answers(tmp_path / "net.onnx", pictures)
    assert outcome.report["metric_float"] == 1.0 and outcome.report["samples"] == 12
    assert outcome.report["metric_quantized"] >= 10 / 12
    assert [line.split(":")[0] for line in heard.lines if "labels" in line] == ["no labels"]
    assert sum("top-1" in line for line in heard.lines) == 1  # of the quantized model


def test_one_file_gives_a_model_its_accuracy_and_the_next_runs(
    run: Knight, pictures: Path, tmp_path: Path
) -> None:
    values = {"iteration": 12, "input-configs": [entry(pictures)]}
    result = run("infer", values)
    assert result.exit_code == 0, result.output
    assert "knight quant makes labels" in result.output and "Metric: none" in result.output
    result = run("quant", values)
    assert result.exit_code == 0, result.output
    assert "the float model's answers are taken for them" in result.output
    assert "Float metric     : 1" in result.output
    measured = report(tmp_path)["metric_quantized"]
    for model, metric in (("net.onnx", 1.0), ("out/net_quantize.onnx", measured)):
        result = run("infer", {**values, "model": str(tmp_path / model)})
        assert result.exit_code == 0 and f"Metric: {metric}" in result.output, result.output


def test_labels_are_made_anew_for_another_model(run: Knight, pictures: Path, tmp_path: Path) -> None:
    values = {"iteration": 12, "input-configs": [entry(pictures)]}
    assert run("quant", values).exit_code == 0
    before = labels_of(tmp_path / "labels")
    model = onnx.load(tmp_path / "net.onnx")
    (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "c"]
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 0, 99, 0], np.float32), "c"))
    onnx.save(model, tmp_path / "net.onnx")
    result = run("quant", values)
    assert result.exit_code == 0, result.output
    after = labels_of(tmp_path / "labels")
    assert set(after.values()) == {2} and after != before
    assert report(tmp_path)["metric_float"] == 1.0


def test_a_users_labels_count_and_stay(run: Knight, pictures: Path, tmp_path: Path) -> None:
    right = answers(tmp_path / "net.onnx", pictures)
    wrong = {**right, "00.png": (right["00.png"] + 1) % 4}
    (tmp_path / "truth").mkdir()
    text = "".join(f"{name} {label}\n" for name, label in wrong.items())
    (tmp_path / "truth" / "labels.txt").write_text(text, "utf-8")
    values = {"iteration": 12, "input-configs": [entry(pictures, label_dir=str(tmp_path / "truth"))]}
    assert run("quant", values).exit_code == 0
    assert report(tmp_path)["metric_float"] == pytest.approx(11 / 12)
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["labels.txt"]
    assert (tmp_path / "truth" / "labels.txt").read_text("utf-8") == text


def test_every_combination_is_measured_on_all_the_pictures(
    run: Knight, pictures: Path, tmp_path: Path
) -> None:
    values = {"iteration": [4, 12], "quant-mode": ["min_max", "kl"], "input-configs": [entry(pictures)]}
    result = run("quant", values)
    assert result.exit_code == 0, result.output
    assert "Fail" not in result.output
    assert result.output.count("of 12 pictures") == 4


@pytest.mark.parametrize("words", [("-uds", "examples/infer_common.py"), ()], ids=["script", "none"])
@pytest.mark.parametrize("name", ["infer_default", "infer_common.infer_default"])
def test_the_vendors_names_lead_here(
    run: Knight, pictures: Path, tmp_path: Path, words: tuple[str, ...], name: str
) -> None:
    values = {"iteration": 2, "infer-func": name, "input-configs": [entry(pictures)]}
    result = run("quant", values, *words)
    assert result.exit_code == 0, result.output
    assert report(tmp_path)["metric_float"] == 1.0


# What input-configs say of the border ------------------------------------------------------------------


def newer(pictures: Path, **values: Any) -> dict[str, Any]:
    return {
        **{"data_dir": str(pictures), "input_name": "x", "quant_data_format": "Image"},
        **NORMALIZATION,
        **values,
    }


def compared(tmp_path: Path, pictures: Path) -> None:
    """The quantized model takes bytes, and answers as the float model does on normalized pictures."""
    session = exact.session(tmp_path / "out" / "net_quantize.onnx")
    assert session.get_inputs()[0].type == "tensor(uint8)"
    right = answers(tmp_path / "net.onnx", pictures)
    same = 0
    for path in sorted(pictures.iterdir()):
        bgr = np.asarray(Image.open(path))[:, :, ::-1].transpose(2, 0, 1)[None]
        same += int(session.run(None, {"x": np.ascontiguousarray(bgr)})[0].argmax()) == right[path.name]
    assert same >= 10


@pytest.mark.parametrize("make", [newer, entry], ids=["newer", "older"])
@pytest.mark.parametrize("words", [(), ("--mean", 120, 110, 100, "--std", 60, 50, 55)], ids=["", "twice"])
def test_mean_and_std_go_into_a_model_that_takes_bytes(
    run: Knight,
    pictures: Path,
    tmp_path: Path,
    make: Callable[..., dict[str, Any]],
    words: tuple[object, ...],
) -> None:
    one = make(pictures) if make is entry else make(pictures, quantize_input_dtype="uint8")
    flags = ("-qid", "uint8") if make is entry else ()
    values = {"iteration": 12, "input-configs": [one]}
    result = run("quant", values, *flags, *words)
    assert result.exit_code == 0, result.output
    compared(tmp_path, pictures)
    assert report(tmp_path)["arguments"]["mean"] == NORMALIZATION["mean"]
    result = run("infer", {**values, "model": str(tmp_path / "out" / "net_quantize.onnx")})
    assert result.exit_code == 0, result.output
    if make is entry:
        metric = report(tmp_path)["metric_quantized"]
        assert metric >= 10 / 12 and f"Metric: {metric}" in result.output


@pytest.mark.parametrize(
    ("make", "values", "words", "message"),
    [
        (newer, {"quantize_input_dtype": "uint8"}, ("-qid", "float32"), "give one of them"),
        (newer, {"quantize_input_dtype": "float32"}, ("-qid", "uint8"), r"quantize_input_dtype is float32"),
        (entry, {}, ("-qid", "uint8", "--mean", 1, 2, 3, "--std", 4, 5, 6), "mean/std differ"),
        (entry, {}, ("--mean", 1, 2, 3, "--std", 4, 5, 6), "normalized twice"),
        (entry, {}, ("-qid", "int8"), "int8: pictures hold 0 to 255; use uint8"),
        (newer, {"input_name": "y"}, (), r"input-configs\[0\]\.input_name: no input 'y'; known: x"),
        (newer, {"quantize_input_dtype": "uint8", "mean": None, "std": None}, (), "uint8 needs mean and std"),
        (newer, {"mean": None}, (), r"input-configs\[0\]\.std is given without mean"),
        (entry, {"mean": [1, 2]}, (), r"input-configs\[0\]\.mean holds 2 numbers"),
    ],
)
def test_contradictions_are_refused_before_the_work(
    run: Knight,
    pictures: Path,
    tmp_path: Path,
    make: Callable[..., dict[str, Any]],
    values: dict[str, Any],
    words: tuple[object, ...],
    message: str,
) -> None:
    one = {**make(pictures), **values}
    result = run("quant", {"iteration": 2, "input-configs": [one]}, *words)
    assert result.exit_code == 2 and "Stage1" not in result.output
    assert re.search(message, result.stderr), result.stderr


def test_two_inputs_of_which_the_second_takes_pictures(run: Knight, tmp_path: Path) -> None:
    small_models.two_inputs(tmp_path).rename(tmp_path / "net.onnx")
    for name, width in (("left", 4), ("right", 6)):
        (tmp_path / name).mkdir()
        for number in range(2):
            array = np.random.default_rng(number).normal(size=(1, width)).astype(np.float32)
            np.save(tmp_path / name / f"{number}.npy", array)
    entries = [
        {"input_name": name, "quant_data_format": "Numpy", "data_dir": str(tmp_path / name)}
        for name in ("right", "left")
    ]
    result = run("quant", {"iteration": 3, "input-configs": entries})
    assert result.exit_code == 0, result.output
    uint8 = {**entries[0], "quantize_input_dtype": "uint8", "mean": 1, "std": 2}
    result = run("quant", {"iteration": 3, "input-configs": [uint8, entries[1]]})
    assert result.exit_code == 2 and "only a model's first input can be normalized" in result.stderr


# Detection ---------------------------------------------------------------------------------------------


def detector(folder: Path) -> Path:
    """x [1, 3, 16, 16] -> boxes [1, 6, 256] of YOLOv8: one place per pixel, sure where it is red."""
    grid = np.stack(np.meshgrid(np.arange(16), np.arange(16)), 0).reshape(1, 2, 256) + 0.5
    constant = np.concatenate([grid, np.full((1, 2, 256), 6.0)], 1).astype(np.float32)
    weights = {
        "w": np.array([[0, 0, 0.9], [0, 0.9, 0]], np.float32).reshape(2, 3, 1, 1),  # BGR: red, green
        "boxes": constant,
        "shape": np.array([1, 2, 256], np.int64),
    }
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["scores"], "conv"),
        onnx.helper.make_node("Reshape", ["scores", "shape"], ["flat"], "flat"),
        onnx.helper.make_node("Concat", ["boxes", "flat"], ["y"], "join", axis=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 16, 16])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 6, 256])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "net.onnx")
    return folder / "net.onnx"


def test_a_detector_by_one_file(run: Knight, tmp_path: Path) -> None:
    detector(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number, (row, column) in enumerate([(4, 4), (8, 3), (10, 12)]):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[row, column, number % 2] = 255
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
        (tmp_path / "truth").mkdir(exist_ok=True)
        line = f"{number % 2} {(column + 0.5) / 16} {(row + 0.5) / 16} 0.375 0.375\n"
        (tmp_path / "truth" / f"{number}.txt").write_text(line, "utf-8")
    one = {
        **{"data_dir": str(tmp_path / "pictures"), "label_dir": str(tmp_path / "truth"), "nc": 2},
        **{"preset": "yolov8", "color_space": "BGR", "conf_thres": 0.3, "draw_box": True},
    }
    values = {"iteration": 3, "input-configs": [one]}
    result = run("quant", values)
    assert result.exit_code == 0, result.output
    found = report(tmp_path)
    assert (found["metric_float"], found["metric_quantized"]) == pytest.approx((1.0, 1.0))
    assert not (tmp_path / "label_imgs").exists()
    result = run("infer", {**values, "model": str(tmp_path / "out" / "net_quantize.onnx")})
    assert result.exit_code == 0, result.output
    assert "drawn into 3 pictures" in result.output
    assert sorted(path.name for path in (tmp_path / "label_imgs").iterdir()) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "infer_default has no input-configs"),
        ('[{"data_dir": "nowhere"}]', "nowhere: there is no such folder"),
        ('[{"data_dir": ', "no JSON"),
        ("[5]", "wants a list of objects"),
        ('[{"data_dir": "a", "data_dri": "b"}]', r"input-configs[0].data_dri: unknown key"),
    ],
)
def test_a_file_of_input_configs_that_is_wrong_is_one_line(
    run: Knight, pictures: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "inputs.json").write_text(text, "utf-8")
    result = run("quant", {"iteration": 1, "input-configs": str(tmp_path / "inputs.json")})
    assert result.exit_code in (1, 2)
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1, result.stderr
