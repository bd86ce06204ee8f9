"""Weights that lie in files beside the model: which files a model may name, and what has to be in them."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePath

import onnx

from knight.errors import ModelError, printable, shown
from knight.protos import Parts, messages
from knight.soundness import stored_bytes

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)  # the largest file has fewer bytes
_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
_COPY = "put the file itself beside the model"


def check(parts: Parts, where: str, folder: Path) -> None:
    """Raises ModelError where a tensor among a model's messages is not in a whole and plain file in `folder`
    or below.

    parts: all `protos.messages` of the model, which are sound. where: names it in errors. Nothing is read
    from the files.
    """
    judged: dict[str, str] = {}
    for message, place in parts:
        if isinstance(message, onnx.TensorProto) and _is_outside(message):
            try:
                problem = _problem(message, folder, judged)
            except (OSError, ValueError) as error:  # a name that no file can have: too long, or with a NUL
                reason = error.strerror if isinstance(error, OSError) else str(error)
                problem = f"its weight file {shown(_stated(message)['location'])}: {reason}; {_COPY}"
            if problem:
                raise ModelError(f"{where}: {printable(place)}: {problem}")


def forget_unknown(parts: Parts) -> None:
    """Takes out of tensors in files what ONNX has no word for, which nothing reads."""
    for message, _ in parts:
        if isinstance(message, onnx.TensorProto) and _is_outside(message):
            known = [entry for entry in message.external_data if entry.key in _KEYS]
            if len(known) < len(message.external_data):
                del message.external_data[:]
                message.external_data.extend(known)


def read_inner(model: onnx.ModelProto, where: str, folder: Path, limit: int) -> bool:
    """Takes into `model` what nodes and functions keep in files: only of the graph's own weights does a later
    step know the folder. True where there was any.

    limit: bytes that may be taken in; more is a ModelError, which names the model as `where`. The files have
    to be checked.
    """
    found = 0
    for root in (*model.graph.node, *model.functions):
        for message, place in messages(root):
            if not isinstance(message, onnx.TensorProto) or not _is_outside(message):
                continue
            found += stored_bytes(message)
            if found > limit:
                raise ModelError(
                    f"{where}: {printable(place)}: operators and functions keep more than {limit} bytes "
                    f"in files; make them weights of the graph"
                )
            stated = _stated(message)
            with (folder / stated["location"]).open("rb") as file:
                file.seek(int(stated.get("offset", 0)))
                message.raw_data = file.read(stored_bytes(message))
            message.data_location = onnx.TensorProto.DEFAULT
            message.ClearField("external_data")
    return bool(found)


def _is_outside(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def _stated(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _problem(tensor: onnx.TensorProto, folder: Path, judged: dict[str, str]) -> str:
    """What is wrong with where a tensor says that its data are; empty where nothing is.

    judged: what `_wrong_file` said of files that others name; takes what it says of this one.
    """
    stated = _stated(tensor)
    location = stated.get("location", "")
    if not location or len(stated) != len(tensor.external_data):
        return "does not say in which one file its data are; export the model again"
    name = shown(location)
    if tensor.data_type == onnx.TensorProto.STRING:
        return f"holds texts in the file {name}; export the model with texts inside"
    for key in ("offset", "length"):
        if key in stated and not _NUMBER.fullmatch(stated[key]):
            return f"its {key} in the file {name} is {shown(stated[key])}, not a number of bytes"
    if location not in judged:
        judged[location] = _wrong_file(location, folder)
    if judged[location]:
        return judged[location]
    start, size = int(stated.get("offset", 0)), stored_bytes(tensor)
    length = int(stated.get("length", size))
    if length != size:
        return f"has {length} bytes in the file {name}, where its type and shape take {size}; export it again"
    if (folder / location).stat().st_size < start + size:
        return f"its weight file {name} is cut short; copy it again"
    return ""


def _wrong_file(location: str, folder: Path) -> str:
    """Why `location` is not a plain file in `folder` or below; empty where it is one."""
    name, path = shown(location), PurePath(location)
    if path.is_absolute() or not (folder / path).resolve().is_relative_to(folder.resolve()):
        return f"its weight file {name} lies outside of the model's folder; {_COPY}"
    try:
        found = os.lstat(folder / path)
    except (FileNotFoundError, NotADirectoryError):
        return f"its weight file {name} is missing; keep it beside the model"
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        return f"its weight file {name} is no plain file; {_COPY}"
    if stat.S_ISLNK(found.st_mode) or found.st_nlink > 1:  # nobody can say whose file that is
        return f"its weight file {name} is a link; {_COPY}"
    return ""
