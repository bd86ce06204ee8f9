"""Weights of Caffe, beside a net that they fit."""

from __future__ import annotations

from pathlib import Path

from knight.converters import Source
from knight.converters.caffe._convert import convert_files
from knight.converters.caffe._schema import message_class
from knight.listener import SILENT
from scripts.fuzz.mutators.protobuf import Protobuf
from scripts.fuzz.targets import SEEDS, Target, written

NET = SEEDS / "prototxt" / "net.prototxt"


def run(data: bytes, folder: Path) -> None:
    """The conversion, without its proof."""
    convert_files(Source(str(NET), weights=str(written(folder, "net.caffemodel", data))), SILENT)


target = Target(run, Protobuf(lambda: message_class("NetParameter")), model=True)
