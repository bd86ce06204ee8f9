"""TensorFlow graphs that read, write and call; Keras files that name Python or lead out; TFLite."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.case import Hostile, Place, converting, message

_FLOAT, _STRING = 1, 7
_DTYPE = message((6, _FLOAT))


def _attributes(**values: bytes) -> list[tuple[int, object]]:
    return [(5, message((1, name), (2, value))) for name, value in values.items()]


def _node(name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> bytes:
    return message((1, name), (2, op), *((3, one) for one in inputs), *_attributes(**attributes))


def _text(name: str, value: str) -> bytes:
    tensor = message((1, _STRING), (2, b""), (8, value))
    return _node(name, "Const", dtype=message((6, _STRING)), value=message((8, tensor)))


def _graph(*evil: bytes, functions: Sequence[bytes] = ()) -> bytes:
    """x -> y, with the nodes of `evil` before y: its last is called so."""
    shape = message((7, message((2, message((1, 1))), (2, message((1, 4))))))
    nodes = [
        _node("x", "Placeholder", dtype=_DTYPE, shape=shape),
        *evil,
        _node("y", "Identity", ["x", "^evil"], T=_DTYPE),
    ]
    library = [(2, message(*((1, one) for one in functions)))] if functions else []
    return message(*((1, node) for node in nodes), *library)


Nodes = Callable[[Place], list[bytes]]


def _writes(place: Place) -> list[bytes]:
    return [
        _text("name", str(place.marker)),
        _text("content", "touched"),
        _node("evil", "WriteFile", ["name", "content"]),
    ]


def _reads(place: Place) -> list[bytes]:
    return [_text("name", str(place.secret)), _node("evil", "ReadFile", ["name"])]


def _calls_python(place: Place) -> list[bytes]:
    return [_node("evil", "PyFunc", ["x"], token=message((2, "pyfunc_0")))]


def _frozen(nodes: Nodes) -> Callable[[Place], None]:
    return lambda place: _write(place.folder / "net.pb", _graph(*nodes(place)))


def _in_a_function(place: Place) -> None:
    signature = message((1, "inner"))
    function = message((1, signature), *((3, node) for node in _writes(place)))
    call = _node("evil", "StatefulPartitionedCall", f=message((10, message((1, "inner")))))
    _write(place.folder / "net.pb", _graph(call, functions=[function]))


def _saved(nodes: Nodes) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        def end(name: str) -> bytes:
            shape = message((2, message((1, 1))), (2, message((1, 4))))
            return message((1, name), (2, message((1, f"{name}:0"), (2, _FLOAT), (3, shape))))

        signature = message((1, end("x")), (2, end("y")), (3, "tensorflow/serving/predict"))
        entry = message((1, "serving_default"), (2, signature))
        meta = message((1, message((4, "serve"))), (2, _graph(*nodes(place))), (5, entry))
        (place.folder / "net").mkdir()
        _write(place.folder / "net" / "saved_model.pb", message((1, 1), (2, meta)))

    return make


def _table(place: Place) -> list[bytes]:
    return [
        _text("name", str(place.secret)),
        _node("table", "HashTableV2", key_dtype=message((6, _STRING)), value_dtype=message((6, 9))),
        _node("evil", "InitializeTableFromTextFileV2", ["table", "name"]),
    ]


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


# Keras


def _config(layer: dict[str, Any]) -> dict[str, Any]:
    given = {"batch_shape": [None, 4], "dtype": "float32", "name": "x"}
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": given, "registered_name": None}
    layers = [first, {"registered_name": None, **layer}]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": layers}}


def _dense(**settings: Any) -> dict[str, Any]:
    config = {"name": "fc", "units": 2, "activation": "linear", **settings}
    return {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": config,
        "build_config": {"input_shape": [None, 4]},
    }


def _function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def _lambda(place: Place) -> dict[str, Any]:
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
    return {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil", "function": code}}


def _vocabulary(place: Place) -> dict[str, Any]:
    config = {"name": "words", "vocabulary": str(place.secret)}
    return {"module": "keras.layers", "class_name": "StringLookup", "config": config}


def _unpacks(place: Place) -> dict[str, Any]:
    config = {"name": "get_file", "fname": str(place.marker), "origin": place.secret.as_uri()}
    return {"module": "keras.utils", "class_name": "get_file", "config": config}


Layer = Callable[[Place], dict[str, Any]]


def _keras(
    layer: Layer,
    weights: Callable[[Place], bytes] | None = None,
    member: str = "assets/words.txt",
) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        with zipfile.ZipFile(place.folder / "net.keras", "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
            archive.writestr("config.json", json.dumps(_config(layer(place))))
            archive.writestr("model.weights.h5", (weights or _hdf5)(place))
            archive.writestr(member.replace("MARKER", str(place.marker)), "touched")

    return make


def _hdf5(place: Place, fill: Callable[[Any, Place], None] | None = None, config: str = "") -> bytes:
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables["1"] = np.zeros(2, np.float32)
        (fill or _whole)(variables, place)
        if config:
            file.attrs["model_config"] = config
            file.attrs["keras_version"] = "3.0.0"
            file.create_group("model_weights")
    return content.getvalue()


def _whole(variables: Any, place: Place) -> None:
    variables["0"] = np.zeros((4, 2), np.float32)


def _external_link(variables: Any, place: Place) -> None:
    import h5py

    variables["0"] = h5py.ExternalLink(str(place.secret), "/data")


def _external_data(variables: Any, place: Place) -> None:
    variables.create_dataset("0", (4, 2), np.float32, external=[(str(place.secret), 0, 32)])


def _virtual_data(variables: Any, place: Place) -> None:
    import h5py

    layout = h5py.VirtualLayout((4, 2), np.float32)
    layout[:] = h5py.VirtualSource(str(place.secret), "data", (4, 2))
    variables.create_virtual_dataset("0", layout)


def _filled(fill: Callable[[Any, Place], None]) -> Callable[[Place], bytes]:
    return lambda place: _hdf5(place, fill)


def _old_keras(layer: Layer, fill: Callable[[Any, Place], None] = _whole) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        content = _hdf5(place, fill, json.dumps(_config(layer(place))))
        _write(place.folder / "net.h5", content)

    return make


def _tflite(place: Place) -> None:
    """One operator, FlexWriteFile, between x and y."""
    import flatbuffers

    builder = flatbuffers.Builder(256)

    def vector(items: Sequence[int], *, offsets: bool) -> int:
        builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            builder.PrependUOffsetTRelative(item) if offsets else builder.PrependInt32(item)
        return int(builder.EndVector())

    def table(fields: dict[int, int], numbers: dict[int, int] | None = None) -> int:
        builder.StartObject(10)
        for slot, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, number in (numbers or {}).items():
            (builder.PrependInt8Slot if slot == 0 else builder.PrependUint32Slot)(slot, number, 0)
        return int(builder.EndObject())

    code = table({1: builder.CreateString("FlexWriteFile")}, {0: 32})
    tensors = []
    for name in ("x", "y"):
        label, shape = builder.CreateString(name), vector([1, 4], offsets=False)
        tensors.append(table({0: shape, 3: label}))
    operator = table({1: vector([0], offsets=False), 2: vector([1], offsets=False)})
    ends = [vector([number], offsets=False) for number in (0, 1)]
    parts = vector(tensors, offsets=True), vector([operator], offsets=True)
    graph = table({0: parts[0], 1: ends[0], 2: ends[1], 3: parts[1]})
    codes, graphs, buffers = (
        vector([code], offsets=True),
        vector([graph], offsets=True),
        vector([table({})], offsets=True),
    )
    builder.StartObject(5)
    builder.PrependUint32Slot(0, 3, 0)
    for slot, offset in ((1, codes), (2, graphs), (4, buffers)):
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    _write(place.folder / "net.tflite", bytes(builder.Output()))


def _case(name: str, make: Callable[[Place], None], model: str, said: str) -> Hostile:
    ends = ("-snn", "x", "-enn", "y") if model == "net.pb" else ()
    return Hostile(f"tensorflow {name}", make, converting("tensorflow", model, *ends), said)


CASES = (
    _case("pb writes", _frozen(_writes), "net.pb", "operator WriteFile"),
    _case("pb reads", _frozen(_reads), "net.pb", "operator ReadFile"),
    _case("pb calls python", _frozen(_calls_python), "net.pb", "operator PyFunc"),
    _case("pb in a function", _in_a_function, "net.pb", "operator WriteFile"),
    _case("saved model writes", _saved(_writes), "net", "operator WriteFile"),
    _case("saved model with a table", _saved(_table), "net", "operator InitializeTableFromTextFileV2"),
    _case("keras lambda", _keras(_lambda), "net.keras", "Lambda"),
    _case(
        "keras function", _keras(lambda _: _dense(activation=_function("os", "system"))), "net.keras", "'os'"
    ),
    _case(
        "keras class",
        _keras(lambda _: _dense() | {"module": "subprocess", "class_name": "Popen"}),
        "net.keras",
        "Popen",
    ),
    _case("keras unpacks", _keras(_unpacks), "net.keras", "keras.utils"),
    _case("keras words elsewhere", _keras(_vocabulary), "net.keras", "reads its words from another file"),
    _case(
        "keras member outside",
        _keras(lambda _: _dense(), member="assets/../../../MARKER"),
        "net.keras",
        "outside",
    ),
    _case("keras member absolute", _keras(lambda _: _dense(), member="MARKER"), "net.keras", "outside"),
    _case("keras link", _keras(lambda _: _dense(), _filled(_external_link)), "net.keras", "in another file"),
    _case(
        "keras data elsewhere",
        _keras(lambda _: _dense(), _filled(_external_data)),
        "net.keras",
        "in another file",
    ),
    _case(
        "keras virtual data",
        _keras(lambda _: _dense(), _filled(_virtual_data)),
        "net.keras",
        "in another file",
    ),
    _case("h5 lambda", _old_keras(_lambda), "net.h5", "Lambda"),
    _case("h5 link", _old_keras(lambda _: _dense(), _external_link), "net.h5", "in another file"),
    _case("h5 data elsewhere", _old_keras(lambda _: _dense(), _external_data), "net.h5", "in another file"),
    _case("tflite flex", _tflite, "net.tflite", "operator Flex"),
)
