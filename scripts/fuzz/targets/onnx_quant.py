"""ONNX files as ``knight quant`` reads them, to the end of the run, on random data."""

from __future__ import annotations

from pathlib import Path

import onnx

from knight import api
from knight.tasks.infer_auto import infer
from scripts.fuzz.mutators.protobuf import Protobuf
from scripts.fuzz.targets import Target, written
from scripts.fuzz.targets.onnx_plan import CHIPS


def run(data: bytes, folder: Path) -> None:
    """The chip follows from the input's length."""
    path = written(folder, "model.onnx", data)
    api.quantize(path, infer, target=CHIPS[len(data) % len(CHIPS)], method="min_max", threads=1)


target = Target(run, Protobuf(lambda: onnx.ModelProto), seeds="onnx", model=True)
