"""Caffe nets with layers that call Python, read databases or write files; weights that are none."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hostile.case import Hostile, Place, converting, message
from tests.hostile.pickles import Evil

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }\n'
_DENSE = (
    'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }'
)


def _weights() -> bytes:
    shape = message((1, message((1, 2), (1, 4))))[2:]
    blob = message((5, np.ones(8, "<f4").tobytes()), (7, shape))
    bias = message((5, np.ones(2, "<f4").tobytes()), (7, message((1, 2))))
    return message((100, message((1, "fc"), (2, "InnerProduct"), (7, blob), (7, bias))))


def _net(
    layers: str, weights: Callable[[Place], bytes] = lambda place: _weights()
) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        text = layers.replace("MARKER", str(place.marker)).replace("SECRET", str(place.secret))
        (place.folder / "net.prototxt").write_text(text)
        (place.folder / "net.caffemodel").write_bytes(weights(place))

    return make


def _behind(layer: str) -> str:
    return f'{_INPUT}{_DENSE}\nlayer {{ name: "evil" bottom: "fc" top: "evil" {layer} }}'


def _source(layer: str) -> str:
    return f'layer {{ name: "data" top: "data" {layer} }}\n{_DENSE}'


def _objects(place: Place) -> bytes:
    path: Path = place.folder / "weights.npy"
    np.save(path, np.array([Evil(place.marker)], dtype=object), allow_pickle=True)
    return path.read_bytes()


CASES = tuple(
    Hostile(f"caffe {name}", make, converting("caffe", "net.prototxt", "-w", "@net.caffemodel"), said)
    for name, make, said in (
        (
            "python layer",
            _net(
                _behind(
                    'type: "Python" python_param { module: "os" layer: "system" param_str: "touch MARKER" }'
                )
            ),
            "Python",
        ),
        (
            "writes a database",
            _net(_behind('type: "HDF5Output" hdf5_output_param { file_name: "MARKER" }')),
            "HDF5Output",
        ),
        ("reads pictures", _net(_source('type: "ImageData" image_data_param { source: "SECRET" }')), "data"),
        ("reads windows", _net(_source('type: "WindowData" window_data_param { source: "SECRET" }')), "data"),
        ("reads HDF5", _net(_source('type: "HDF5Data" hdf5_data_param { source: "SECRET" }')), "data"),
        (
            "reads a database",
            _net(_source('type: "Data" data_param { source: "SECRET" backend: LMDB }')),
            "data",
        ),
        (
            "in another phase",
            _net(
                _behind(
                    'type: "Python" include { phase: TRAIN } python_param { module: "os" layer: "system" }'
                )
            ),
            "",
        ),
        (
            "pickled weights",
            _net(_INPUT + _DENSE, lambda place: pickle.dumps(Evil(place.marker))),
            "caffemodel",
        ),
        ("array of objects", _net(_INPUT + _DENSE, _objects), "caffemodel"),
        ("HDF5 weights", _net(_INPUT + _DENSE, lambda place: b"\x89HDF\r\n\x1a\n" + bytes(64)), "HDF5"),
    )
)
