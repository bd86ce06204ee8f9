"""What input-configs say of the quantized model's inputs, brought together with -qid, --mean and --std.

A uint8 input takes pictures as they are, so the mean and std of its entry go into the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from knight import border
from knight.config import QuantConfig
from knight.errors import ConfigError
from knight.tasks import own_entries, reader_of

if TYPE_CHECKING:
    from knight.executor import InferFunction
    from knight.tasks._config import InputConfig

_QID = "-qid/--quantize-input-dtype"


def with_input_configs(
    config: QuantConfig,
    entries: Sequence[Mapping[str, Any]],
    inputs: Sequence[str],
    infer: InferFunction,
) -> QuantConfig:
    """`config` with the types and the normalization of `entries`, for a model with these `inputs`.

    A ready-made `infer` says how its entries are read. Those for a function of the user's may hold anything
    else, and an entry without a name is that of the input in its place; where its input takes uint8, its mean
    and std go into the model, and else they are the function's own business, as with the vendor's tool.
    Raises ConfigError where the two contradict each other, and for what a model cannot be given.
    """
    if not entries:
        return config
    read = reader_of(infer)
    own = read is None
    by_input = dict(zip(inputs, _types(config, len(inputs)), strict=False))
    asked = dict(by_input)
    for number, one in enumerate(own_entries(entries) if read is None else read(entries)):
        where = f"input-configs[{number}]"
        name = one.input_name or next(iter(inputs[number if own else 0 :]), "")
        if own and one.input_dtype is None and by_input.get(name) != "uint8":
            continue
        if name not in by_input:
            raise ConfigError(f"{where}.input_name: no input {name!r}; known: {', '.join(inputs)}")
        by_input[name] = _type(by_input[name], one, where)
        if own and by_input[name] != "uint8":
            continue
        if one.format == "Image" and by_input[name] in ("int8", "int16"):
            raise ConfigError(
                f"{_QID} {by_input[name]}: pictures hold 0 to 255; use uint8 for input {name!r}"
            )
        config = _normalized(config, one, by_input[name] == "uint8", where, first=name == inputs[0])
    return config if by_input == asked else replace(config, input_dtypes=tuple(by_input.values()))


def _types(config: QuantConfig, count: int) -> list[str | None]:
    asked = border.wanted_types(config.input_dtypes)
    if len(asked) == 1 or not asked:  # one for all; several inputs of other types are the border's matter
        return [*(asked or (None,))] * count
    return [*asked, *[None] * (count - len(asked))]


def _type(asked: str | None, one: InputConfig, where: str) -> str | None:
    """-qid and the entry's quantize_input_dtype, where they agree."""
    if asked is not None and one.input_dtype not in (None, asked):
        raise ConfigError(
            f"{where}.quantize_input_dtype is {one.input_dtype}, {_QID} {asked}; give one of them"
        )
    return asked or (one.input_dtype if one.input_dtype == "uint8" else None)


def _normalized(
    config: QuantConfig, one: InputConfig, inside: bool, where: str, *, first: bool
) -> QuantConfig:
    """inside: the model normalizes what it is fed. first: the entry is for the model's first input."""
    mean, std = one.preparation.mean, one.preparation.std
    if not mean:
        return config
    if not inside:
        if config.mean and first:
            raise ConfigError(
                f"--mean/--std and {where}.mean/std: pictures would be normalized twice; give one of them, "
                f"or -qid uint8 for a model that normalizes by itself"
            )
        return config
    if not first:
        raise ConfigError(f"{where}.mean/std: only a model's first input can be normalized inside the model")
    if config.mean and (_of_channels(config.mean), _of_channels(config.std)) != (
        _of_channels(mean),
        _of_channels(std),
    ):
        raise ConfigError(f"--mean/--std and {where}.mean/std differ; give one of them")
    return config if config.mean else replace(config, mean=mean, std=std)


def _of_channels(numbers: Sequence[float]) -> tuple[float, ...]:
    """One number is for all channels."""
    return tuple(numbers) * 3 if len(numbers) == 1 else tuple(numbers)
