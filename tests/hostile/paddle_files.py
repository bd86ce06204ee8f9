"""Paddle programs, of both forms, with operators that read, write and call; parameters that are pickles."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from tests.hostile.case import Hostile, Place, converting, message
from tests.hostile.pickles import Evil

_FLOAT32, _FETCH_LIST, _FEED_MINIBATCH, _TENSOR = 5, 10, 9, 7


def _op(kind: str, inputs: dict[str, str], outputs: dict[str, str], **texts: str) -> bytes:
    def slots(names: dict[str, str]) -> list[bytes]:
        return [message((1, slot), (2, name)) for slot, name in names.items()]

    attributes = [message((1, name), (2, 2), (5, text)) for name, text in texts.items()]
    fields = [(1, one) for one in slots(inputs)] + [(2, one) for one in slots(outputs)] + [(3, kind)]
    return message(*fields, *((4, one) for one in attributes))


def _variable(name: str, *, stored: bool = False) -> bytes:
    tensor = message((1, _FLOAT32), (2, 1), (2, 4))
    kind = message((1, _TENSOR), (3, message((1, tensor))))
    return message((1, name), (2, kind), (3, int(stored)))


def _program(*ops: bytes, inner: Sequence[bytes] = (), stored: bool = False) -> bytes:
    feed = _op("feed", {"X": "feed"}, {"Out": "x"})
    fetch = _op("fetch", {"X": "y"}, {"Out": "fetch"})
    scale = _op("scale", {"X": "x"}, {"Out": "y"})
    variables = [
        message((1, "feed"), (2, message((1, _FEED_MINIBATCH))), (3, 1)),
        message((1, "fetch"), (2, message((1, _FETCH_LIST))), (3, 1)),
        *(_variable(name) for name in ("x", "y", "z")),
        *([_variable("w", stored=True)] if stored else []),
    ]
    first = [(1, 0), (2, -1), *((3, one) for one in variables)]
    blocks = [message(*first, *((4, op) for op in (feed, scale, *ops, fetch)))]
    if inner:
        blocks.append(message((1, 1), (2, 0), *((4, op) for op in inner)))
    return message(*((1, block) for block in blocks))


def _old(kind: str, *, nested: bool = False, **texts: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        told = {name: text.replace("MARKER", str(place.marker)) for name, text in texts.items()}
        evil = _op(kind, {"X": "y"}, {"Out": "z"}, **told)
        program = _program(inner=[evil]) if nested else _program(evil)
        (place.folder / "net.pdmodel").write_bytes(program)

    return make


def _json_op(
    name: str, inputs: Sequence[int], output: int | None, **attributes: tuple[str, Any]
) -> dict[str, Any]:
    kind = {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, [1, 4], "NCHW", [], 0]}
    return {
        "#": name,
        "A": [
            {"N": key, "AT": {"#": f"0.a_{kind}", "D": value}} for key, (kind, value) in attributes.items()
        ],
        "I": [{"%": number} for number in inputs],
        "O": [] if output is None else [{"%": output, "TT": kind}],
        "OA": [],
        "QA": [],
    }


def _new(name: str, *, nested: bool = False, **texts: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        told = {key: ("str", text.replace("MARKER", str(place.marker))) for key, text in texts.items()}
        evil = _json_op(name, [1], 3, **told)
        if nested:
            block = {"#": "block_1", "args": [], "ops": [evil]}
            evil = _json_op("2.while", [1], 3) | {"regions": [{"#": "region_1", "blocks": [block]}]}
        data = _json_op("1.data", [], 1, name=("str", "x"), shape=("intarray", [1, 4]))
        fetch = _json_op("1.fetch", [2], 4, name=("str", "y"), col=("i32", 0))
        ops = [data, _json_op("1.relu", [1], 2), evil, fetch]
        block = {"#": "block_0", "args": [], "ops": ops}
        program = {"regions": [{"#": "region_0", "blocks": [block]}]}
        document = {"base_code": {"magic": "pir", "trainable": False, "version": 1}, "program": program}
        (place.folder / "net.json").write_text(json.dumps(document))

    return make


def _pickled_parameters(place: Place) -> None:
    (place.folder / "net.pdmodel").write_bytes(_program(stored=True))
    (place.folder / "net.pdiparams").write_bytes(pickle.dumps(Evil(place.marker)))


def _pickled_state(place: Place) -> None:
    (place.folder / "net.pdparams").write_bytes(pickle.dumps({"w": Evil(place.marker)}))


def _case(name: str, make: Callable[[Place], None], model: str, said: str) -> Hostile:
    return Hostile(f"paddle {name}", make, converting("paddle", model, "-is", "1", "4"), said)


CASES = (
    _case("calls python", _old("py_func", forward_callable_id="0"), "net.pdmodel", "py_func"),
    _case("saves", _old("save", file_path="MARKER"), "net.pdmodel", "operator save,"),
    _case("saves combined", _old("save_combine", file_path="MARKER"), "net.pdmodel", "save_combine"),
    _case("loads", _old("load_combine", file_path="MARKER"), "net.pdmodel", "load_combine"),
    _case("reads a file", _old("read_file", filename="MARKER"), "net.pdmodel", "read_file"),
    _case("saves in a block", _old("save", nested=True, file_path="MARKER"), "net.pdmodel", "operator save,"),
    _case("json saves", _new("1.save_combine", file_path="MARKER"), "net.json", "save_combine"),
    _case("json calls python", _new("1.py_func"), "net.json", "py_func"),
    _case("json reads a file", _new("1.read_file", filename="MARKER"), "net.json", "read_file"),
    _case("json in a loop", _new("1.save_", nested=True, file_path="MARKER"), "net.json", "operator save_,"),
    _case("json custom", _new("custom_op.evil"), "net.json", "custom_op.evil"),
    _case("json runs a program", _new("1.run_program"), "net.json", "run_program"),
    _case("pickled parameters", _pickled_parameters, "net.pdmodel", "not a Paddle parameter file"),
    _case("pickled state", _pickled_state, "net.pdparams", "no program"),
)
