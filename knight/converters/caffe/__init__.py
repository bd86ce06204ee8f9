"""Caffe: a prototxt and its caffemodel."""

from __future__ import annotations

from knight.converters import Conversion, Converter, Source
from knight.listener import Listener


def convert(source: Source, listener: Listener) -> Conversion:
    """The net for inference (phase TEST), layer by layer in ONNX. Raises ModelError and ConfigError."""
    from knight.converters.caffe._convert import convert_files

    return convert_files(source, listener)


converter = Converter(
    title="Caffe",
    extra="caffe",
    modules=("google.protobuf",),
    verb="Caffe",
    flags=frozenset({"weights", "input_shapes"}),
    convert=convert,
)
