"""Files of strangers that want to run code or write files while they are loaded: each is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from knight.converters import Source
from knight.converters.pytorch import convert
from knight.errors import ModelError
from knight.listener import SILENT

Members = dict[str, bytes]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("scale", torch.full((3,), 2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc(x)) * self.scale


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def evil_checkpoint(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"fc.weight": Evil(marker)}, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """The members of a good .pt2 archive with an open batch."""
    path = tmp_path_factory.mktemp("good") / "m.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(Net().eval(), (torch.randn(2, 4),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(exported, path)
    return members_of(path)


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def edited(members: Members, ending: str, change: Callable[[Any], None]) -> Members:
    """With the JSON member of that ending changed."""
    (name,) = (name for name in members if name.endswith(ending))
    document = json.loads(members[name])
    change(document)
    return members | {name: json.dumps(document).encode()}


def replaced(document: Any, old: str, new: str) -> None:
    """Every text `old` by `new`, wherever it stands, keys included."""
    if isinstance(document, dict):
        for key, value in list(document.items()):
            if key == old:
                document[new] = document.pop(key)
                key = new
            if value == old:
                document[key] = new
            else:
                replaced(value, old, new)
    elif isinstance(document, list):
        for place, value in enumerate(document):
            if value == old:
                document[place] = new
            else:
                replaced(value, old, new)


def refused(path: Path, marker: Path, shapes: tuple[tuple[int, ...], ...] = ()) -> str:
    """The message of the refusal; the file must not have been run, here without the confined process."""
    with pytest.raises(ModelError) as caught:
        convert(Source(model=str(path), input_shapes=shapes), SILENT)
    assert not marker.exists()
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def with_pickled_weight(members: Members, marker: Path) -> Members:
    def change(document: Any) -> None:
        document["config"]["fc.weight"]["use_pickle"] = True

    members = edited(members, "model_weights_config.json", change)
    (name,) = (name for name in members if name.endswith("weights/weight_0"))
    return members | {name: evil_checkpoint(marker)}


def with_pickled_inputs(members: Members, marker: Path) -> Members:
    (name,) = (name for name in members if name.endswith("sample_inputs/model.pt"))
    return members | {name: evil_checkpoint(marker)}


def with_legacy_weights(members: Members, marker: Path) -> Members:
    (root,) = {name.partition("/")[0] for name in members}
    return members | {f"{root}/data/weights/model.pt": evil_checkpoint(marker)}


def with_bare_pickle(members: Members, marker: Path) -> Members:
    (root,) = {name.partition("/")[0] for name in members}
    return members | {f"{root}/data/constants/model.pt": pickle.dumps(Evil(marker))}


def with_object(kind: str) -> Callable[[Members, Path], Members]:
    def make(members: Members, marker: Path) -> Members:
        def change(document: Any) -> None:
            document["config"]["thing"] = {
                "path_name": f"{kind}_obj_0",
                "is_param": False,
                "use_pickle": True,
                "tensor_meta": None,
            }

        (root,) = {name.partition("/")[0] for name in members}
        member = {f"{root}/data/constants/{kind}_obj_0": pickle.dumps(Evil(marker))}
        return edited(members, "model_constants_config.json", change) | member

    return make


def with_library(members: Members, marker: Path) -> Members:
    (root,) = {name.partition("/")[0] for name in members}
    return members | {f"{root}/data/aotinductor/model/evil.wrapper.so": b"\x7fELF"}


def with_text(old: str, new: str) -> Callable[[Members, Path], Members]:
    def make(members: Members, marker: Path) -> Members:
        def change(document: Any) -> None:
            before = json.dumps(document)
            replaced(document, old, new.format(marker=marker))
            assert json.dumps(document) != before

        return edited(members, "models/model.json", change)

    return make


def with_size(text: str) -> Callable[[Members, Path], Members]:
    def make(members: Members, marker: Path) -> Members:
        def change(value: Any) -> None:
            for item in (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            ):
                if isinstance(item, dict) and "expr_str" in item:
                    item["expr_str"] = text.format(marker=marker)
                change(item)

        return edited(members, "models/model.json", change)

    return make


def with_tree(text: str) -> Callable[[Members, Path], Members]:
    def make(members: Members, marker: Path) -> Members:
        def change(document: Any) -> None:
            for entry in document["graph_module"]["module_call_graph"]:
                if entry["signature"]:
                    entry["signature"]["in_spec"] = text

        return edited(members, "models/model.json", change)

    return make


def renamed(ending: str, name: str, *, and_kept: bool = False) -> Callable[[Members, Path], Members]:
    """The member of that ending under another name, its sizes calls; beside the good one on demand."""

    def make(members: Members, marker: Path) -> Members:
        (old,) = (each for each in members if each.endswith(ending))
        evil = with_size(CALL)(members, marker)[old]
        kept = members if and_kept else {each: content for each, content in members.items() if each != old}
        return kept | {old.removesuffix(ending) + name: evil}

    return make


def keyword(text: str) -> str:
    """The structure of inputs with one keyword argument, its letters written as JSON may write them."""
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in text)
    leaf = '{"type": null, "context": null, "children_spec": []}'
    empty = '{"type": "builtins.tuple", "context": "null", "children_spec": []}'
    names = json.dumps(f'["{escaped}"]')
    words = f'{{"type": "builtins.dict", "context": {names}, "children_spec": [{leaf}]}}'
    return f'[1, {{"type": "builtins.tuple", "context": "null", "children_spec": [{empty}, {words}]}}]'


def hidden_enumeration() -> str:
    context = r'{"\u005f_enum__": true, "fqn": "antigravity:x", "name": "z"}'
    return json.dumps([1, {"type": "builtins.tuple", "context": context, "children_spec": []}])


CALL = "__import__('os').system('touch {marker}')"
TWO_READINGS = "Symbol(''\n'a' #''')+" + CALL + "+Integer(1\n)"
"""One text to Python's parser, another to sympy, which drops the line ends."""
TREE = (
    '[1, {"type": "collections.defaultdict", "context": {"default_factory_module": "antigravity", '
    '"default_factory_name": "x", "dict_context": []}, "children_spec": []}]'
)
PROGRAMS: dict[str, Callable[[Members, Path], Members]] = {
    "a weight that is a pickle": with_pickled_weight,
    "example inputs that are a pickle": with_pickled_inputs,
    "weights of the former archive": with_legacy_weights,
    "constants as a bare pickle": with_bare_pickle,
    "an opaque constant": with_object("opaque"),
    "an object of a custom class": with_object("custom"),
    "a shared object": with_library,
    "a size that calls": with_size("__import__('os').system('touch {marker}')"),
    "a size with an attribute": with_size("Symbol('s0').__class__"),
    "a size with a text": with_size("Symbol('__import__(chr(111))')"),
    "an input's name with a default": with_text("x", "x=__import__('os').system('touch {marker}')"),
    "a parameter's name that ends its quotes": with_text("fc.weight", 'a").b("touch {marker}")('),
    "a function of Python": with_text("torch.ops.aten.relu.default", "torch.os.system"),
    "an operator that makes a file": with_text(
        "torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"
    ),
    "an operator that imports": with_text(
        "torch.ops.aten.relu.default", "torch.ops.export.access_subclass_inner_tensor.default"
    ),
    "an extension": with_text("torch.ops.aten.relu.default", "#evil:op"),
    "a tree of a type to import": with_tree(TREE),
    "a size that another reader reads otherwise": with_size(TWO_READINGS),
    "a size without end": with_size("Integer(10)**Integer(10)**Integer(8)"),
    "a keyword that becomes a function's": with_tree(keyword("a=__import__('os')")),
    "an enumeration in other letters": with_tree(hidden_enumeration()),
    "a dunder of an operator": with_text(
        "torch.ops.aten.relu.default", "torch.ops.aten.__getattr__.__globals__"
    ),
    "an operator of Python that calls": with_text("torch.ops.aten.relu.default", "_operator.call"),
    "an enumeration to import": with_tree('[1, {"__enum__": true, "fqn": "antigravity:x", "name": "y"}]'),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs(tmp_path: Path, program: Members, kind: str) -> None:
    marker = tmp_path / "marker"
    path = packed(PROGRAMS[kind](program, marker), tmp_path / "evil.pt2")
    message = refused(path, marker)
    assert "nothing of it was" in message and "--allow-pickle" in message, message


MISPLACED = {
    "in capitals": renamed("models/model.json", "models/model.JSON"),
    "with another ending": renamed("models/model.json", "models/modelxxxxx"),
    "a config by name": renamed("models/model.json", "models/model_config.json"),
    "a second model": renamed("models/model.json", "models/other.json", and_kept=True),
    "a twin": renamed("models/model.json", "models/MODEL.json", and_kept=True),
}


@pytest.mark.parametrize("kind", MISPLACED)
def test_members_that_torch_would_find_all_the_same(tmp_path: Path, program: Members, kind: str) -> None:
    """Left out, or refused: in no case do their sizes run."""
    marker = tmp_path / "marker"
    path = packed(MISPLACED[kind](program, marker), tmp_path / "evil.pt2")
    try:
        convert(Source(model=str(path)), SILENT)
    except ModelError:
        assert kind != "a second model"
    else:
        assert kind == "a second model"
    assert not marker.exists()


def test_guards_are_not_run(tmp_path: Path, program: Members) -> None:
    """They are Python; files with open dimensions of torch's own choice have some."""
    marker = tmp_path / "marker"

    def change(document: Any) -> None:
        document["guards_code"] = [CALL.format(marker=marker)]

    path = packed(edited(program, "models/model.json", change), tmp_path / "guarded.pt2")
    conversion = convert(Source(model=str(path)), SILENT)
    assert conversion.reference is not None
    conversion.reference({"x": np.ones((2, 4), np.float32)})
    assert not marker.exists()


class Named(nn.Module):
    """Names that are no identifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"a-b": nn.Linear(4, 4), "c d#(e)": nn.Linear(4, 4)})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = torch.cat([part(x) for part in self.parts.values()])
        return {"logits out": rows.reshape(x.shape[0] * 2, -1), "größe (m²)": x * 2, "a=b": x - 1}


@pytest.mark.parametrize("open_sizes", [False, True])
def test_good_programs_with_odd_names(tmp_path: Path, open_sizes: bool) -> None:
    shapes = {"x": {0: torch.export.Dim.AUTO}} if open_sizes else None
    program = torch.export.export(Named().eval(), (torch.randn(3, 4),), dynamic_shapes=shapes)
    path = tmp_path / "named.pt2"
    torch.export.save(program, path, extra_files={"notes.pt": "no pickle"})
    conversion = convert(Source(model=str(path)), SILENT)
    assert len(conversion.model.graph.outputs) == 3


def test_a_config_that_is_none(tmp_path: Path, program: Members) -> None:
    def change(document: Any) -> None:
        document["config"]["fc.weight"] = "text"

    path = packed(edited(program, "model_weights_config.json", change), tmp_path / "odd.pt2")
    assert "'fc.weight' has no file" in refused(path, tmp_path / "marker")


def test_the_good_program_is_converted(tmp_path: Path, program: Members) -> None:
    conversion = convert(Source(model=str(packed(program, tmp_path / "good.pt2"))), SILENT)
    assert [value.name for value in conversion.model.graph.inputs] == ["x"]


def test_a_program_of_the_old_archives(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    members = {
        "version": b"8.0",
        "serialized_exported_program.json": b"{}",
        "serialized_state_dict.pt": evil_checkpoint(marker),
        "serialized_constants.pt": evil_checkpoint(marker),
        "serialized_example_inputs.pt": evil_checkpoint(marker),
    }
    assert "a pickle that calls" in refused(packed(members, tmp_path / "old.pt2"), marker)
    members["serialized_state_dict.json"] = pickle.dumps(Evil(marker))
    refused(packed(members, tmp_path / "older.pt2"), marker)


def test_a_member_that_is_there_twice(tmp_path: Path, program: Members) -> None:
    path = packed(program, tmp_path / "twice.pt2")
    name = next(name for name in program if name.endswith("models/model.json"))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, program[name])
    assert "twice" in refused(path, tmp_path / "marker")


def test_with_the_flag_a_pickled_weight_is_loaded(tmp_path: Path, program: Members) -> None:
    """What the user trusts runs, as torch runs it."""
    marker = tmp_path / "marker"
    path = packed(with_pickled_inputs(program, marker), tmp_path / "mine.pt2")
    with pytest.raises(ModelError):  # what was unpickled is no input
        convert(Source(model=str(path), allow_pickle=True), SILENT)
    assert marker.exists()


def test_tensors_that_were_pickled_need_no_flag(tmp_path: Path, program: Members) -> None:
    def change(document: Any) -> None:
        document["config"]["fc.weight"]["use_pickle"] = True

    members = edited(program, "model_weights_config.json", change)
    buffer = io.BytesIO()
    torch.save(nn.Parameter(torch.ones(3, 4)), buffer)
    name = next(name for name in members if name.endswith("weights/weight_0"))
    path = packed(members | {name: buffer.getvalue()}, tmp_path / "pickled.pt2")
    conversion = convert(Source(model=str(path)), SILENT)
    assert len(conversion.model.graph) >= 2


# TorchScript


def test_code_under_another_ending_is_not_found(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    members = members_of(scripted(Saves(str(marker)), tmp_path / "evil.pt"))
    members = {name.replace(".py", ".PY") if name.endswith(".py") else name: c for name, c in members.items()}
    refused(packed(members, tmp_path / "capitals.pt"), marker, ((1, 4),))


class Called(nn.Module):
    """A part of it is called like a refused operator."""

    def __init__(self) -> None:
        super().__init__()
        self.save = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.save(x))


def test_modules_called_like_refused_operators(tmp_path: Path) -> None:
    path = scripted(Called().eval(), tmp_path / "called.pt")
    conversion = convert(Source(model=str(path), input_shapes=((1, 4),)), SILENT)
    assert len(conversion.model.graph) == 2


class Saves(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x * 2


class Maps(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file(self.path, shared=True, size=4, dtype=torch.float32).sum()


class Restores(nn.Module):
    """Writes while it is loaded, before anything is called."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(1, self.path)


def scripted(module: nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(module), path)
    return path


@pytest.mark.parametrize("kind", [Saves, Maps, Restores])
def test_scripts_that_touch_files(tmp_path: Path, kind: type[nn.Module]) -> None:
    marker = tmp_path / "marker"
    path = scripted(kind(str(marker)), tmp_path / "evil.pt")
    marker.unlink(missing_ok=True)
    message = refused(path, marker, ((1, 4),))
    assert "holds the operator" in message and "nothing of it was run" in message


@pytest.mark.parametrize(
    "call",
    [
        "torch . save(x, 'f')",
        "torch.\\\n    save (x, 'f')",
        "x.save('f')",
        "ops.prim.rpc_sync(x)",
        "ops.c10d.send(x)",
        "(ops # a remark\n    .symm_mem # another\n    .put(x))",
        "torch.classes.dist_c10d.FileStore('f', 1)",
        "torch.save\n    f(x, 'f')",
        "(torch.save)(x, 'f')",
        "x.save\n    f('f')",
        "(torch.from_file)('f', True, 4)",
        "getattr(torch, 'save')(x, 'f')",
        r"getattr(torch, 'sa\166e')(x, 'f')",
        "getattr(getattr(ops, 'aten'), 'save')(x, 'f')",
        "ops.aten\n    f = _.save\n    f(x, 'f')",
        "ops\n    f = _.c10d\n    f.send(x)",
    ],
)
def test_however_a_call_is_written(tmp_path: Path, call: str) -> None:
    path = scripted(torch.jit.trace(Net().eval(), torch.randn(1, 4)), tmp_path / "good.pt")
    members = members_of(path)
    name = next(name for name in members if name.endswith(".py"))
    text = members[name].decode().replace("return ", f"_ = {call}\n    return ", 1)
    refused(packed(members | {name: text.encode()}, tmp_path / "evil.pt"), tmp_path / "f", ((1, 4),))


@pytest.mark.parametrize("damage", ["in a member", "in the list", "offset", "size", "name", "cut"])
def test_damaged_archives(tmp_path: Path, program: Members, damage: str) -> None:
    """Wherever zipfile stumbles, and over whatever its decompressors raise."""
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in program.items():
            archive.writestr(name, content)
    data = bytearray(path.read_bytes())
    listed = data.index(b"PK\x01\x02")
    match damage:
        case "in a member":
            data[60 : listed // 2] = b"\xff" * (listed // 2 - 60)
        case "in the list":
            data[listed : listed + 4] = b"PK\x09\x09"
        case "offset":
            data[listed + 42 : listed + 46] = b"\xff" * 4
        case "size":
            data[listed + 20 : listed + 28] = b"\xfe" * 8
        case "name":
            data[listed + 8 : listed + 10] = b"\x00\x08"  # it is UTF-8 ...
            data[listed + 46] = 0xFF  # ... and is not
        case "cut":
            del data[listed + 30 : listed + 60]
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"m\.pt2") as caught:
        convert(Source(str(path)), SILENT)
    assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_far_more_than_it_has(tmp_path: Path, program: Members) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in program.items():
            archive.writestr(name, content)
        with archive.open(f"{next(iter(program)).partition('/')[0]}/data/weights/weight_9", "w") as member:
            for _ in range(257):
                member.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=r"bytes unpack to 2\d\d,\d\d\d,\d\d\d; save it as torch does"):
            convert(Source(str(path)), SILENT)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()
