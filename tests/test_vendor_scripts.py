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


CLASSIFIER = """
import os
import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model

TOP_SCALE = ()

@ onnx_infer_func.register("infer_cls_model")
def infer_cls_model(executor):
    device = f"cuda:{executor.gpu}" if executor.gpu >= 0 else "cpu"
    data = np.load(os.path.join(os.path.dirname(executor.user_defined_script), executor.dataset))
    worst = 0.0
    for i, picture in enumerate(data["pictures"]):
        x = ((picture - np.reshape((120, 110, 100), (3, 1, 1))) / np.reshape((60, 50, 55), (3, 1, 1)))
        output = executor.forward(x[None].astype(np.float32))
        if executor.run_mode == "infer":
            output = [one * scale for one, scale in zip(output, TOP_SCALE)]
        for one, name in zip(output, ("boxes", "scores")):
            wanted = data[name][i : i + 1]
            worst = max(worst, np.linalg.norm(one - wanted) / np.linalg.norm(wanted))
        if i + 1 == executor.iteration:
            break
        if executor.early_stop_flag == True:
            break
    print(device, "worst:", worst)
    return 100.0 * (1 - worst)
"""

DETECTOR = """
import argparse
import os, sys
import os.path as osp
import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func
from onnx_quantize_tool.utils.constants import *

ROOT = os.getcwd()
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
from helper import Inferer

TOP_SCALE = ()

def get_args_parser():
    return argparse.ArgumentParser(description="by itself it would parse a command line").parse_args()

@onnx_infer_func.register("detector_infer")
def detector_infer(executor):
    weights, source, save_dir = executor, executor.dataset, executor.save_dir
    scales = TOP_SCALE if executor.run_mode == "infer" else (1.0, 1.0)
    found = Inferer(weights, source, NP_TYPE_DICT[executor.input_types["x"]]).infer(scales)
    os.makedirs(save_dir, exist_ok=True)
    np.savez(osp.join(save_dir, f"detected_{executor.run_mode}.npz"), **found)

if __name__ == "__main__":
    get_args_parser()
"""

HELPER = """
import numpy as np

class Inferer:
    def __init__(self, model, source, dtype):
        self.model, self.dtype = model, dtype
        self.device = "cpu" if model.gpu < 0 else model.gpu
        self.pictures = np.load(source)["pictures"]

    def infer(self, scales):
        assert self.dtype is np.uint8
        found = [self.model.forward(picture[None]) for picture in self.pictures[: self.model.iteration]]
        parts = zip(("boxes", "scores"), zip(*found), scales)
        return {name: np.concatenate(part) * scale for name, part, scale in parts}
"""


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


INFER_COMMON = """
import os, sys
import numpy as np
from PIL import Image
from onnx_quantize_tool.common.register import onnx_infer_func
from onnx_quantize_tool.utils.constants import *

TOP_SCALE = ()

def pictures(executor):
    (entry,) = executor.input_configs_dict
    name = entry["input_name"]
    dtype = NP_TYPE_DICT[executor.input_types.get(name, 1)]
    for file in sorted(os.listdir(entry["data_dir"])):
        picture = np.asarray(Image.open(os.path.join(entry["data_dir"], file))).transpose(2, 0, 1)[None]
        yield picture.astype(dtype)

@onnx_infer_func.register("infer_common")
def infer_common(executor):
    if not executor.shape_dicts:
        executor.init_shape_info()
    assert executor.shape_dicts["x"] == [1, 3, 16, 16]
    data, worst = np.load("data.npz"), 0.0
    for index, picture in enumerate(pictures(executor)):
        output = executor.forward(picture)
        if executor.run_mode == "infer":
            output = [one * scale for one, scale in zip(output, TOP_SCALE)]
        for one, name in zip(output, ("boxes", "scores")):
            wanted = data[name][index]
            worst = max(worst, np.linalg.norm(one[0] - wanted) / np.linalg.norm(wanted))
        if index + 1 == executor.iteration:
            break
    return 1 - float(worst)
"""


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


IMPORTS = """
import numpy as np
from infer_common import infer_default
import infer_auto
from onnx_quantize_tool.common.register import onnx_infer_func

TOP_SCALE = ()

@onnx_infer_func.register("infer_both")
def infer_both(executor):
    assert infer_default(executor) is None and infer_auto.infer_auto(executor) is None
    data = np.load("data.npz")
    output = executor.forward(data["pictures"][:1])
    if executor.run_mode == "infer":
        output = [one * scale for one, scale in zip(output, TOP_SCALE)]
    pairs = zip(output, (data["boxes"][:1], data["scores"][:1]))
    return 1 - max(float(np.linalg.norm(one - wanted) / np.linalg.norm(wanted)) for one, wanted in pairs)
"""


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
