"""Files of scales that somebody broke: one clear line each, whatever is in them, and no memory for it."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight import scales
from knight.errors import KnightError
from knight.rewriter import rewrite
from knight.scales import archives, documents, statistics as statistics_files
from knight.solver import solve
from knight.statistics import Statistics
from tests.solved import FILES, refusal, saved, solved


def refused(file: str, name: str, content: bytes) -> bool:
    """Reads a file of the case `name` with this content, and goes on with it where that is possible.

    Whatever is wrong is a KnightError of one line; of what is refused, the line names the file.
    """
    found = solved(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        path.write_bytes(content)
        plan, statistics, parameters = found.plan, found.statistics, None
        try:
            if file == "recipe.json":
                scales.save_recipe(scales.load_recipe(path), path)
            elif file == "plan.json":
                plan = scales.load_plan(path, found.model)
            elif file == "statistics.npz":
                statistics = scales.load_statistics(path, found.model)
            else:
                parameters = scales.load_parameters(path, found.model, plan)
        except KnightError as error:
            assert str(error).isprintable() and str(path) in str(error)
            return True
        try:
            rewrite(found.model, plan, parameters or solve(found.model, plan, statistics))
        except KnightError as error:
            assert str(error).isprintable()
        return False


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    """At no time, what runs inside has more bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


FIX = settings(deadline=None, max_examples=60)


# Any damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
@FIX
@given(data=st.data())
def test_cut_or_flipped_bytes(file: str, data: st.DataObject) -> None:
    content = bytearray((saved("two_widths") / file).read_bytes())
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(content) - 2))  # the end of a JSON file is a line end
        assert refused(file, "two_widths", bytes(content[:cut]))
        return
    near = st.integers(0, len(content) - 1) | st.integers(0, min(4000, len(content) - 1))
    for place in data.draw(st.lists(near, min_size=1, max_size=3)):
        content[place] ^= data.draw(st.integers(1, 255))
    refused(file, "two_widths", bytes(content))


NUMBERS = (0, -1, 7, 64, 1.5, 2**40, 10**30, -(10**25), 1e308, 1e-50)
OTHERS = (
    None,
    True,
    "",
    "x",
    "kl",
    "float",
    "a\nb",
    "w" * 5000,
    [],
    [0],
    [1.0, 2.0],
    [[]],
    ["x"],
    {},
    {"x": {}},
)
JUNK = st.sampled_from([*NUMBERS, *OTHERS])


