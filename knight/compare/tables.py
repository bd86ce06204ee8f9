"""A comparison as rows of text for people and as CSV for spreadsheets.

Where its columns stand, what they are called and how many digits they have is said by each metric.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from csv import writer
from types import MappingProxyType
from typing import Any

from knight.compare.comparison import Comparison, Layer
from knight.compare.metrics import Column, columns, metrics
from knight.errors import ConfigError, did_you_mean

OWN = Column("own SQNR(dB)", falling=True)

_TEXTS = ("index", "op_type", "output")
_EXTRA: Mapping[str, str] = {
    "own_sqnr": "own_sqnr",
    "best_sqnr": "best_sqnr",
    "clipped": "clipped",
    "minimum": "minimum",
    "maximum": "maximum",
    "scale": "rounding.scale",
    "zero_point": "rounding.zero_point",
    "bits": "rounding.bits",
    "broken": "broken",
    "cause_kind": "cause.kind",
    "fault": "at_fault",
    "cause": "cause.text",
    "remedy": "cause.remedy",
    "gain_db": "cause.gain_db",
}
"""What the CSV says behind the metrics, and where in a layer it is found."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that spreadsheets compute."""

_WIDE = 1e7  # beyond it a number is written as 1.23e+09, so that one figure cannot widen a column forever


def rows(
    comparison: Comparison,
    *,
    shown: Mapping[str, bool] = MappingProxyType({}),
    own: bool = True,
    sort: str | None = None,
    op_types: Sequence[str] = (),
    indices: Sequence[tuple[int, int]] | None = None,
) -> list[list[str]]:
    """Header and one row per layer, all text; "-" where a figure is not defined.

    shown: name of a metric -> whether its columns are there; for others the metric says it. own: whether
    the own error's column is. sort: a field of `fields()`; the worst comes first, unknown figures last;
    None keeps the order of the graph, in which the Input is first. op_types, indices: only layers of these
    operators, and with an index in one of these ranges (see `parse_ranges`). Raises ConfigError for a field
    or an operator type that no layer has.
    """
    chosen = _columns(shown)
    layers = ordered(select(comparison.layers, op_types, indices), sort)
    last = [OWN.title] if own else []
    header = ["index", *(column.title for column in chosen.values()), *last, "OP-TYPE", "OUT-NAME"]
    table = [header]
    for layer in layers:
        cells = [cell(layer.figures.get(key), column) for key, column in chosen.items()]
        if own:
            cells.append(cell(layer.own_sqnr, OWN))
        table.append([str(layer.index), *cells, layer.op_type, layer.output])
    return table


def _columns(shown: Mapping[str, bool]) -> dict[str, Column]:
    names = [name for name in metrics.ranked() if shown.get(name, metrics.get(name).shown)]
    return {key: column for name in names for key, column in metrics.get(name).columns.items()}


def cell(value: float | None, column: Column) -> str:
    """A figure as text: percent where the column says so, "-" for None and NaN."""
    if value is None or math.isnan(value):
        return "-"
    shown = value * 100.0 if column.percent else value
    if abs(shown) >= _WIDE:
        return f"{shown:.3g}"
    text = f"{shown:.{column.digits}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def fields() -> tuple[str, ...]:
    """What the table can be sorted by."""
    return (*_TEXTS, *columns(), "own_sqnr")


def check_field(name: str) -> None:
    """Raises ConfigError where a table cannot be sorted by `name`."""
    if name not in fields():
        raise ConfigError(f"cannot sort by {name!r}: {did_you_mean(name, fields())}")


def ordered(layers: Sequence[Layer], sort: str | None) -> list[Layer]:
    """The layers by a field of `fields()`, the worst first, unknown figures last, equals as in the graph."""
    if sort is None:
        return list(layers)
    check_field(sort)
    if sort in _TEXTS:
        return sorted(layers, key=lambda layer: getattr(layer, sort))
    sign = 1.0 if {**columns(), "own_sqnr": OWN}[sort].falling else -1.0
    known = [(sign * value, layer) for layer in layers if (value := _figure(layer, sort)) is not None]
    unknown = [layer for layer in layers if _figure(layer, sort) is None]
    return [layer for _, layer in sorted(known, key=lambda pair: pair[0])] + unknown


def _figure(layer: Layer, key: str) -> float | None:
    value = layer.own_sqnr if key == "own_sqnr" else layer.figures.get(key)
    return None if value is None or math.isnan(value) else value


def select(
    layers: Sequence[Layer], op_types: Sequence[str] = (), indices: Sequence[tuple[int, int]] | None = None
) -> list[Layer]:
    """The layers of these operator types (in any case of letters; none given: all) within these ranges."""
    known = {layer.op_type.lower(): layer.op_type for layer in layers}
    for op_type in op_types:
        if op_type.lower() not in known:
            raise ConfigError(f"no layer is of type {op_type!r}: {did_you_mean(op_type, known.values())}")
    chosen = {op_type.lower() for op_type in op_types}
    return [
        layer
        for layer in layers
        if (not chosen or layer.op_type.lower() in chosen)
        and (indices is None or any(first <= layer.index <= last for first, last in indices))
    ]


def parse_ranges(text: str, count: int) -> list[tuple[int, int]]:
    """``0-7,17-19`` as (first, last) pairs, both included; a single index stands for itself.

    count: number of layers; an index is 0 to count - 1. Raises ConfigError that names the wrong part.
    """
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
        if match is None:
            raise ConfigError(f"index range {part.strip()!r} in {text!r} is not of the form 3 or 0-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ConfigError(f"index range {part.strip()!r} runs backwards; write {last}-{first}")
        if last >= count:
            raise ConfigError(
                f"index range {part.strip()!r} is outside the layers, which are 0 to {count - 1}"
            )
        ranges.append((first, last))
    return ranges


def csv(comparison: Comparison) -> str:
    """All figures of all layers as numbers: fractions (not percent) and dB; empty where not defined.

    One header line, lines end with CR LF (RFC 4180): write it with ``newline=""``. A text that a spreadsheet
    would take for a formula has an apostrophe before it.
    """
    figures = list(columns())
    sheet = io.StringIO()
    table = writer(sheet, lineterminator="\r\n")
    table.writerow(["index", "op_type", "output", "quantized_output", *figures, *_EXTRA])
    for layer in comparison.layers:
        values = [layer.figures.get(key) for key in figures]
        names: list[float | str | None] = [layer.index, layer.op_type, layer.output, layer.quantized_output]
        table.writerow(map(_cell, [*names, *values, *(_read(layer, path) for path in _EXTRA.values())]))
    return sheet.getvalue()


def _read(layer: Layer, path: str) -> float | str | None:
    """The attribute of the layer, or of its part; None where that part is not there."""
    found: Any = layer
    for name in path.split("."):
        found = None if found is None else getattr(found, name)
    value: float | str | None = found
    return value


def _cell(value: float | str | None) -> float | str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None or math.isnan(value) else value
