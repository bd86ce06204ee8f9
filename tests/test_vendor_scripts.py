"""Scripts as users of the vendor's tool have them: quant, infer, where they scale by themselves, and compare.

Every script computes how far the model is from numbers that the test made with the float net in ONNX Runtime,
and knows of the scales what their users know: what quant printed, copied by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests import exact
from tests.vendor_texts import CLASSIFIER, DETECTOR, HELPER, IMPORTS, INFER_COMMON, PYTORCH

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 55.0)
CHIP = ("--chip", "TX5368AV200")
CALLS = 4


def net(folder: Path) -> Path:
    """x float32[1, 3, 16, 16] -> Conv, Relu -> two heads of a detector, boxes and scores of unlike ranges."""
    random = np.random.default_rng(0)
    shapes = {"w": (8, 3, 3, 3), "v": (6, 8, 3, 3), "u": (4, 8, 1, 1)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["u"] *= 20
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"], "r"),
        helper.make_node("Conv", ["r", "v"], ["boxes"], "boxes"),
        helper.make_node("Conv", ["r", "u"], ["scores"], "scores"),
    ]
    values = {"x": [1, 3, 16, 16], "boxes": [1, 6, 6, 6], "scores": [1, 4, 8, 8]}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in values.items()]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", infos[:1], infos[1:], tensors)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """net.onnx, pictures as files and as one array, and what the float net answers to the normalized ones."""
    session = exact.session(net(tmp_path))
    pictures = np.random.default_rng(1).integers(0, 256, (CALLS, 3, 16, 16)).astype(np.uint8)
    columns = [np.reshape(values, (1, 3, 1, 1)) for values in (MEAN, STD)]
    normalized = ((pictures - columns[0]) / columns[1]).astype(np.float32)
    answers = [session.run(None, {"x": one[None]}) for one in normalized]
    boxes, scores = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    np.savez(tmp_path / "data.npz", pictures=pictures, boxes=boxes, scores=scores)
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path


def knight(folder: Path, *words: object) -> str:
    """What the command prints; it ends well."""
    process = subprocess.run(
        [sys.executable, "-m", "knight", *map(str, words)],
        cwd=folder,
        env={**os.environ, "XDG_CONFIG_HOME": str(folder / "settings")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def number(output: str, name: str) -> float:
    """The number behind `name` and a colon."""
    (line,) = [line for line in output.splitlines() if line.startswith(name)]
    return float(line.split(":")[1].split()[0])


def printed_scales(output: str) -> tuple[float, ...]:
    """What a user copies from the end of quant: one scale per output, in order."""
    lines = [line for line in output.splitlines() if line.startswith("Dequantization scale of output ")]
    assert [line.split(":")[0].split()[-1] for line in lines] == ["boxes", "scores"]
    return tuple(float(line.split(":")[1]) for line in lines)


def write(folder: Path, text: str, name: str = "script.py") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(dedent(text), "utf-8")
    return path


def with_scales(script: Path, scales: tuple[float, ...]) -> None:
    """What the user does between quant and infer."""
    text = script.read_text("utf-8")
    assert text.count("TOP_SCALE = ()") == 1
    script.write_text(text.replace("TOP_SCALE = ()", f"TOP_SCALE = {scales}"), "utf-8")


def check_compare(folder: Path, *words: object) -> None:
    """Compare gives the script real numbers, and knows nothing of scales that a script has."""
    output = knight(folder, "compare", "-m", "net.onnx", "-q", "out/net_quantize.onnx", "-i", CALLS, *words)
    assert "Compare complete" in output


def test_a_classifier_that_normalizes_by_itself(folder: Path) -> None:
    script = write(folder, CLASSIFIER)
    words = ("-uds", script, "-if", "infer_cls_model", "-d", "data.npz", "-s", "out")
    output = knight(folder, *CHIP, "quant", "-m", "net.onnx", "-i", CALLS, *words)
    quantized = number(output, "Quantized metric")
    assert number(output, "Float metric") == pytest.approx(100, abs=0.01) and 90 < quantized < 99.99
    with_scales(script, printed_scales(output))
    output = knight(folder, "quant", "-r", "infer", "-m", "out/net_quantize.onnx", "-i", CALLS, *words)
    assert number(output, "Metric") == pytest.approx(quantized, abs=0.01)
    assert "outputs are fixed-point; scale printed above" in output
    output = knight(
        folder, "infer", "-m", "out/net_quantize.onnx", "--compare-with", "net.onnx", "-i", CALLS, *words
    )
    assert number(output, "Quantization Loss") == pytest.approx(100 - quantized, abs=0.02)
    check_compare(folder, *words[:-2])


def test_a_detector_that_takes_bytes_and_returns_nothing(folder: Path) -> None:
    write(folder, HELPER, "helper.py")
    script = write(folder, DETECTOR)
    words = ("-uds", script, "-if", "detector_infer", "-d", "data.npz", "-qid", "uint8", "-s", "out")
    normalization = ("--mean", *MEAN, "--std", *STD)
    output = knight(folder, *CHIP, "quant", "-m", "net.onnx", "-i", CALLS, *words, *normalization)
    with_scales(script, printed_scales(output))
    knight(folder, "quant", "-r", "infer", "-m", "out/net_quantize.onnx", "-i", CALLS, *words)
    check_detected(folder)
    check_compare(folder, *(word for word in words if word not in ("-qid", "uint8", "-s", "out")))
    assert (folder / "out" / "detected_compare.npz").is_file()  # what it writes, beside what quant wrote


def check_detected(folder: Path) -> None:
    """What the detector finds under infer is what it found under quant: about the float net's numbers."""
    paths = [folder / "out" / f"detected_{mode}.npz" for mode in ("quant", "infer")]
    with np.load(folder / "data.npz") as data, np.load(paths[0]) as before, np.load(paths[1]) as found:
        for name in ("boxes", "scores"):
            assert np.allclose(found[name], before[name], rtol=1e-5, atol=0)
            assert np.linalg.norm(found[name] - data[name]) < 0.1 * np.linalg.norm(data[name])


