"""Data of strangers: pickles for arrays, programs for pictures, JSON and TOML that lead out."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests import small_models
from tests.hostile.case import Hostile, Place, Words
from tests.hostile.pickles import Evil

_QUANT = ("--chip", "onnxruntime", "quant")
_POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
(MARKER) (w) file dup (touched) writestring closefile
%%EOF
"""


def _objects(path: Path, place: Place) -> None:
    np.save(path, np.array([Evil(place.marker)], dtype=object), allow_pickle=True)


def _pickle(path: Path, place: Place) -> None:
    path.write_bytes(pickle.dumps(Evil(place.marker)))


def _archive_of_objects(path: Path, place: Place) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.array([Evil(place.marker)], dtype=object))


def _postscript(path: Path, place: Place) -> None:
    path.write_bytes(_POSTSCRIPT.replace(b"MARKER", os.fsencode(place.marker)))


def _other_picture(kind: str) -> Callable[[Path, Place], None]:
    def write(path: Path, place: Place) -> None:
        from PIL import Image

        Image.new("RGB", (8, 8)).save(path, kind)

    return write


def _link(path: Path, place: Place) -> None:
    path.symlink_to(place.secret)


def _pipe(path: Path, place: Place) -> None:
    os.mkfifo(path)


def _fed(form: str, file: str, write: Callable[[Path, Place], None]) -> Callable[[Place], None]:
    """A model and a folder of data for infer_default, with one file."""

    def make(place: Place) -> None:
        small_models.conv_net(place.folder)
        data = place.folder / "data"
        data.mkdir()
        write(data / file, place)
        entry = {"input_name": "x", "quant_data_format": form, "data_dir": str(data)}
        (place.folder / "inputs.json").write_text(json.dumps([entry]))

    return make


def _feeding(folder: Path) -> Sequence[object]:
    words = (*_QUANT, "-m", folder / "net.onnx", "-if", "infer_default")
    return (*words, "--input-configs", folder / "inputs.json")


def _dump(
    change: Callable[[Place, Path], None], index: Callable[[Place], list[dict[str, Any]]] | None = None
) -> Callable[[Place], None]:
    """A dump of one layer; `change` gets the folder of its quantized half."""

    def make(place: Place) -> None:
        for half in ("float", "quant"):
            layer = place.folder / "dump" / half / "0001:Relu_y"
            layer.mkdir(parents=True)
            np.save(layer / "batch_0.npy", np.ones((1, 4), np.float32))
        entry = {
            "op_type": "Relu",
            "op_name": "relu",
            "op_output_name": "y",
            "folder": layer.name,
            "batches": 1,
        }
        listed = index(place) if index else [entry]
        (place.folder / "dump" / "dump.json").write_text(json.dumps(listed))
        change(place, layer)

    return make


def _leading_out(place: Place) -> list[dict[str, Any]]:
    outside = place.secret.parent
    (outside / "0001:Relu_y").mkdir()
    (outside / "0001:Relu_y" / "batch_0.npy").symlink_to(place.secret)
    entry = {"op_type": "Relu", "op_name": "relu", "op_output_name": "y", "batches": 1}
    return [entry | {"folder": f"{outside}/0001:Relu_y"}]


def _comparing(folder: Path) -> Sequence[object]:
    return "compare", "-qd", folder / "dump"


def _option(file: str) -> Callable[[Place], None]:
    """A model, and beside it a pickle in place of `file`."""

    def make(place: Place) -> None:
        small_models.conv_net(place.folder)
        _pickle(place.folder / file, place)

    return make


_OPTIONS: dict[str, Words] = {
    "mix.json": lambda folder: (*_QUANT, "-m", folder / "net.onnx", "-mc", folder / "mix.json"),
    "inputs.json": _feeding,
    "chip.toml": lambda folder: ("--chip", folder / "chip.toml", "quant", "-m", folder / "net.onnx"),
    "run.json": lambda folder: ("quant", "-rc", folder / "run.json"),
    "evil.onnx": lambda folder: (*_QUANT, "-m", folder / "evil.onnx"),
}


def _cases() -> list[Hostile]:
    found = [
        Hostile(f"data {name}", _fed(form, file, write), _feeding, file)
        for name, form, file, write in (
            ("array of objects", "Numpy", "a.npy", _objects),
            ("array that is a pickle", "Numpy", "a.npy", _pickle),
            ("array that is an archive", "Numpy", "a.npy", _archive_of_objects),
            ("array that is a link", "Numpy", "a.npy", _link),
            ("picture that is PostScript", "Image", "a.png", _postscript),
            ("picture that is a pickle", "Image", "a.jpg", _pickle),
            ("picture of another kind", "Image", "a.png", _other_picture("TIFF")),
            ("picture that is EPS", "Image", "a.jpeg", _other_picture("EPS")),
            ("picture that is a link", "Image", "a.png", _link),
        )
    ]
    found += [
        Hostile(f"dump {name}", make, _comparing, said)
        for name, make, said in (
            ("of objects", _dump(lambda place, layer: _objects(layer / "batch_0.npy", place)), "batch_0.npy"),
            ("of pickles", _dump(lambda place, layer: _pickle(layer / "batch_0.npy", place)), "batch_0.npy"),
            (
                "with a pickled list",
                _dump(lambda place, layer: _pickle(layer.parents[1] / "dump.json", place)),
                "dump.json",
            ),
            ("that leads out", _dump(lambda place, layer: None, _leading_out), "missing"),
        )
    ]
    found += [Hostile(f"pickle for {file}", _option(file), words, file) for file, words in _OPTIONS.items()]
    return found


CASES = tuple(_cases())
