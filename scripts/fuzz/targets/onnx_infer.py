"""ONNX files, float and quantized, as ``knight infer`` and ``knight compare`` read them."""

from __future__ import annotations

from pathlib import Path

import onnx

from knight import api
from knight.tasks.infer_auto import infer
from scripts.fuzz.mutators.protobuf import Protobuf
from scripts.fuzz.targets import SEEDS, Target, each, written


def run(data: bytes, folder: Path) -> None:
    """Compares with the smallest seed's float model, too."""
    path = written(folder, "model.onnx", data)
    each(
        lambda: api.infer(path, infer, threads=1),
        lambda: api.compare_models(SEEDS / "onnx" / "conv.onnx", path, infer, remedies=False, threads=1),
    )


target = Target(run, Protobuf(lambda: onnx.ModelProto), seeds="onnx", model=True)
