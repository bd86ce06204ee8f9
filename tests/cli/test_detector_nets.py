"""Nets as public repositories write them go from the vendor's form of script to both kinds of chips."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from knight.runner import Session
from knight.script import load_script

Run = Callable[..., Result]
SCRIPT = Path(__file__).with_name("detector_nets.py")
FED = ("-if", "pictures", "-qid", "uint8", "--mean", 0, "--std", 255, "-i", 4)


def picture(seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 3, 32, 32)).astype(np.uint8)


def source(name: str) -> list[np.ndarray]:
    """What the register function's model gives for the picture: an independent call of torch."""
    found = load_script(SCRIPT).pytorch_models[name]()
    model = (found[0] if isinstance(found, tuple) else found["model"]).eval()
    with torch.no_grad():
        given: Any = model(torch.from_numpy(picture().astype(np.float32) / 255))
    given = (
        given
        if isinstance(given, torch.Tensor)
        else [given[0], *given[1]]
        if name.startswith("yolov")
        else given
    )
    return [given.numpy()] if isinstance(given, torch.Tensor) else [each.numpy() for each in given]


def outputs(path: Path) -> list[np.ndarray]:
    session = Session(path)
    (info,) = session.inputs
    fed = picture() if info.dtype == np.uint8 else picture().astype(np.float32) / 255
    found = session.run({info.name: fed})
    scales = json.loads(
        {p.key: p.value for p in onnx.load(path).metadata_props}.get("knight.output_scales", "{}")
    )
    names = [info.name for info in session.outputs]
    return [a * scales[n]["scale"] if n in scales else a for n, a in zip(names, found, strict=True)]


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    a, b = left.ravel().astype(np.float64), right.ravel().astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("yolov5", "concrete_args val ignored"),
        ("yolov3", ""),
        ("yolov7", ""),
        ("yolox", ""),
        ("yolox_raw", ""),
        ("resnet", "converted by torch.export"),
        ("picked", "1 of the proof's samples decide nothing"),
    ],
)
def test_from_the_script_to_both_kinds_of_chips(run: Run, tmp_path: Path, name: str, said: str) -> None:
    words = ("-f", "pytorch", "-m", name, "-uds", SCRIPT, *FED, "--save-dir", tmp_path)
    result = run("--chip", "TX5368AV200", "quant", *words)
    assert result.exit_code == 0, result.output
    assert said in result.output
    error = re.search(r"Largest error    : (\S+) of the range", result.output)
    assert error is not None and float(error[1]) < 1e-3
    wanted = source(name)
    for found, want in zip(outputs(tmp_path / f"{name}.onnx"), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
    plain = ("-m", tmp_path / f"{name}.onnx", "-uds", SCRIPT, *FED, "--save-dir", tmp_path / "plain")
    result = run("--chip", "onnxruntime", "quant", *plain)
    assert result.exit_code == 0, result.output
    for folder in (tmp_path, tmp_path / "plain"):
        found = outputs(folder / f"{name}_quantize.onnx")
        assert [array.shape for array in found] == [want.shape for want in wanted]
        if name != "picked":  # close scores change places
            assert min(cosine(*pair) for pair in zip(found, wanted, strict=True)) > 0.98


def suppressing(path: Path) -> Path:
    """pictures -> Conv -> boxes and scores -> NonMaxSuppression -> Gather: rows of chosen boxes."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(6, 3, 4, 4)).astype(np.float32) / 8,
        "shape": np.array([1, 6, -1]),
        "four": np.array([4, 2]),
        "most": np.array([5]),
        "iou": np.array([0.5], np.float32),
        "least": np.array([0.1], np.float32),
        "column": np.array(2),
        "zero": np.array([0]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["conv"], "conv", strides=[4, 4]),
        helper.make_node("Reshape", ["conv", "shape"], ["rows"], "rows"),
        helper.make_node("Sigmoid", ["rows"], ["values"], "values"),
        helper.make_node("Split", ["values", "four"], ["corners", "scores"], "split", axis=1),
        helper.make_node("Transpose", ["corners"], ["boxes"], "boxes", perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["chosen"], "nms"),
        helper.make_node("Gather", ["chosen", "column"], ["places"], "places", axis=1),
        helper.make_node("Squeeze", ["boxes", "zero"], ["all"], "all"),
        helper.make_node("Gather", ["all", "places"], ["kept"], "kept", axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("chosen", TensorProto.INT64, ["n", 3]),
        ],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)
    return path


@pytest.mark.parametrize("chip", ["TX5368AV200", "onnxruntime"])
def test_an_export_that_ends_in_a_suppression(run: Run, tmp_path: Path, chip: str) -> None:
    words = ("-m", suppressing(tmp_path / "net.onnx"), "-uds", SCRIPT, *FED, "--save-dir", tmp_path / "out")
    result = run("convert", *words)
    assert result.exit_code == 0, result.output
    result = run("--chip", chip, "quant", *words)
    assert result.exit_code == 0, result.output
    kept, chosen = outputs(tmp_path / "out" / "net_quantize.onnx")
    want, places = outputs(tmp_path / "net.onnx")
    assert chosen.dtype == np.int64 and kept.shape == (len(chosen), 4) and want.shape == (10, 4)
    wanted = {tuple(place): row for place, row in zip(places, want, strict=True)}
    found = {tuple(place): row for place, row in zip(chosen, kept, strict=True)}
    common = wanted.keys() & found.keys()  # boxes whose scores are close change places
    assert len(common) >= 7
    assert max(np.abs(wanted[place] - found[place]).max() for place in common) < 0.02


TORCHVISION = """
import torch
from onnx_quantize_tool.common.register import pytorch_model
from torch import nn

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
except RuntimeError:  # torchvision itself is there
    pass

def nms(boxes, scores, iou):
    order, keep = scores.argsort(descending=True), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while order.numel():
        best, order = order[0], order[1:]
        keep.append(best)
        low = torch.maximum(boxes[best, :2], boxes[order, :2])
        high = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        order = order[shared / (area[best] + area[order] - shared) <= iou]
    return torch.stack(keep)

library.impl("nms", nms, "CPU")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, 4)

    def forward(self, x):
        y = self.conv(x).flatten(2).permute(0, 2, 1)[0]
        centre, size, scores = y[:, :2].sigmoid() * 30, y[:, 2:4].sigmoid() * 10, y[:, 4].sigmoid()
        boxes = torch.cat([centre - size / 2, centre + size / 2], 1)
        keep = torch.ops.torchvision.nms(boxes, scores, 0.5)
        return torch.cat([boxes[keep], scores[keep, None]], 1)

@pytorch_model.register("net")
def net(weight_path=None):
    return {"model": Net(), "inputs": [torch.randn(1, 3, 32, 32)]}
"""


def test_torchvisions_suppression(run: Run, tmp_path: Path) -> None:
    """A stand-in under torchvision's name, so that the proof compares with numbers of its own."""
    (tmp_path / "nets.py").write_text(TORCHVISION)
    words = ("-f", "pytorch", "-m", "net", "-uds", tmp_path / "nets.py", "--save-dir", tmp_path)
    result = run("convert", *words)  # the script runs in a process of its own
    assert result.exit_code == 0, result.output
    error = re.search(r"Largest error    : (\S+) of the range of output output \(4 samples\)", result.output)
    assert error is not None and float(error[1]) < 1e-5
    assert "NonMaxSuppression" in [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    for chip in ("TX5368AV200", "onnxruntime"):
        result = run("--chip", chip, "quant", "-m", tmp_path / "net.onnx", "--save-dir", tmp_path / chip)
        assert result.exit_code == 0, result.output
        (rows,) = Session(tmp_path / chip / "net_quantize.onnx").run(
            {"x": np.ones((1, 3, 32, 32), np.float32)}
        )
        assert rows.ndim == 2 and rows.shape[1] == 5
