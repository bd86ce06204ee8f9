"""The entries of ``input-configs`` for a function of the user's: the keys that count in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from knight import schema
from knight.tasks._config import InputConfig, Preparation
from knight.tasks._values import Numbers


class OwnEntry(schema.Table, frozen=True):
    """The keys that say something of the model's inputs."""

    input_name: str | None = None
    quantize_input_dtype: Literal["float32", "uint8"] | None = None
    mean: Numbers = ()
    std: Numbers = ()

    def __post_init__(self) -> None:
        if self.quantize_input_dtype == "uint8" and bool(self.mean) != bool(self.std):
            one, other = ("mean", "std") if self.mean else ("std", "mean")
            raise ValueError(f"{one} is given without {other}; give both or none")
        if 0.0 in self.std:
            raise ValueError("std holds 0; pixels are divided by it")


def read_own(entries: Sequence[Mapping[str, Any]]) -> list[InputConfig]:
    """The keys of `OwnEntry` in every entry; the others are the function's own, and not looked at.

    Raises ConfigError naming the entry and the key.
    """
    found = []
    for number, entry in enumerate(entries):
        given = {key: entry[key] for key in OwnEntry.__struct_fields__ if entry.get(key) is not None}
        one = schema.read(given, OwnEntry, path=f"input-configs[{number}]", lenient=True)
        normalization = Preparation(mean=one.mean, std=one.std) if one.mean and one.std else Preparation()
        found.append(
            InputConfig(
                data_dir="",
                input_name=one.input_name,
                format="",
                input_dtype=one.quantize_input_dtype,
                preparation=normalization,
            )
        )
    return found
