"""What a stranger's .pt2 or TorchScript archive may hold: numbers, graphs of operators that compute, no code.

torch.export.load unpickles where an archive says so, loads shared objects, evaluates the texts of symbolic
sizes (sympy.sympify) and compiles names into Python source. So everything that it would do that with is read
here first, as data, and written anew: what is loaded is a clean archive, with the members that a program
needs and no others, and its texts as they were understood here. Two readers of one ZIP file may see different
members, and two readers of one text may take it for different things.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from knight.converters.pytorch._operators import check_source, would_run
from knight.converters.pytorch._program import clean as _clean_program, parsed
from knight.errors import ModelError
from knight.formats import opened_archive

Members = dict[str, bytes]

_PROGRAM = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json|model\.pt)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json|model\.pt)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|version|byteorder|\.data/\w+|\.format_version|\.storage_alignment"
    r"|serialized_(exported_program\.json|state_dict\.pt|constants\.pt|example_inputs\.pt)"
)
"""Members that torch.export.load needs, of the archives of today and of before torch 2.8."""
_SCRIPT = re.compile(
    r"(data|constants)\.pkl|(data|constants)/\d+|code/[\w/]+\.py|version|byteorder|\.data/\w+"
    r"|\.format_version|\.storage_alignment"
)
_COMPILED = re.compile(r"(^|/)data/aotinductor/|\.(so|dll|dylib|pyd|cubin|o)$", re.IGNORECASE)
_UNPACKED, _TIMES = 1 << 28, 4
"""Bytes that any archive may unpack to, and how many times its own size; torch compresses nothing."""
_OBJECT = ("custom_obj_", "opaque_obj_")


def clean_program(path: Path, target: Path) -> Path:
    """A copy of the .pt2 archive `path` that runs no code when it is loaded.

    Raises ModelError naming the member that would.
    """
    root, members = _read(path)
    kept: Members = {}
    for name, content in members.items():
        where = f"model {path}, {name}"
        if _COMPILED.search(name):
            raise would_run(where, "compiled code")
        if name in ("serialized_state_dict.json", "serialized_constants.json"):
            raise would_run(where, "a pickle in an old form")
        if _PROGRAM.fullmatch(name) is None:
            continue
        if name.endswith(".pt"):
            check_pickle(content, where)
        kept[name] = _CLEANED.get(name.rpartition("/")[2], _as_it_is)(name, content, members, where)
    return _write(root, kept, target)


def clean_script(path: Path, target: Path) -> Path:
    """Likewise a TorchScript archive: its source text calls only what computes."""
    root, members = _read(path)
    kept = {name: content for name, content in members.items() if _SCRIPT.fullmatch(name)}
    for name, content in kept.items():
        if name.endswith(".py"):
            check_source(content.decode("utf-8", "replace"), f"model {path}, {name}")
    return _write(root, kept, target)


def _read(path: Path) -> tuple[str, Members]:
    """The one folder that all members lie in ("" for none), and the members below it."""
    with opened_archive(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        alike = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
        if alike:
            raise ModelError(f"model {path}: holds {alike[0]!r} twice; save it again")
        unpacked, packed = sum(info.file_size for info in archive.infolist()), path.stat().st_size
        if unpacked > max(_UNPACKED, _TIMES * packed):
            raise ModelError(
                f"model {path}: its {packed:,} bytes unpack to {unpacked:,}; save it as torch does it"
            )
        members = {name: archive.read(name) for name in names}
    roots = {name.partition("/")[0] for name in names}
    root = roots.pop() if len(roots) == 1 and all("/" in name for name in names) else ""
    return root, {name.removeprefix(f"{root}/") if root else name: members[name] for name in names}


def _write(root: str, members: Members, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
    return target


# Pickles ----------------------------------------------------------------------------------------------


def check_pickle(content: bytes, where: str) -> None:
    """Raises ModelError where loading needs more than torch.load allows with weights_only."""
    import torch

    if not content.startswith(b"PK"):
        raise would_run(where, f"a pickle in an old form ({_first_global(content)})")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception as error:  # torch raises what its parsers raise
        raise ModelError(f"{where}: no file of torch.save: {' '.join(str(error).split())[:200]}") from error
    if names:
        raise would_run(where, f"a pickle that calls {names[0]}")


def _first_global(content: bytes) -> str:
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name in ("GLOBAL", "INST") and argument is not None:
                return f"it calls {str(argument).replace(' ', '.')}"
    except Exception:  # no pickle at all: then that is what is said
        return "unreadable"
    return "it may call anything"


# Members that are JSON ---------------------------------------------------------------------------------


def _as_it_is(name: str, content: bytes, members: Members, where: str) -> bytes:
    return content


def _payloads(name: str, content: bytes, members: Members, where: str) -> bytes:
    """The weights or constants that a config lists: raw numbers, or pickles of tensors."""
    document = parsed(content, where)
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise ModelError(f"{where}: no list of weights; the file is damaged")
    for title, entry in config.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("path_name"), str):
            raise ModelError(f"{where}: {title!r} has no file; the file is damaged")
        path = entry["path_name"]
        if "/" in path or path.startswith(_OBJECT):
            raise would_run(f"{where}, {title!r}", f"an object of a class of its own ({path})")
        if entry.get("use_pickle"):
            member = f"{name.rpartition('/')[0]}/{path}"
            if member not in members:
                raise ModelError(f"{where}: {path} is missing; copy the file again")
            check_pickle(members[member], f"{where}, {title!r}")
    return json.dumps({"config": config}).encode()


def _program(name: str, content: bytes, members: Members, where: str) -> bytes:
    return _clean_program(content, where)


_CLEANED: Mapping[str, Callable[[str, bytes, Members, str], bytes]] = {
    "model.json": _program,
    "model_constants_config.json": _payloads,
    "model_weights_config.json": _payloads,
    "serialized_exported_program.json": _program,
}