def test_a_run_config_with_all_the_vendors_sections(folder: Path) -> None:
    """One for quant and one for infer, as the model collection has them, and both through build."""
    write(folder, HELPER, "helper.py")
    script = write(folder, DETECTOR)
    common = {
        "infer-func": "detector_infer",
        "batch-size": 1,
        "iteration": str(CALLS),
        "save-dir": str(folder / "out"),
        "user-defined-script": str(script),
        "data": "data.npz",
    }
    quant = {
        **{"model": "net.onnx", "framework": "onnx", "bit-width": "8", "quant-mode": "min_max"},
        **{"run-mode": "quant", "mean": "120 110 100", "std": " ".join(map(str, STD))},
        **{"quantize-input-dtype": "uint8", **common},
    }
    elsewhere = {
        "compile": {"onnx": "out/net_quantize.onnx", "save-dir": "rne"},
        "run": {"input": "model_input.bin", "format": "nchw", "model": "net_quantize_r.tsmodel"},
        "profiling": {"model": "net_quantize_r.tsmodel", "save-dir": "rne"},
    }
    first, second = folder / "config.json", folder / "infer_config.json"
    first.write_text(json.dumps({"chip": "TX5336AV200", "quant": quant, **elsewhere}))
    infer = {"model": str(folder / "out" / "net_quantize.onnx"), "run-mode": "infer", **common}
    second.write_text(json.dumps({"quant": infer}))
    output = knight(folder, "quant", "--run-config", first)
    with_scales(script, printed_scales(output))
    knight(folder, "quant", "--run-config", second)
    check_detected(folder)
    output = knight(folder, "build", "--run-config", first)
    assert all(f"{name}: needs the vendor's own tools; skipped" in output for name in elsewhere)


def entry(folder: Path, **more: Any) -> dict[str, Any]:
    """Of the newer form."""
    return {
        "input_name": "x",
        "quant_data_format": "Image",
        "data_dir": str(folder / "pictures"),
        "color_space": "RGB",
        "mean": list(MEAN),
        "std": list(STD),
        "quantize_input_dtype": "uint8",
        **more,
    }


def run_config(folder: Path, **quant: Any) -> Path:
    path = folder / "config.json"
    common = {"model": "net.onnx", "iteration": CALLS, "save-dir": "out"}
    path.write_text(json.dumps({"chip": "TX5368AV200", "quant": {**common, **quant}}))
    return path