def damage(document: Any, data: st.DataObject) -> None:
    """Changes one thing somewhere inside of JSON."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = data.draw(st.sampled_from(keys))
        inside = document[key]
        if not isinstance(inside, (dict, list)) or not inside or not data.draw(st.integers(0, 4)):
            break
        document = inside
    how = data.draw(st.sampled_from(["retype", "remove", "rename", "copy"]))
    if how == "retype":
        document[key] = deepcopy(data.draw(JUNK))
    elif how == "remove":
        del document[key]
    elif how == "rename" and isinstance(document, dict):
        document[data.draw(st.sampled_from(["x", "w", "axis", "a\nb", "k" * 300]))] = document.pop(key)
    else:
        document[key] = deepcopy(document[data.draw(st.sampled_from(keys))])


@pytest.mark.parametrize("name", ["two_widths", "blocks", "spans", "on_integers"])
@pytest.mark.parametrize("file", ["plan.json", "parameters.json", "recipe.json"])
@FIX
@given(data=st.data())
def test_other_keys_and_values(file: str, name: str, data: st.DataObject) -> None:
    document = json.loads((saved(name) / file).read_text("utf-8"))
    for _ in range(data.draw(st.integers(1, 2))):
        damage(document, data)
        if not document:
            break
    refused(file, name, json.dumps(document).encode())


SOME = "two_widths"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("plan.json", '"version": 1', '"version": 2', "version: is 2; it has to be 1, the only one that"),
        ("plan.json", '"version": 1', '"version": true', "version: is true; it has to be 1"),
        ("plan.json", "knight.plan", "knight.plane", 'format: is "knight.plane"; it has to be "knight.plan"'),
        ("plan.json", '"version": 1,', "", "version: is null; it has to be 1"),
        ("plan.json", '"runtime"', '"version": 1,\n"runtime"', "version: the same key is there twice"),
        ("plan.json", '"runtime"', '"run_time"', "run_time: unknown key: did you mean 'runtime'?"),
        ("plan.json", '"shift_range": [0, 31]', '"shift_range": [9, 3]', "shift_range: is [9, 3]; it has to"),
        ("plan.json", '"method": "min_max"', '"method": "minmax"', "groups.x: unknown calibration method"),
        (
            "plan.json",
            '"bits": 8',
            '"bits": 80',
            "groups.x.spec.bits: is 80; it has to be a whole number from",
        ),
        ("plan.json", '"input": 0', '"input": 9', "reads[0]: 'x' is not what input 9 of 'node0' reads"),
        ("plan.json", '"sources": ["x"]', '"sources": ["xx"]', "value 'xx' of the plan is not in the model"),
        ("plan.json", '"group": "x"', '"group": "z"', "tensors.x.group: the plan has no group 'z'"),
        ("parameters.json", '"zero_point": 0', '"zero_point": 300', "lies outside of the grid"),
        (
            "parameters.json",
            '"zero_point": 0',
            '"zero_point": 1e400',
            "zero_point: is Infinity, which is no number",
        ),
        (
            "parameters.json",
            '"scale": 0.',
            '"scale": -0.',
            "scale: holds a number that is no float32 above 0",
        ),
        ("parameters.json", '"scale": 0.', '"scale": NaN, "s": 0.', "scale: is NaN, which is no number"),
        (
            "parameters.json",
            '"scale": 0.',
            '"scale": 1e999, "s": 0.',
            "scale: is Infinity, which is no number",
        ),
        ("parameters.json", '"axis": 0', '"axis": null', "scale: is a list, and spec.axis is null"),
        ("parameters.json", '"axis": 0', '"axis": 7', "has the shape (4,); it has to be ()"),
        ("parameters.json", '"x": {', '"xx": {', "activations: 'xx' is none of the plan's activations"),
        ("recipe.json", '"default"', '"names"', "recipe.names: unknown key"),
        ("recipe.json", '["d"]', "[]", "recipe.rules[0].names: is empty, and so is op_types"),
        ("recipe.json", '"choice": {', '"choice": 3, "x": {', "recipe.rules[0].x: unknown key"),
        ("recipe.json", '"weight_bits": 16', '"weight_bits": "16"', 'rules[0].choice.weight_bits: is "16"'),
    ],
)
def test_the_line_says_file_key_and_remedy(file: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    text = (saved(SOME) / file).read_text("utf-8")
    assert old in text
    path = tmp_path / "broken.json"
    path.write_text(text.replace(old, new, 1), "utf-8")
    found = solved(SOME)
    load = {
        "plan.json": lambda: scales.load_plan(path, found.model),
        "parameters.json": lambda: scales.load_parameters(path, found.model, found.plan),
        "recipe.json": lambda: scales.load_recipe(path),
    }
    line = refusal(load[file])
    assert line.startswith(f"{file.removesuffix('.json')} {path}: ") and said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 100_000, "is nested too deep"),
        (b'{"a":' * 100_000, "is nested too deep"),
        (b"9" * 10_000, "is Infinity, which is no number"),
        (b"\xff\xfe{}", "line 1: no UTF-8 text"),
        (b"3", 'format: is 3; it has to be "knight.recipe"'),
        (b"[]", 'format: is []; it has to be "knight.recipe"'),
        (
            b'{"format": "knight.recipe", "version": 1, "recipe": "\\uD800"}',
            r"recipe: '\ud800' is no valid Unicode",
        ),
        (b'{"a": 1, "a\\n": 2, "a\\n": 3}', r"a\n: the same key is there twice"),
    ],
)
def test_what_is_hardly_json(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(text)
    assert said in refusal(lambda: scales.load_recipe(tmp_path / "it"))


def test_files_of_absurd_size_are_not_read(tmp_path: Path) -> None:
    for load, largest in (
        (lambda path: scales.load_plan(path, solved(SOME).model), documents.LARGEST),
        (lambda path: scales.load_statistics(path, solved(SOME).model), statistics_files.LARGEST),
    ):
        with (tmp_path / "it").open("wb") as file:
            file.truncate(largest + 1)  # without blocks on the disk
        with peak_below(1 << 20):
            assert f"has more than {largest >> 20} MB" in refusal(lambda: load(tmp_path / "it"))  # noqa: B023


def test_a_form_that_an_operator_cannot_take_is_told_when_it_is_written(tmp_path: Path) -> None:
    """A registry knows the names of forms; whether one suits, the form itself knows."""
    found = solved("plain")
    relu = next(node.name or "" for node in found.model.graph if node.op_type == "Relu")
    plan = replace(found.plan, forms={relu: "on_integers"})
    plan = scales.load_plan(scales.save_plan(plan, tmp_path / "p.json", found.model), found.model)
    line = refusal(lambda: rewrite(found.model, plan, found.quantized.parameters))
    assert line.startswith(f"{relu}: the plan has it work on integers, and what it reads is not quantized")


# Archives --------------------------------------------------------------------------------------------------


def members_of(name: str) -> dict[str, bytes]:
    content = (saved(name) / "statistics.npz").read_bytes()
    return {member: bytes(data) for member, data in archives.unpack(content)}


def npy(header: str, data: bytes = b"") -> bytes:
    padded = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode() + data


def shaped(shape: str, dtype: str = "<i8") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"


POSITIVE, INFINITE = "0/histogram/positive.npy", "0/histogram/infinite.npy"
SUMS = "0/channel_mean/sums.npy"


@pytest.mark.parametrize(
    ("member", "data", "said"),
    [
        (POSITIVE, npy(shaped("(1000000000000,)")), "has the shape (1000000000000,); it has to be (8192)"),
        (POSITIVE, npy(shaped("(8192,)")), "its data are of another size"),
        (POSITIVE, npy(shaped("(8192,)", "<f8"), bytes(65536)), "is of type float64; it has to be int64"),
        (POSITIVE, npy(shaped("(8192,)", "|O"), bytes(65536)), "is no array as Knight writes it"),
        (POSITIVE, npy(shaped("(8192,)", "|O8"), bytes(65536)), "is no array as Knight writes it"),
        (POSITIVE, npy(shaped("(2, 4096)"), bytes(65536)), "has the shape (2, 4096)"),
        (POSITIVE, npy("[" * 100), "is no array as Knight writes it"),
        (POSITIVE, archives.dump(np.full(8192, -1)), "positive and negative are no counts"),
        (POSITIVE, archives.dump(np.full(8192, 2**60)), "positive and negative are no counts"),
        (POSITIVE, archives.dump(np.zeros(8192, np.int64)), "have other ends than the extremes"),
        (INFINITE, archives.dump(np.array(-1)), "infinite is -1, which is no count"),
        ("0/histogram/exponent.npy", archives.dump(np.array(2000)), "exponent is 2000, which no float32"),
        ("0/histogram/extremes.npy", archives.dump(np.array([np.nan, 1.0])), "are no finite float32 numbers"),
        ("0/histogram/extremes.npy", archives.dump(np.array([0, 1e300])), "are no finite float32 numbers"),
        ("0/histogram/extremes.npy", archives.dump(np.array([2.0, 1.0])), "are no finite float32 numbers"),
        ("0/channel_extremes/maximum.npy", archives.dump(np.ones(9, np.float32)), "have 4 and 9 channels"),
        (SUMS, archives.dump(np.array(["1/0"])), "sums are no fractions such as -3/8"),
        (SUMS, archives.dump(np.array(["1e9999999"])), "sums are no fractions such as -3/8"),
        (SUMS, archives.dump(np.array(["9" * 900 + "/1"])), "sums are beyond any number of samples"),
        (SUMS, archives.dump(np.array(["\u0660/1"])), "holds other characters than ASCII"),
        (SUMS, archives.dump(np.zeros(0, np.str_)), "count is 50, and there are 0 sums"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be(member: str, data: bytes, said: str, tmp_path: Path) -> None:
    model = solved("plain").model
    statistics = Statistics.empty({"x": frozenset({"histogram", "channel_extremes", "channel_mean"})})
    statistics.update("x", np.linspace(-1, 2, 200, dtype=np.float32).reshape(10, 4, 5))
    path = scales.save_statistics(statistics, tmp_path / "s.npz", model)
    found = dict(archives.unpack(path.read_bytes()))
    assert member in found
    path.write_bytes(archives.pack({**{name: bytes(part) for name, part in found.items()}, member: data}))
    with peak_below(4 << 20):
        line = refusal(lambda: scales.load_statistics(path, model))
    assert line.startswith(f"statistics {path}: value 'x': ") and said in line


def test_members_that_do_not_belong(tmp_path: Path) -> None:
    model, path, members = solved("plain").model, tmp_path / "s.npz", members_of("plain")

    def line(content: bytes) -> str:
        path.write_bytes(content)
        return refusal(lambda: scales.load_statistics(path, model))

    assert "has 'more.npy', which its header does not list" in line(
        archives.pack(members | {"more.npy": b""})
    )
    lacking = {name: data for name, data in members.items() if name != INFINITE}
    assert f"where {INFINITE}, of value " in line(archives.pack(lacking))
    assert "has 'its end' where" in line(archives.pack(dict(list(members.items())[:-1])))
    assert "begins with 'x'" in line(archives.pack({"x": b"", **members}))
    header = json.loads(members["header.json"])
    for values, said in (
        ({"x": ["histogram", "histogram"]}, "values.x: names a kind twice"),
        ({"x": ["histograms"]}, "values.x: there is no kind 'histograms': did you mean 'histogram'?"),
        ({"xx": []}, "value 'xx' of the statistics is not in the model"),
        ({"x": "histogram"}, 'values.x: is "histogram"; it has to be a list of texts'),
    ):
        changed = json.dumps(header | {"values": values}).encode()
        assert said in line(archives.pack(members | {"header.json": changed}))


def test_only_stored_members_are_taken(tmp_path: Path) -> None:
    """Nothing can unfold to more than the file: neither what is compressed nor what is listed twice."""
    members, path = members_of("plain"), tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", members["header.json"])
        file.writestr(POSITIVE, bytes(1 << 28))
    line = refusal(lambda: scales.load_statistics(path, solved("plain").model))
    assert "has a member that is not as Knight writes it" in line


@pytest.mark.parametrize("name", ["plain", "fixed_point", "zero_points"])
@FIX
@given(data=st.data())
def test_arrays_of_any_numbers(name: str, data: st.DataObject) -> None:
    """The checksums are right; a method that reads what gets through answers, or says why not."""
    members = members_of(name)
    member = data.draw(st.sampled_from([name for name in members if name.endswith(".npy")]))
    array = np.load(io.BytesIO(members[member])).copy()
    flat = array.reshape(-1)
    small = st.integers(-3, 3) if array.dtype.kind == "i" else st.floats(width=32)
    any_ = st.integers(-(2**63), 2**63 - 1) if array.dtype.kind == "i" else st.floats()
    for _ in range(data.draw(st.integers(1, 3))):
        flat[data.draw(st.integers(0, flat.size - 1))] = data.draw(small | any_)
    members[member] = archives.dump(array)
    refused("statistics.npz", name, archives.pack(members))
