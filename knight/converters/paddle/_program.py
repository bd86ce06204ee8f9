"""A Paddle program as data: the JSON that Paddle 3 stores, read for names, shapes and who feeds whom.

``{"program": {"regions": [{"blocks": [{"ops": [...]}]}]}}``; an operation has ``#`` (dialect and name), ``A``
(attributes), ``I`` (inputs) and ``O`` (outputs, each with a number and a type); a parameter is written short.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_DIALECTS = {"0": "builtin", "1": "pd_op", "2": "cf"}
_TENSOR = "0.t_dtensor"
_VECTOR = "0.t_vec"
_INPUTS = ("pd_op.data", "pd_op.feed")
_DOUBLES = ("1.full", "1.full_like", "1.assign_value_", "1.assign_value")
"""Operations whose float64 attributes paddle2onnx does read."""
_FETCH = "pd_op.fetch"
_DEEPEST = 100
"""Levels of lists and objects of a program; Paddle writes some 20."""


@dataclass(frozen=True)
class Value:
    """One result of an operation: its number in the program, its shape (-1: open; None for a list)."""

    number: int
    shape: tuple[int, ...] | None
    count: int


class Operation:
    """One operation of the program, over its JSON."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        if data["#"] == "p":
            self.name = "builtin.parameter"
        else:
            dialect, _, name = data["#"].partition(".")
            self.name = f"{_DIALECTS.get(dialect, dialect)}.{name}"

    def check(self) -> None:
        """Raises what `Program.read` does where a part is missing, or of another type than it has to be."""
        named = "parameter_name" if self.name == "builtin.parameter" else "name"
        if self.name in ("builtin.parameter", _FETCH, *_INPUTS):
            _is(str, self.attributes[named])
        for key in self.attributes:
            _is(str, key)
        for result in self.results:
            _is(int, result.number, *(result.shape or ()))
        _is(int, *self.inputs)
        _is(bool, self.stored)

    @property
    def short(self) -> str:
        """The name as people say it: ``pd_op.batch_norm_`` is ``batch_norm``."""
        return self.name.partition(".")[2].rstrip("_")

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Attributes in plain Python."""
        if self.name == "builtin.parameter":
            return {"parameter_name": self.data["A"][3]}
        return {entry["N"]: _plain(entry["AT"]) for entry in self.data["A"]}

    @property
    def inputs(self) -> list[int]:
        """Numbers of the values read; 0 for one left out."""
        return [entry["%"] for entry in self.data.get("I", ())]

    @property
    def results(self) -> list[Value]:
        """The values written."""
        found = []
        for entry in _outputs(self.data):
            kind = entry["TT"]
            shape = tuple(kind["D"][1]) if kind["#"] == _TENSOR else None
            found.append(Value(entry["%"], shape, len(kind["D"]) if kind["#"] == _VECTOR else 1))
        return found

    @property
    def stored(self) -> bool:
        """Whether this is a parameter whose numbers are in the parameter file."""
        return self.name == "builtin.parameter" and bool(self.data["OA"][0])


class Program:
    """The main block of a program."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self._ops: list[dict[str, Any]] = data["program"]["regions"][0]["blocks"][0]["ops"]

    @classmethod
    def read(cls, path: Path) -> Program:
        """Raises ValueError, KeyError, IndexError, TypeError or AttributeError where `path` holds no program:
        whatever is asked of one later is there, and of its type.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
        except RecursionError:
            raise ValueError("nested too deep") from None
        _check_depth(data)
        program = cls(data)
        for op in program.operations:
            op.check()
        _ = program.parameters, program.inputs, program.outputs
        return program

    def write(self, path: Path) -> None:
        """Stores the program where Paddle can read it."""
        path.write_text(json.dumps(self.data), "utf-8")

    @property
    def operations(self) -> list[Operation]:
        """All operations of the main block, in the order of execution."""
        return [Operation(data) for data in self._ops]

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters that the parameter file holds, by name."""
        return {
            op.attributes["parameter_name"]: op.results[0].shape or () for op in self.operations if op.stored
        }

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs by name, in order; -1 is an open dimension."""
        return {
            op.attributes["name"]: op.results[0].shape or () for op in self.operations if op.name in _INPUTS
        }

    @property
    def outputs(self) -> list[tuple[str, int]]:
        """Name and value of each output, in order."""
        return [(op.attributes["name"], op.inputs[0]) for op in self.operations if op.name == _FETCH]

    def numbered(self) -> Iterator[tuple[int, Operation]]:
        """Operations with how many of the same name came before, which is how paddle2onnx numbers them."""
        seen: Counter[str] = Counter()
        for op in self.operations:
            yield seen[op.name], op
            seen[op.name] += 1

    def fetching(self, numbers: list[int]) -> Program:
        """A copy whose outputs are the values `numbers`."""
        data = copy.deepcopy(self.data)
        other = Program(data)
        types = {entry["%"]: entry["TT"] for op in other._ops for entry in _outputs(op)}
        template = next(op for op in other._ops if op["#"] == "1.fetch")
        other._ops[:] = [op for op in other._ops if op["#"] != "1.fetch"]
        fresh = max(types) + 1
        for index, number in enumerate(numbers):
            fetch = copy.deepcopy(template)
            fetch["I"] = [{"%": number}]
            fetch["O"][0].update({"%": fresh + index, "TT": types[number]})
            for entry in fetch["A"]:
                entry["AT"]["D"] = f"value_{index}" if entry["N"] == "name" else index
            other._ops.append(fetch)
        return other

    def with_float_attributes(self) -> Program:
        """A copy with float32 attributes in place of float64 ones, most of which paddle2onnx misreads."""
        data = copy.deepcopy(self.data)
        for op in Program(data)._ops:
            if op["#"] not in _DOUBLES:
                for entry in op["A"] if op["#"] != "p" else ():
                    _to_float(entry["AT"])
        return Program(data)

    def set_shapes(self, shapes: Mapping[int, tuple[int, ...]]) -> None:
        """Fixes the open dimensions of the values in `shapes`; an input's own attribute too."""
        for data in self._ops:
            for entry in _outputs(data):
                if entry["%"] in shapes and entry["TT"]["#"] == _TENSOR:
                    entry["TT"]["D"][1] = list(shapes[entry["%"]])
                    for attribute in data["A"] if data["#"] == "1.data" else ():
                        if attribute["N"] == "shape":
                            attribute["AT"]["D"] = list(shapes[entry["%"]])


def _is(kind: type, *values: object) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{type(value).__name__} where {kind.__name__} has to be")


def _check_depth(data: Any) -> None:
    """Raises ValueError for what is deeper than any program: what walks it would run out of stack."""
    level = [data]
    for _ in range(_DEEPEST):
        inner = [value for value in level if isinstance(value, (dict, list))]
        level = [item for one in inner for item in (one.values() if isinstance(one, dict) else one)]
    if level:
        raise ValueError("nested too deep")


def _outputs(data: dict[str, Any]) -> list[dict[str, Any]]:
    found = data.get("O", [])
    return found if isinstance(found, list) else [found]


def _to_float(attribute: Any) -> None:
    if isinstance(attribute, list):
        for item in attribute:
            _to_float(item)
    elif isinstance(attribute, dict):
        if attribute.get("#") == "0.a_f64":
            attribute["#"] = "0.a_f32"
        _to_float(attribute.get("D"))


def _plain(attribute: Any) -> Any:
    if isinstance(attribute, dict) and "D" in attribute:
        return _plain(attribute["D"])
    return [_plain(item) for item in attribute] if isinstance(attribute, list) else attribute
