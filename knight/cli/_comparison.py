"""A comparison on the screen and in files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knight.cli._compare_checks import FILES, find
from knight.cli._summary import on_this_cpu
from knight.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

    from knight.compare.comparison import Comparison
    from knight.compare.gates import Gate

_NAMED = 5
"""Layers, remedies and unpaired values that are named on the screen; the files have all."""


def summary(comparison: Comparison) -> Iterator[str]:
    """What the table does not say: the guilty layers and why, what to do, what is not paired."""
    yield ""
    guilty = [layer for layer in comparison.guilty() if layer.cause is not None][:_NAMED]
    if guilty:
        yield "Largest own errors:"
    for layer in guilty:
        assert layer.cause is not None
        place = f"{layer.index:>3} {layer.op_type} {layer.output}"
        yield f"  {place}: {layer.own_sqnr:.1f} dB; {layer.cause.text}"
    if comparison.remedies:
        yield "What to do:"
    for remedy in comparison.remedies[:_NAMED]:
        names = ", ".join(remedy.layers[:3]) + (
            f" and {len(remedy.layers) - 3} more" if len(remedy.layers) > 3 else ""
        )
        gain = (
            ""
            if remedy.gain_db is None or remedy.measured
            else f" (up to {remedy.gain_db:.1f} dB of their own SQNR)"
        )
        yield f"  {remedy.text}{gain}: {names}"
    if comparison.unpaired:
        yield f"Not paired       : {len(comparison.unpaired)}"
        for found in comparison.unpaired[:_NAMED]:
            yield f"  {found.side}: {found.op_type} {found.output}: {found.reason}"
        if len(comparison.unpaired) > _NAMED:
            yield f"  and {len(comparison.unpaired) - _NAMED} more (--json lists all)"
    if comparison.metric_reference is not None:
        yield f"Float metric     : {comparison.metric_reference:.6g}"
    if comparison.metric_result is not None:
        yield f"Quantized metric : {comparison.metric_result:.6g}"
    if comparison.loss is not None:
        yield f"Quantization Loss: {comparison.loss:.4f} %"
    if comparison.output_sqnr is not None:
        yield f"SQNR of outputs  : {comparison.output_sqnr:.2f} dB"
    yield from on_this_cpu(comparison.host)
    fed = f", {comparison.samples} samples" if comparison.samples else ""
    yield (
        f"Compared         : {len(comparison.layers)} values{fed} in {comparison.calls} forward calls, "
        f"{comparison.seconds:.1f} s"
    )


def detail(
    comparison: Comparison, elements: tuple[np.ndarray, np.ndarray] | None, values: dict[str, Any]
) -> Iterator[str]:
    """All figures of one output, and some of its elements in both models."""
    from knight.compare.metrics import columns
    from knight.compare.tables import cell

    layer = find(comparison.layers, values["output_name"])
    yield f"{layer.index} {layer.op_type} {layer.output} {'x'.join(map(str, layer.shape)) or 'scalar'}"
    shown = {column.title: cell(layer.figures.get(key), column) for key, column in columns().items()}
    for name, value in (("own SQNR(dB)", layer.own_sqnr), ("best SQNR(dB)", layer.best_sqnr)):
        shown[name] = "-" if value is None else f"{value:.2f}"
    if layer.rounding is not None:
        grid = layer.rounding
        shown["scale"] = f"{grid.scale:.6g}, zero point {grid.zero_point}, {grid.bits} bits"
        shown["range"] = f"{grid.low:.6g} to {grid.high:.6g}"
    if layer.minimum is not None and layer.maximum is not None:
        shown["values"] = f"{layer.minimum:.6g} to {layer.maximum:.6g}"
    width = max(map(len, shown))
    for name, text in shown.items():
        yield f"  {name:<{width}}  {text}"
    if layer.cause is not None:
        yield f"  {layer.cause.text}; {layer.cause.remedy}"
    if elements is not None:
        yield from _elements(*elements, values)


def _elements(reference: np.ndarray, result: np.ndarray, values: dict[str, Any]) -> Iterator[str]:
    """Elements of the first forward call: index, float, quantized, relative error."""
    import numpy as np

    from knight.compare.tally import BAND_EDGES

    left, right = (array.astype(np.float64).reshape(-1) for array in (reference, result))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(left == right, 0.0, np.abs(right - left) / np.abs(left))
    level, start = values["show_level"], values["show_index"]
    places = np.arange(start, left.size)
    if 1 <= level <= 5:
        edges = (-np.inf, *BAND_EDGES, np.inf)
        inside = (relative[places] >= edges[level - 1]) & ((relative[places] < edges[level]) | (level == 5))
        places = places[inside]
    elif level == 6:
        places = places[np.argsort(-np.nan_to_num(np.abs(right - left))[places], kind="stable")]
    yield f"  {places.size} elements; index: float, quantized, relative error"
    for place in places[: values["show_number"]]:
        index = ",".join(str(int(axis)) for axis in np.unravel_index(place, reference.shape)) or "0"
        yield f"  [{index}]: {left[place]:.6g}, {right[place]:.6g}, {relative[place]:.2%}"


def labels(folders: Sequence[Path]) -> list[str]:
    """A name for each folder, of as many of its last parts as tell it from the others."""
    parts = [[part for part in folder.absolute().parts if part != folder.anchor] for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        found = ["_".join(names[-count:]) for names in parts]
        if len(set(found)) == len(found):
            return found
    return [f"{number}_{names[-1]}" for number, names in enumerate(parts, 1)]


def write(
    comparison: Comparison, gates: Sequence[Gate], label: str | None, values: dict[str, Any]
) -> Iterator[Path]:
    """Writes what is asked for, each file whole or not at all, and gives the paths.

    label: one comparison of several; its files have this name, in a folder of this name.
    """
    from knight.compare import document, junit, tables
    from knight.compare.report import write_report
    from knight.files import write_file

    wanted = {key: Path(values[key]) for key in FILES if values[key]}
    folder = Path(values["save_dir"] or "", label or "")
    if values["save_dir"]:
        name = label or Path(comparison.result).stem or "dump"
        for key in ("html", "json", "csv"):
            wanted.setdefault(key, folder / f"{name}_compare.{key}")
    texts = {
        "html": lambda: write_report(comparison),
        "json": lambda: _json(document.to_json(comparison, gates)),
        "csv": lambda: tables.csv(comparison),
        "junit": lambda: junit.junit(comparison, gates),
    }
    for key, path in wanted.items():
        yield write_file(path, texts[key]().encode("utf-8", "backslashreplace"))
    if values["save_dir"] and comparison.mixed_precision:
        yield write_file(folder / "mix_config.json", _json(list(comparison.mixed_precision)).encode())
    yield from _plots(comparison, folder, values)


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _plots(comparison: Comparison, folder: Path, values: dict[str, Any]) -> Iterator[Path]:
    from knight.compare import plots
    from knight.files import write_file

    if values["show_plot"]:
        yield _drawn(folder / "plot_result.png", lambda path: plots.plot_result(comparison, path))
        text = plots.names_file(comparison)
        yield write_file(folder / "plot_out_name_idx.txt", text.encode())
    if values["show"] == "hist":
        name = values["output_name"]
        chosen = comparison.guilty()[:_NAMED] or comparison.layers[-1:]
        for layer in [find(comparison.layers, name)] if name is not None else chosen:
            draw = partial(plots.plot_layer_histograms, layer)
            yield _drawn(folder / f"hist_{layer.index:04d}.png", draw)


def _drawn(path: Path, draw: Callable[[Path], None]) -> Path:
    """A picture at `path`, whole or not at all. Raises OutputError."""
    from knight.files import remove

    beside = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(beside)
        draw(beside)
        beside.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write to {path}: {error.strerror}; name another folder with --save-dir"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return path
