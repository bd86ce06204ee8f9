"""What can be wrong with the options of ``knight compare``, found before anything runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from knight.cli._command import given
from knight.cli._compare_flags import compare_flags
from knight.cli._flags import Flag
from knight.errors import ConfigError, OutputError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from knight.compare.comparison import Layer

FILES = ("html", "json", "csv", "junit")

_INPUTS = ("model", "quantized", "user_defined_script", "run_config")
_MODEL_ONLY = ("mean", "std", "user_defined_script", "infer_func", "data", "iteration", "batch_size")
_DETAIL_ONLY = ("show_level", "show_number", "show_index")
_MANY = 10**9


def check(context: click.Context, values: dict[str, Any]) -> None:
    """Raises ConfigError for options that do not go together or have no meaning, OutputError where a result
    could not be written.
    """
    from knight.compare import tables

    for flag in compare_flags():
        if values[flag.key] == "":
            raise ConfigError(f"{flag.label} is empty; give it a value, or leave it out")
    _check_sides(values)
    if bool(values["mean"]) != bool(values["std"]):
        raise ConfigError("--mean and --std belong together; give both or none")
    check_iteration(values, "compare")
    if values["quant_dump"]:
        _check_folders(context, values)
    if values["sort"] is not None:
        tables.check_field(values["sort"])
    if values["index_range"] is not None:
        tables.parse_ranges(values["index_range"], _MANY)
    if (values["show_plot"] or values["show"]) and find_spec("matplotlib") is None:
        asked = _flags()["show_plot" if values["show_plot"] else "show"]
        raise ConfigError(
            f"{asked.label} needs matplotlib, which is not installed: pip install knight-quant[report]"
        )
    _check_files(values)


def check_iteration(values: dict[str, Any], command: str) -> None:
    """Raises ConfigError for several numbers of calls."""
    if len(values["iteration"]) > 1:
        raise ConfigError(f"-i/--iteration: {command} takes one number")


def idle(context: click.Context, values: dict[str, Any]) -> list[str]:
    """Options that were given and have no effect."""
    without = () if values["output_name"] is not None else _DETAIL_ONLY
    return [_flags()[key].label for key in without if given(context, key)]


def second_folders(values: dict[str, Any]) -> list[str]:
    """The folders of -sd, each once."""
    return list(dict.fromkeys(folder for folder in (values["second_dump"] or "").split(":") if folder))


def _check_sides(values: dict[str, Any]) -> None:
    models, folders = values["model"] or values["quantized"], values["quant_dump"] or values["second_dump"]
    if models and folders:
        raise ConfigError(
            "models (-m, -q) and dump folders (-qd, -sd) are both given; compare takes one or the other"
        )
    if not models and not folders:
        raise ConfigError(
            "compare wants two models (-m, -q) or dump folders (-qd, and -sd where they are apart)"
        )
    if models and not (values["model"] and values["quantized"]):
        missing = "-q/--quantized" if values["model"] else "-m/--model"
        raise ConfigError(f"{missing} is missing: compare wants the float and the quantized model")
    if folders and not values["quant_dump"]:
        raise ConfigError("-qd/--quant-dump is missing: name the folder to compare the -sd folders with")


def _check_folders(context: click.Context, values: dict[str, Any]) -> None:
    needless = [_flags()[key].label for key in _MODEL_ONLY if given(context, key)]
    if needless:
        raise ConfigError(f"{needless[0]} is for models (-m, -q); dump folders need no data")
    if values["fail_over_loss"] is not None:
        raise ConfigError("--fail-over-loss is for models (-m, -q); dump folders hold no metric")
    if values["second_dump"] is not None and not second_folders(values):
        raise ConfigError(f"-sd/--second-dump {values['second_dump']!r} names no folder")
    one_file = [f"--{key}" for key in FILES if values[key]]
    if len(second_folders(values)) > 1 and one_file:
        raise ConfigError(
            f"{one_file[0]} is one file, and -sd names several folders: take --save-dir, which keeps a "
            f"report for each"
        )


def _check_files(values: dict[str, Any]) -> None:
    """Raises ConfigError for a file that would replace another one, OutputError where none can be made."""
    taken = {Path(values[key]).resolve(): _flags()[key] for key in _INPUTS if values[key]}
    for key in FILES:
        if not values[key]:
            continue
        flag, path = _flags()[key], Path(values[key])
        other = taken.setdefault(path.resolve(), flag)
        if other is not flag:
            raise ConfigError(f"{flag.label} {path}: is the file of {other.label} too; name another")
        if path.is_dir():
            raise OutputError(f"cannot write to {path}: it is a folder; name a file with {flag.label}")
        _check_folder(path.parent, flag)
    if values["save_dir"]:
        _check_folder(Path(values["save_dir"]), _flags()["save_dir"])


def _check_folder(folder: Path, flag: Flag) -> None:
    """Raises OutputError where no file can be made in `folder`, which need not exist yet."""
    place = folder.absolute()
    try:
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror}; name another place with {flag.label}"
        ) from error


def check_names(layers: Sequence[Layer], values: dict[str, Any]) -> None:
    """Raises ConfigError where no layer is the one that -on, --op-type or --index-range ask for.

    layers: in the order of the graph; their figures need not be known yet.
    """
    from knight.compare import tables

    if values["output_name"] is not None:
        find(layers, values["output_name"])
    if not tables.select(layers, op_types(values), ranges(layers, values)):
        raise ConfigError(
            f"no layer is both of --op-type {values['op_type']} and in --index-range {values['index_range']}"
        )


def check_start(array: np.ndarray, values: dict[str, Any]) -> None:
    """Raises ConfigError where -si is beyond the end of the output."""
    start = values["show_index"]
    if start >= max(1, array.size):
        raise ConfigError(
            f"-si/--show-index is {start}; {values['output_name']!r} has the elements 0 to {array.size - 1}"
        )


def find(layers: Sequence[Layer], name: str) -> Layer:
    """The layer of that output, in the float model's name or else the other's. Raises ConfigError."""
    named = [layer for layer in layers if layer.output == name]
    named += [layer for layer in layers if layer.quantized_output == name]
    if named:
        return named[0]
    near = did_you_mean(name, [layer.output for layer in layers], list_all=False)
    raise ConfigError(f"-on/--output-name: no output {name!r} in this comparison; {near}")


def op_types(values: dict[str, Any]) -> tuple[str, ...]:
    """The operators of --op-type."""
    parts = (part.strip() for part in (values["op_type"] or "").split(","))
    return tuple(part for part in parts if part)


def ranges(layers: Sequence[Layer], values: dict[str, Any]) -> list[tuple[int, int]] | None:
    """The ranges of --index-range; None for all."""
    from knight.compare import tables

    text = values["index_range"]
    last = max((layer.index for layer in layers), default=-1)
    return None if text is None else tables.parse_ranges(text, last + 1)


def check_models(model: ir.Model, quantized: ir.Model, values: dict[str, Any]) -> Iterator[str]:
    """Gives what is odd about the two models. Raises ConfigError where they are the wrong way round."""
    first, second_ = _is_quantized(model), _is_quantized(quantized)
    if first and not second_:
        raise ConfigError(
            f"-m/--model {values['model']} is quantized and -q/--quantized {values['quantized']} is not; "
            f"swap them"
        )
    if first:
        yield f"-m/--model {values['model']} is quantized too; it stands for the float model here"
    elif not second_:
        yield f"-q/--quantized {values['quantized']} holds no integer operators; both models are float"


def _is_quantized(model: ir.Model) -> bool:
    from knight.qdq.recognise import recognise

    found = recognise(model)
    return found is not None and not found.mostly_float


def _flags() -> dict[str, Flag]:
    return {flag.key: flag for flag in compare_flags()}
