"""Looks at a Keras file before Keras does: what its configuration names, and where its weights lie.

Keras refuses most of this by itself, each release more of it than the one before.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from knight.errors import ModelError

_NOT_FOR_MODELS = frozenset({"utils", "saving", "config", "callbacks", "datasets", "export", "visualization"})
"""Parts of Keras whose functions are no layers: they fetch, unpack and change settings."""


def check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises ModelError for a .keras file that would run code, or read or write other files."""
    for name in archive.namelist():
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts:
            raise ModelError(
                f"model {path}: its member {name!r} lies outside of it; nothing of it was unpacked"
            )
    _check_config(archive.read("config.json"), path)
    for name in archive.namelist():
        if name.endswith(".h5"):
            check_hdf5(io.BytesIO(archive.read(name)), path)


def check_hdf5(file: Path | io.BytesIO, path: Path) -> None:
    """Raises ModelError for an HDF5 file whose configuration or data lead out of it."""
    import h5py

    try:
        with h5py.File(file, "r") as root:
            _check_links(root, path)
            config = root.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise ModelError(f"model {path}: its HDF5 data are damaged ({error}); copy it again") from error
    if config is not None:
        _check_config(config, path)


def _check_links(root: Any, path: Path) -> None:
    import h5py

    ahead, seen = [root], set()
    while ahead:
        group = ahead.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise _leads_out(path, f"{group.name.rstrip('/')}/{name}", link.filename)
            if not isinstance(link, h5py.HardLink):
                continue  # where it leads is looked at there
            found = group[name]
            if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
                others = found.external or found.virtual_sources()
                raise _leads_out(path, found.name, others[0][0] if found.external else others[0].file_name)
            if isinstance(found, h5py.Group) and found.id not in seen:
                seen.add(found.id)
                ahead.append(found)


def _leads_out(path: Path, name: str, other: str) -> ModelError:
    return ModelError(
        f"model {path}: {name} is not in it but in another file, {other!r}, which is not read; "
        f"save the model again, whole"
    )


def _check_config(text: Any, path: Path) -> None:
    try:
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"model {path}: its configuration is no JSON; copy it again") from error
    if isinstance(config, dict):
        config.pop("compile_config", None)  # of the training; it is not read
    for item in _objects(config):
        name, module = item.get("class_name"), item.get("module")
        if name in ("Lambda", "__lambda__") or "__lambda__" in item:
            raise ModelError(
                f"model {path}: it has a Lambda layer, Python code that is not run from a file; "
                f"export the model as a SavedModel"
            )
        if isinstance(module, str) and name is not None and not _is_for_models(module):
            raise ModelError(
                f"model {path}: Keras cannot build it: {name} is of the module {module!r}, which a file "
                f"cannot bring along; a layer of your own is not in the file: export the model as a "
                f"SavedModel"
            )
        inner = item.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
            raise ModelError(
                f"model {path}: {name} reads its words from another file, {inner['vocabulary']!r}; "
                f"save the model with the words inside"
            )


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    ahead = [config]
    while ahead:
        item = ahead.pop()
        if isinstance(item, dict):
            yield item
            ahead += item.values()
        elif isinstance(item, list):
            ahead += item


def _is_for_models(module: str) -> bool:
    package, *parts = module.split(".")
    if package == "tensorflow":  # tensorflow.keras.layers, of former releases
        package, *parts = parts or [""]
    parts = [part for part in parts if part not in ("src", "api", "_tf_keras", "keras")]
    return package == "builtins" or (package == "keras" and not _NOT_FOR_MODELS & set(parts[:1]))
