"""Reads a caffemodel: the weights of every layer, by the layer's name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from knight.converters.caffe._schema import message_class
from knight.errors import ModelError
from knight.formats import framework_of, hint

_HDF5 = b"\x89HDF\r\n\x1a\n"
_RAW_TYPES: dict[int, np.dtype] = {0: np.dtype("<f8"), 1: np.dtype("<f4"), 2: np.dtype("<f2")}
"""NVIDIA's Caffe stores weights as bytes of these types."""

Weights = dict[str, list[np.ndarray]]


def read_caffemodel(path: Path) -> Weights:
    """The weights in `path`, float32. Raises ModelError for what is missing, cut short, or something else."""
    if not path.exists():
        raise ModelError(f"weights {path}: no such file")
    if path.is_dir():
        raise ModelError(f"weights {path}: is a folder; name the .caffemodel file in it")
    content = path.read_bytes()
    if not content:
        raise ModelError(f"weights {path}: the file is empty")
    if content.startswith(_HDF5):
        raise ModelError(
            f"weights {path}: saved as HDF5; save them as .caffemodel (snapshot_format BINARYPROTO)"
        )
    if b"\0" not in content and framework_of(path) == "caffe" and b"{" in content:
        raise ModelError(
            f"weights {path}: is a prototxt; name the prototxt with -m and the caffemodel with -w"
        )
    try:
        stored = message_class("StoredNet").FromString(content)
    except DecodeError:
        raise ModelError(
            f"weights {path}: not a caffemodel, or cut short; copy it again{hint(path, 'caffe')}"
        ) from None
    layers = [*stored.layer, *stored.layers]
    if not layers:
        raise ModelError(f"weights {path}: holds no layers; not a caffemodel{hint(path, 'caffe')}")
    weights: Weights = {}
    for layer in layers:
        blobs = [_array(blob, layer.name, index, path) for index, blob in enumerate(layer.blobs)]
        if blobs or layer.name not in weights:
            weights[layer.name] = blobs
    return weights


def _array(blob: Any, layer: str, index: int, path: Path) -> np.ndarray:
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    elif not any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        shape = ()  # of a single number, Caffe stores no dimensions
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    data = _data(blob)
    if data.size != math.prod(shape):
        data = _one_by_one(blob)
    if data.size != math.prod(shape):
        raise ModelError(
            f"weights {path}: weight {index} of layer {layer!r} has {data.size} numbers for the shape "
            f"{shape}; the file is damaged, copy it again"
        )
    return data.astype(np.float32).reshape(shape)


def _data(blob: Any) -> np.ndarray:
    if blob.raw_data and blob.raw_data_type in _RAW_TYPES:
        return _numbers(blob.raw_data, _RAW_TYPES[blob.raw_data_type])
    if blob.double_data:
        return _numbers(blob.double_data, np.dtype("<f8"))
    return _numbers(blob.data, np.dtype("<f4"))


def _numbers(content: bytes, dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(content, dtype, count=len(content) // dtype.itemsize)


def _one_by_one(blob: Any) -> np.ndarray:
    """The numbers of a blob that were written in several runs, or singly: legal, and slow to read."""
    slow = message_class("BlobProto").FromString(blob.SerializeToString())
    return np.asarray(slow.double_data if slow.double_data else slow.data)
