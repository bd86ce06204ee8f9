"""ONNX files as ``knight quant --dry-run`` reads them: loaded, taken apart, prepared, planned."""

from __future__ import annotations

from pathlib import Path

import onnx

from knight import model as models
from knight.config import QuantConfig
from knight.outputs import output_scales
from knight.planning import plan_all
from knight.targets import load_target
from scripts.fuzz.mutators.protobuf import Protobuf
from scripts.fuzz.targets import Target, written

CHIPS = ("onnxruntime", "TX5368AV200", "tensorrt")


def run(data: bytes, folder: Path) -> None:
    """The chip follows from the input's length."""
    model = models.load(written(folder, "model.onnx", data))
    output_scales(model)
    plan_all(model, load_target(CHIPS[len(data) % len(CHIPS)]), QuantConfig(methods=("min_max",), threads=1))


target = Target(run, Protobuf(lambda: onnx.ModelProto), seeds="onnx", model=True)
