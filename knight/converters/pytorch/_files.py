"""Model files of torch, told apart by content: .pt2 programs, TorchScript, pickled modules, bare weights."""

from __future__ import annotations

import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from knight.converters import Conversion, Source
from knight.converters._shapes import OPEN, open_axes
from knight.converters._trust import refused_pickle
from knight.converters.pytorch._calling import parameters_of
from knight.converters.pytorch._loaded import Loaded, random_input, ready
from knight.converters.pytorch._modules import convert_loaded, convert_script
from knight.converters.pytorch._operators import check_kinds, kinds_of
from knight.errors import ConfigError, ModelError
from knight.executor import described
from knight.formats import hint, opened_archive
from knight.listener import Listener
from knight.script import make_importable

_PROGRAM = ("archive_format", "serialized_exported_program.json", "models/model.json")
_SCRIPT = "constants.pkl"


def convert_file(path: Path, source: Source, listener: Listener) -> Conversion:
    """Raises ModelError where the file is none of torch's, cut short, or holds no model."""
    members = _members(path)
    if any(name.endswith(_PROGRAM) for name in members):
        return _program(path, source, listener)
    if any(name.rpartition("/")[2] == _SCRIPT for name in members):
        return _script(path, source, listener)
    return _pickled(path, source, listener)


def _members(path: Path) -> Sequence[str]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise ModelError(f"model {path}: cut short; copy it again")
        return ()
    with opened_archive(path) as archive:
        return archive.namelist()


@contextmanager
def _without_code(path: Path, source: Source, clean: Callable[[Path, Path], Path]) -> Iterator[Path]:
    """The file to load: a `clean` copy, while torch.load takes tensors only; `path` where it is trusted."""
    if source.allow_pickle:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="knight-") as folder:
        copy = clean(path, Path(folder, "model.pt2"))
        with (
            mock.patch.object(torch, "load", partial(_tensors_only, torch.load)),
            mock.patch.object(torch._C, "_pickle_load_obj", _no_objects),
            mock.patch.object(pickle, "loads", _no_objects),
        ):
            yield copy


def _tensors_only(load: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return load(*args, **{**kwargs, "weights_only": True})


def _no_objects(*args: Any, **kwargs: Any) -> Any:
    raise pickle.UnpicklingError("objects of classes of their own are not loaded")


def _program(path: Path, source: Source, listener: Listener) -> Conversion:
    from knight.converters.pytorch._archive import clean_program
    from knight.converters.pytorch._exported import convert_exported

    with _without_code(path, source, clean_program) as file:
        try:
            program = torch.export.load(file)
        except Exception as error:  # torch raises what its parsers raise
            raise ModelError(
                f"model {path}: torch.export cannot load it: {described(error)[:300]}"
            ) from error
    return convert_exported(program, listener)


def _script(path: Path, source: Source, listener: Listener) -> Conversion:
    from knight.converters.pytorch._archive import clean_script

    with _without_code(path, source, clean_script) as file:
        try:
            module = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:  # as above
            raise ModelError(f"model {path}: TorchScript cannot load it: {described(error)[:300]}") from error
    if not source.allow_pickle:
        check_kinds(kinds_of(module), f"model {path}")
    module.eval()
    names = [value.debugName().split(".")[0] for value in list(module.graph.inputs())[1:]]
    inputs = _random_inputs(path, source, names)
    axes = _open(names, source.input_shapes)
    loaded = Loaded(module, inputs, input_names=names, dynamic_axes=axes)
    _try_out(path, loaded)
    if not _takes_other_batches(loaded):
        listener.detail("the batch is fixed in the TorchScript code")
        loaded = Loaded(module, inputs, input_names=names)
    return convert_script(loaded, listener)


def _try_out(path: Path, loaded: Loaded) -> None:
    """Raises ModelError where the module does not take its inputs."""
    try:
        with torch.no_grad():
            loaded.module(*loaded.inputs)
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[-1].removeprefix("RuntimeError: ")
        shapes = ", ".join(str(list(value.shape)) for value in loaded.inputs)
        raise ModelError(
            f"model {path}: does not run on inputs of shape {shapes}, as -is says: {reason}"
        ) from error


def _takes_other_batches(loaded: Loaded) -> bool:
    more = [torch.cat([value, value[:1]]) if value.ndim else value for value in loaded.inputs]
    try:
        with torch.no_grad():
            loaded.module(*more)
    except RuntimeError:  # a view to a fixed batch, for one: then the batch is part of the model
        return False
    return True


def _random_inputs(path: Path, source: Source, names: Sequence[str]) -> list[torch.Tensor]:
    if len(source.input_shapes) != len(names):
        got = f"{len(source.input_shapes)} given" if source.input_shapes else "none given"
        raise ConfigError(
            f"model {path}: the file does not hold the shapes of its {len(names)} input(s) "
            f"({', '.join(names)}), {got}; name each with -is, such as -is 1 3 224 224"
        )
    return [random_input(shape, number) for number, shape in enumerate(source.input_shapes)]


def _open(names: Sequence[str], shapes: Sequence[Sequence[int]]) -> dict[str, dict[int, str]]:
    """The batch, which most modules take in any size, and what -is leaves open."""
    return {
        name: open_axes(name, (OPEN, *shape[1:])) for name, shape in zip(names, shapes, strict=True) if shape
    }


def _pickled(path: Path, source: Source, listener: Listener) -> Conversion:
    if source.allow_pickle and source.script is not None:  # a pickle holds no classes, only their names
        make_importable(Path(source.script).resolve().parent)
    try:
        content = torch.load(path, map_location="cpu", weights_only=not source.allow_pickle)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "Unsupported" in str(error):
            raise refused_pickle(error, str(path), "a pickled model") from error
        raise ModelError(f"model {path}: not a file of torch{hint(path, 'pytorch')}") from error
    except ImportError as error:
        raise ModelError(
            f"model {path}: its classes are elsewhere: {described(error)[:300]}; name a script in the folder "
            f"from which they are imported with -uds"
        ) from error
    except Exception as error:  # torch raises what its parsers raise
        raise ModelError(f"model {path}: torch cannot load it: {described(error)[:300]}") from error
    content = _whole(content, listener)
    if not isinstance(content, nn.Module):
        raise ModelError(
            f"model {path}: holds {_what(content)}, not the model itself; register a function that builds "
            f'the model with @pytorch_model.register("NAME"), and name this file with -w'
        )
    module = ready(content, listener)
    names = list(parameters_of(module))[: max(1, len(source.input_shapes))]
    inputs = _random_inputs(path, source, names)
    axes = _open(names, source.input_shapes)
    return convert_loaded(Loaded(module, inputs, input_names=names, dynamic_axes=axes), listener)


def _whole(content: Any, listener: Listener) -> Any:
    """The model of a training checkpoint: the averaged one, where there is one, in float32."""
    for key in ("ema", "model") if isinstance(content, dict) else ():
        if isinstance(content.get(key), nn.Module):
            listener.detail(f"the model is the entry {key!r} of the file")
            return content[key].float()
    return content


def _what(content: Any) -> str:
    if isinstance(content, dict):
        return f"weights alone ({len(content.get('state_dict', content))} entries)"
    return f"a {type(content).__name__}"
