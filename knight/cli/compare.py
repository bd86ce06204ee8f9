"""``knight compare``: find the layers that quantization hurts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from knight.cli import _compare_checks as checks, _comparison, _summary
from knight.cli._command import FlagCommand, added, given
from knight.cli._compare_flags import compare_flags, shown_metrics
from knight.cli._console import Console
from knight.errors import GateError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from knight.compare.comparison import Comparison

    Elements = tuple[np.ndarray, np.ndarray]

EXAMPLE = """\b
Examples:
  knight compare -m net.onnx -q out/net_quantize.onnx -uds infer.py -if infer_net -i 20 --save-dir out
  knight compare -qd out/dump --rmse --sort mre
  knight compare -m net.onnx -q other.onnx -uds infer.py -if infer_net --fail-under-cos 0.98 --junit out.xml
"""


def run(**values: Any) -> None:
    """Show which layer of a quantized model is guilty, and what to do about it.

    From two models: both run over your samples, every layer also alone on float inputs, so that each has two
    errors: the accumulated one and its own. From dump folders (-qd, -sd): the accumulated error.
    """
    console = Console(values["log_level"])
    try:
        _compare(click.get_current_context(), values, console)
    finally:
        console.close()


def _compare(context: click.Context, values: dict[str, Any], console: Console) -> None:
    from knight.compare import gates

    checks.check(context, values)
    limits = gates.Gates(values["fail_under_cos"], values["fail_over_loss"], values["fail_under_sqnr"])
    console.say("Compare Start")
    shown = {
        flag.names[-1]: values[flag.key] for flag in (*compare_flags(), *added()) if given(context, flag.key)
    }
    for line in _summary.arguments(shown):
        console.say(line)
    idle = checks.idle(context, values)
    if idle:
        console.warn(f"no effect without -on: {', '.join(idle)}")
    failed: list[str] = []
    for comparison, label, elements in _comparisons(values, console):
        results = gates.check(comparison, limits)
        for line in _shown(comparison, elements, values):
            console.say(line)
        for path in _comparison.write(comparison, results, label, values):
            console.say(f"Written          : {path}")
        for gate in results:
            console.say(f"{'PASS' if gate.passed else 'FAIL'} {gate.name}: {gate.text}")
        failed += [gate.text for gate in results if not gate.passed]
    if failed:
        raise GateError(failed[0] if len(failed) == 1 else f"{failed[0]} (and {len(failed) - 1} more)")
    console.say("Compare complete")


def _comparisons(
    values: dict[str, Any], console: Console
) -> Iterator[tuple[Comparison, str | None, Elements | None]]:
    """Each comparison that is asked for; a name of its own where there are several; and what the output named
    with -on holds in the first forward call.
    """
    if values["model"]:
        comparison, elements = _of_models(values, console)
        yield comparison, None, elements
        return
    from knight.compare import folders

    reference = Path(values["quant_dump"])
    named = [Path(folder) for folder in checks.second_folders(values)]
    pairs = [(_dump_side(reference, "float"), _dump_side(folder, "quant")) for folder in named]
    pairs = pairs or [folders.halves(reference)]
    found = [
        _elements_of_output(left, right, values) for left, right in pairs
    ]  # at all, before one is read through
    labels = _comparison.labels(named) if len(named) > 1 else [None]
    for (left, right), label, elements in zip(pairs, labels, found, strict=True):
        yield folders.compare_folders(left, right, listener=console), label, elements


def _dump_side(folder: Path, side: str) -> Path:
    """That side of a dump folder; a folder that is no dump is taken as it is."""
    for place in (folder, folder / "dump"):
        if (place / side).is_dir():
            return place / side
    return folder


def _elements_of_output(reference: Path, result: Path, values: dict[str, Any]) -> Elements | None:
    """The elements of -on, after a look at what the two folders have. Raises as the checks do."""
    from knight.compare import folders
    from knight.compare.comparison import Layer

    left, right = folders.read_places(reference), folders.read_places(result)
    numbers = {place.folder: index for index, place in enumerate(left)}
    layers = [
        Layer(numbers[one.folder], one.entry.op_type, "", one.entry.output, other.alias, (), {})
        for one, other in folders.pair(left, right)[0]
    ]
    if layers:  # else the comparison says so
        checks.check_names(layers, values)
    if not layers or values["output_name"] is None:
        return None
    wanted = checks.find(layers, values["output_name"])
    elements = next(folders.elements(reference, result, wanted.output))
    checks.check_start(elements[0], values)
    return elements


def _of_models(values: dict[str, Any], console: Console) -> tuple[Comparison, Elements | None]:
    from knight import model as models
    from knight.cli._inputs import infer_function, name_infer_function, run_settings
    from knight.compare.comparison import Layer
    from knight.compare.models import Options, compare_models
    from knight.compare.rows import Row

    name_infer_function(values, console)
    infer = infer_function(values, console)
    name = values["output_name"]
    wanted: list[str] = []
    watched: list[Elements] = []

    def begin(rows: Sequence[Row]) -> None:
        layers = [
            Layer(index, row.op_type, "", row.twin.name or "", row.tapped, (), {})
            for index, row in enumerate(rows)
        ]
        checks.check_names(layers, values)
        if name is not None:
            wanted.append(checks.find(layers, name).output)

    def watch(row: Row, reference: np.ndarray, result: np.ndarray) -> None:
        if row.twin.name in wanted and not watched:
            checks.check_start(reference, values)
            watched.append((reference.copy(), result.copy()))

    model, quantized = models.load(values["model"]), models.load(values["quantized"])
    for odd in checks.check_models(model, quantized, values):
        console.warn(odd)
    comparison = compare_models(
        model,
        quantized,
        infer,
        run_settings(values, values["iteration"][0], "compare"),
        names=(values["model"], values["quantized"]),
        options=Options(*_normalization(model, quantized, values), threads=values["cpu_num"]),
        arguments={flag.names[-1]: values[flag.key] for flag in (*compare_flags(), *added())},
        watch=watch if name is not None else None,
        begin=begin,
        listener=console,
    )
    return comparison, watched[0] if watched else None


def _normalization(
    model: ir.Model, quantized: ir.Model, values: dict[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """--mean and --std; where they are not given, what the quantized model says that it has inside."""
    from knight.border import NORMALIZATION, normalization_of

    facts = normalization_of(quantized)
    if values["mean"] or facts is None or NORMALIZATION in model.metadata_props:
        return values["mean"], values["std"]
    return facts.mean, facts.std


def _shown(comparison: Comparison, elements: Elements | None, values: dict[str, Any]) -> Iterator[str]:
    """The lines on the screen: one output, or the table and what it does not say."""
    from knight.compare import tables

    if values["output_name"] is not None:
        yield from _comparison.detail(comparison, elements, values)
        return
    rows = tables.rows(
        comparison,
        shown=shown_metrics(values),
        own=any(layer.own_sqnr is not None for layer in comparison.layers),
        sort=values["sort"],
        op_types=checks.op_types(values),
        indices=checks.ranges(comparison.layers, values),
    )
    yield from _summary.aligned(rows)
    yield from _comparison.summary(comparison)


command = FlagCommand(
    "compare",
    compare_flags,
    run,
    help=run.__doc__,
    epilog=EXAMPLE,
)
