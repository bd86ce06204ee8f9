"""Frozen graphs of TensorFlow, read as data before TensorFlow loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knight.converters import Source
from knight.converters.tensorflow import _frozen
from scripts.fuzz.mutators.protobuf import Protobuf
from scripts.fuzz.targets import Target, each, written


def run(data: bytes, folder: Path) -> None:
    """With the ends named, and without."""
    path = written(folder, "graph.pb", data)
    named = Source(str(path), start_nodes=("x",), end_nodes=("y:0",))
    each(lambda: _frozen.load(path, named), lambda: _frozen.load(path, Source(str(path))))


def _graph() -> Any:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return GraphDef


target = Target(run, Protobuf(_graph), modules=("tensorflow",), model=True)
