"""The worked commands of the vendor's guide run as printed, with models of the kit in place of theirs."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
DOCUMENT = tomllib.loads((HERE / "guide_commands.toml").read_text("utf-8"))
COMMANDS: dict[str, dict[str, Any]] = {command["name"]: command for command in DOCUMENT["command"]}
PICTURES = 20

sys.path.append(str(HERE.parent / "scripts" / "bench"))
bench: Any = importlib.import_module("kit")

INFER_DEMO = '''
"""The demo script of the guide, for any classifier whose pictures lie beside it."""

import os

import numpy as np
import torch
from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model
from resnet20 import ResNet20

HERE = os.path.dirname(os.path.abspath(__file__))


@ onnx_infer_func.register("infer_cls_model")
def infer_cls_model(executor):
    batch_size = executor.batch_size
    pictures = np.load(os.path.join(HERE, "data", "pictures.npy")).astype(np.float32)
    labels = np.load(os.path.join(HERE, "data", "labels.npy"))
    executor.init_shape_info()
    shape = executor.shape_dicts[executor.input_nodes[0]]
    if shape[-1] == 3:
        pictures = pictures.transpose(0, 2, 3, 1)
    batch_size = max(batch_size, shape[0] or 1)
    total_correct_num = total_num = 0
    for i in range(len(pictures) // batch_size):
        part = slice(i * batch_size, (i + 1) * batch_size)
        output = executor.forward(np.ascontiguousarray(pictures[part]))
        pred = np.argmax(output[0].reshape(batch_size, -1), axis=1)
        total_correct_num += (pred == labels[part]).sum()
        total_num += batch_size
        if i + 1 == executor.iteration:
            break
        if executor.early_stop_flag == True:
            break
    total_acc = (100.0 * total_correct_num) / total_num
    print("total_acc:", total_acc)
    return total_acc


@onnx_infer_func.register("infer_test_float")
def infer_test_float(executor):
    infer_cls_model(executor)


@pytorch_model.register("resnet18")
def resnet18(weight_path=None):
    model = ResNet20()
    if weight_path:
        weights = torch.load(weight_path, map_location="cpu")["state_dict"]
        weights = {name.replace("module.", ""): value for name, value in weights.items()}
        model.load_state_dict(weights, strict=True)
    return {"model": model, "inputs": [torch.randn(10, 3, 32, 32)]}
'''

IN_THEIR_PLACE = {
    "resnet18_onnx/resnet18.onnx": "onnx/resnet20_cifar10.onnx",
    "resnet18_pytorch/resnet18-5c106cde.pth": "pytorch/resnet20_cifar10_state_dict.th",
    "resnet18_caffe/resnet-18.prototxt": "caffe/squeezenet_v1.1_deploy.prototxt",
    "resnet18_caffe/resnet-18.caffemodel": "caffe/squeezenet_v1.1.caffemodel",
    "resnet18_paddle/resnet18.pdmodel": "paddle/resnet20_cifar10/inference.pdmodel",
    "resnet18_paddle/resnet18.pdiparams": "paddle/resnet20_cifar10/inference.pdiparams",
    "resnet18_tf/resnet18.pb": "tf/mobilenet_v1_0.25_224_frozen.pb",
}


class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library is not typed
    """Hands ONNX Runtime's own quantizer one picture after the other."""

    def __init__(self, name: str, pictures: Sequence[np.ndarray]) -> None:
        self.batches = iter([{name: picture} for picture in pictures])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def lay_out(kit: Path, folder: Path, command: dict[str, Any]) -> None:
    """The vendor's folder of examples, with pictures for the net of the command."""
    examples = folder / "onnx_examples"
    for place, file in IN_THEIR_PLACE.items():
        path = examples / "model" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(kit / file)
    (examples / "infer_demo.py").write_text(dedent(INFER_DEMO).lstrip(), "utf-8")
    shutil.copy(HERE / "converters" / "pytorch" / "resnet20.py", examples)
    (chosen,) = (one for one in bench.CLASSIFIERS if one.name == command["net"])
    pictures, labels = zip(*bench.samples(kit, chosen, "images", PICTURES), strict=True)
    (examples / "data").mkdir()
    np.save(examples / "data" / "pictures.npy", np.concatenate(pictures))
    np.save(examples / "data" / "labels.npy", np.array(labels))
    source, made = examples / "model/resnet18_onnx/resnet18.onnx", examples / "model/resnet18_qdq"
    made.mkdir()
    if "_qdq" in command["printed"]:
        reader = Reader(onnx.load(source).graph.input[0].name, pictures)
        quantize_static(source, made / "resnet18_qdq.onnx", reader, quant_format=QuantFormat.QDQ)
    entry = {
        "data_dir": str(kit / "images" / "cifar10"),
        "label_dir": "",
        **{"is_yolo": False, "color_space": "RGB", "augment": False, "calculate_acc": True},
        **{"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
    }
    config = {
        "model": str(source),
        "infer-func": "infer_common.infer_default",
        "user-defined-script": "/opt/Quantize/onnx_examples/infer_common.py",
        **{"iteration": 10, "save-dir": str(folder / "result"), "input-configs": [entry]},
    }
    (examples / "config").mkdir()
    text = json.dumps({"chip": "TX5368AV200", "quant": config})
    (examples / "config" / "run_config_cls.json").write_text(text)


def words_of(command: dict[str, Any], folder: Path) -> list[str]:
    texts = {**DOCUMENT["everywhere"], **command.get("replaced", {})}
    text = " ".join(command["printed"].split())
    text = re.sub("|".join(map(re.escape, texts)), lambda found: texts[found[0]], text)
    return [word.replace("{folder}", str(folder)) for word in shlex.split(text)]


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    assert words[0] == "Knight"
    return subprocess.run(
        [sys.executable, "-m", "knight", *words[1:]],
        cwd=folder,
        env={**os.environ, "XDG_CONFIG_HOME": str(folder / "settings")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def check(name: str, folder: Path) -> None:
    """Runs the command and what has to come before it, and looks at what came of them."""
    command = COMMANDS[name]
    if "after" in command:
        check(command["after"], folder)
    words = words_of(command, folder)
    if "refused" in command:
        result = run(words, folder)
        assert result.returncode == 2 and result.stderr.strip() == f"knight: error: {command['refused']}"
        words = [command["mended"].get(word, word) for word in words]
    result = run(words, folder)
    assert result.returncode == 0, result.stdout + result.stderr
    for text in command["says"]:
        assert text in result.stdout
    for file in command.get("files", []):
        assert (folder / file).exists()
    if "metric" in command:
        label = "Metric" if "infer" in words else "Quantized metric"
        metrics = [line for line in result.stdout.splitlines() if line.startswith(label)]
        assert float(metrics[0].split(":")[1].split()[0]) >= command["metric"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_runs_as_printed(kit: Path, tmp_path: Path, name: str) -> None:
    lay_out(kit, tmp_path, COMMANDS[name])
    check(name, tmp_path)


def test_every_framework_and_mode_of_the_guide_is_there() -> None:
    printed = " ".join(command["printed"] for command in COMMANDS.values())
    for word in (
        "-f pytorch",
        "-f caffe",
        "-f paddle",
        "-f tensorflow",
        "_qdq.onnx",
        "--run-config",
        "--mean",
    ):
        assert word in printed
    assert "Knight compare" in printed and "-r\ninfer" in printed and "-r convert" in printed