def test_an_infer_common_of_the_users_own(folder: Path) -> None:
    """The type and the normalization of its entry go into the model, keys of its own or not."""
    script = write(folder, INFER_COMMON, "src/infer_common.py")
    given = {"infer-func": "infer_common", "user-defined-script": str(script)}
    config = run_config(folder, **given, **{"input-configs": [entry(folder, augment_by="nothing")]})
    output = knight(folder, "quant", "--run-config", config)
    quantized = number(output, "Quantized metric")
    assert number(output, "Float metric") == pytest.approx(1, abs=1e-4) and 0.9 < quantized < 0.9999
    with_scales(script, printed_scales(output))
    words = ("-m", "out/net_quantize.onnx", "-r", "infer")
    assert number(knight(folder, "quant", "--run-config", config, *words), "Metric") == pytest.approx(
        quantized, abs=1e-4
    )


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("/opt/Quantize/onnx_examples/infer_common.py", "infer_common.infer_default"),
        ("/opt/Quantize/onnx_examples/infer_common.py", "infer_default"),
        ("builtin/infer_common.py", "infer_common"),
    ],
)
def test_the_vendors_infer_common_by_a_path_that_is_not_there(folder: Path, script: str, name: str) -> None:
    given = {"infer-func": name, "user-defined-script": script, "input-configs": [entry(folder)]}
    config = run_config(folder, **given)
    output = knight(folder, "quant", "--run-config", config)
    assert f"note: there is no {script}; Knight's own infer_common is used" in output
    assert exact.session(folder / "out" / "net_quantize.onnx").get_inputs()[0].type == "tensor(uint8)"
    output = knight(folder, "quant", "--run-config", config, "-m", "out/net_quantize.onnx", "-r", "infer")
    assert "Metric: none" in output and "fixed-point" not in output


def test_the_vendors_infer_auto_by_a_path_that_is_not_there(folder: Path) -> None:
    words = ("-uds", "/opt/Quantize/onnx_examples/infer_auto.py", "-if", "infer_auto", "-s", "out")
    output = knight(folder, *CHIP, "quant", "-m", "net.onnx", *words)
    assert "Knight's own infer_auto is used" in output
    assert "fixed-point" not in knight(folder, "quant", "-r", "infer", "-m", "out/net_quantize.onnx", *words)
    check_compare(folder, *words[:-2])


def test_a_script_that_calls_the_ready_made_functions(folder: Path) -> None:
    """They have real numbers inside, and its own calls the outputs as they are."""
    script = write(folder, IMPORTS)
    given = {"infer-func": "infer_both", "user-defined-script": str(script)}
    config = run_config(folder, **given, **{"input-configs": [entry(folder)]})
    output = knight(folder, "quant", "--run-config", config)
    quantized = number(output, "Quantized metric")
    assert 0.9 < quantized < 0.9999
    with_scales(script, printed_scales(output))
    words = ("-m", "out/net_quantize.onnx", "-r", "infer")
    assert number(knight(folder, "quant", "--run-config", config, *words), "Metric") == pytest.approx(
        quantized, abs=1e-4
    )


def test_a_pytorch_detector_that_takes_bytes(folder: Path) -> None:
    """Arguments that forward does not have, a uint8 input, and the scale by hand."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = {"stem": (3, 8, 3), "boxes": (8, 6, 3), "scores": (8, 4, 1)}
    made = {name: torch.nn.Conv2d(*sizes).state_dict() for name, sizes in layers.items()}
    state = {f"{name}.{key}": value for name, part in made.items() for key, value in part.items()}
    torch.save(state, folder / "weights.pth")
    script = write(folder, PYTORCH)
    words = ("-uds", script, "-if", "detector_quant", "-d", "data.npz", "-qid", "uint8", "-s", "out")
    source = ("quant", "onnx", "-m", "detector", "-f", "pytorch", "-w", "weights.pth")
    normalization = ("--mean", *MEAN, "--std", *STD)
    output = knight(folder, *CHIP, *source, "-i", CALLS, *words, *normalization)
    quantized = number(output, "Quantized metric")
    assert number(output, "Float metric") == pytest.approx(1, abs=1e-3) and 0.9 < quantized < 0.9999
    lines = [line for line in output.splitlines() if line.startswith("Dequantization scale of output ")]
    with_scales(script, tuple(float(line.split(":")[1]) for line in lines))
    output = knight(folder, "quant", "-r", "infer", "-m", "out/detector_quantize.onnx", "-i", CALLS, *words)
    assert number(output, "Metric") == pytest.approx(quantized, abs=1e-4)
    words = ("-m", "out/detector.onnx", "-q", "out/detector_quantize.onnx", "-i", CALLS, *words[:6])
    assert "Compare complete" in knight(folder, "compare", *words)
