"""Small Caffe nets, written to files and sent through the real converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from knight.converters import Conversion, Source
from knight.converters.caffe import converter
from knight.converters.caffe._schema import message_class
from knight.listener import SILENT, Listener
from knight.runner import Session
from tests.converters.checks import assert_same

Blobs = Mapping[str, Sequence[Any]]


class Heard(Listener):
    """Keeps what the converter says."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.details: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)


def write_net(prototxt: str, blobs: Blobs, folder: Path) -> Source:
    """Writes ``net.prototxt`` and ``net.caffemodel`` into `folder`."""
    model, weights = folder / "net.prototxt", folder / "net.caffemodel"
    model.write_text(prototxt)
    net = message_class("NetParameter")(name="net")
    net.layer.add(name="the input", type="Input")
    for name, arrays in blobs.items():
        layer = net.layer.add(name=name)
        for array in arrays:
            array = np.asarray(array, np.float32)
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel().tolist())
    weights.write_bytes(net.SerializeToString())
    return Source(str(model), weights=str(weights))


def convert_net(prototxt: str, blobs: Blobs, tmp_path: Path, listener: Listener = SILENT) -> Conversion:
    """The net of `prototxt` with the weights `blobs` (arrays by layer name), converted.

    Inputs may be written in any of Caffe's forms; `image` is the shortest.
    """
    return converter.convert(write_net(prototxt, blobs, tmp_path), listener)


def image(*shape: int, name: str = "data") -> str:
    """An Input layer, called `name` like its blob."""
    dims = " ".join(f"dim: {dim}" for dim in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def layer(kind: str, text: str = "", bottom: str = "data", top: str = "out", name: str = "") -> str:
    """A layer of type `kind`, named by default as its first top. Blanks separate several bottoms or tops."""
    bottoms = " ".join(f'bottom: "{blob}"' for blob in bottom.split())
    tops = " ".join(f'top: "{blob}"' for blob in top.split())
    return f'layer {{ name: "{name or top.partition(" ")[0]}" type: "{kind}" {bottoms} {tops} {text} }}\n'


def run(conversion: Conversion, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes, by output name."""
    session = Session(conversion.model, level="basic")
    return {info.name: array for info, array in zip(session.outputs, session.run(dict(feeds)), strict=True)}


def assert_matches_opencv(
    conversion: Conversion, feeds: Mapping[str, np.ndarray] | None = None, tolerance: float = 1e-4
) -> None:
    """The outputs are those of OpenCV, for `feeds` or random numbers."""
    assert conversion.reference is not None, conversion.unproven
    assert_same(conversion, feeds, tolerance=tolerance)


def assert_matches(
    conversion: Conversion,
    feeds: Mapping[str, np.ndarray],
    wanted: Sequence[np.ndarray],
    tolerance: float = 1e-5,
) -> None:
    """The outputs are `wanted`, in their order, within `tolerance` of the largest number (at least 1)."""
    got = run(conversion, feeds)
    assert len(got) == len(wanted)
    for (name, have), want in zip(got.items(), wanted, strict=True):
        assert have.shape == np.shape(want), f"{name}: {have.shape} instead of {np.shape(want)}"
        bound = tolerance * max(1.0, float(np.max(np.abs(want), initial=0)))
        np.testing.assert_allclose(have, want, rtol=0, atol=bound, err_msg=name)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
