"""Finds the files of a Paddle model: the program, told by its content, and its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from knight.converters import Source
from knight.errors import ConfigError, ModelError
from knight.formats import hint
from knight.listener import Listener

_PIR = "pir"
_OLD = "program"
_FIRST_FIELD = b"\x0a"  # of a ProgramDesc: its blocks; an ONNX file begins with another field
_NO_PROGRAM = {
    ".pdiparams",
    ".info",
    ".pdparams",
    ".pdopt",
    ".onnx",
    ".pb",
    ".txt",
    ".yml",
    ".yaml",
    ".md",
    ".py",
}


@dataclass(frozen=True)
class Files:
    """kind: ``pir`` for a JSON program, ``program`` for a protobuf one. weights: one file, or a folder with
    one file per parameter; None where there is none. looked_for: where parameters were sought.
    """

    model: Path
    kind: str
    weights: Path | None
    looked_for: tuple[Path, ...] = ()


def find_files(source: Source, listener: Listener) -> Files:
    """The files that `source` names. Raises ModelError, and ConfigError for a -w that is not there."""
    model = _find_model(Path(source.model), listener)
    kind = _kind(model)
    if source.weights is not None:
        given = Path(source.weights)
        if not given.exists():
            raise ConfigError(f"weights {given}: no such file")
        if given.suffix == ".pdparams":
            raise ModelError(_dygraph(given, "weights"))
        return Files(model, kind, given)
    candidates = tuple(model.with_name(name) for name in _weight_names(model))
    for candidate in candidates:
        if candidate.is_file():
            listener.detail(f"parameters: {candidate}")
            return Files(model, kind, candidate, candidates)
    return Files(model, kind, None, candidates)


def _weight_names(model: Path) -> list[str]:
    names = [f"{model.stem}.pdiparams", f"{model.name}.pdiparams", f"{model.stem}.params"]
    if model.stem.endswith("_model__") or model.stem == "model":
        names.append("params")
    return list(dict.fromkeys([*names, "__params__"]))


def _find_model(path: Path, listener: Listener) -> Path:
    if path.is_dir():
        return _in_folder(path, listener)
    if path.is_file():
        return path
    for suffix in (".pdmodel", ".json"):  # Paddle itself names a model by what its files have in common
        candidate = path.with_name(path.name + suffix)
        if candidate.is_file():
            listener.detail(f"program: {candidate}")
            return candidate
    raise ModelError(f"model {path}: no such file")


def _in_folder(folder: Path, listener: Listener) -> Path:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix not in _NO_PROGRAM]
    found = [path for path in files if path.suffix == ".pdmodel" or path.name == "__model__" or _is_pir(path)]
    if len(found) == 1:
        listener.detail(f"program: {found[0]}")
        return found[0]
    if not found:
        raise ModelError(f"model {folder}: no Paddle program in this folder{hint(folder, 'paddle')}")
    names = ", ".join(path.name for path in found)
    raise ModelError(f"model {folder}: several programs in this folder ({names}); name one of them with -m")


def _kind(path: Path) -> str:
    """Which kind of program is in `path`. Raises ModelError where there is none."""
    if path.suffix in (".pdparams", ".pdopt"):
        raise ModelError(_dygraph(path, "model"))
    if path.suffix == ".pdiparams":
        raise ModelError(
            f"model {path}: holds parameters only; name the program with -m and this file with -w"
        )
    if path.stat().st_size == 0:
        raise ModelError(f"model {path}: the file is empty")
    if _is_pir(path):
        return _PIR
    other = hint(path, "paddle")
    if other or not path.read_bytes().startswith(_FIRST_FIELD):
        raise ModelError(f"model {path}: not a Paddle program, or cut short{other}")
    return _OLD


def _is_pir(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512).lstrip()
    return head.startswith(b"{") and b'"base_code"' in head and b'"pir"' in head


def _dygraph(path: Path, what: str) -> str:
    return (
        f"{what} {path}: holds the weights of a dynamic graph and no program; "
        f"save the network with paddle.jit.save and name its .pdmodel or .json"
    )
