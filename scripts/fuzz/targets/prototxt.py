"""Nets of Caffe, in protobuf's text form, beside weights that fit the seeds."""

from __future__ import annotations

from pathlib import Path

from knight.converters import Source
from knight.converters.caffe._convert import convert_files
from knight.converters.caffe._schema import message_class
from knight.listener import SILENT
from scripts.fuzz.mutators.protobuf import ProtobufText
from scripts.fuzz.targets import SEEDS, Target, written

WEIGHTS = SEEDS / "caffemodel" / "net.caffemodel"


def run(data: bytes, folder: Path) -> None:
    """The conversion, without its proof."""
    convert_files(Source(str(written(folder, "net.prototxt", data)), weights=str(WEIGHTS)), SILENT)


target = Target(run, ProtobufText(lambda: message_class("NetParameter")), model=True)
