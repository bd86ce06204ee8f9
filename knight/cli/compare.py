"""``knight compare``: a float and a quantized model, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from knight.cli import _summary
from knight.cli._command import FlagCommand, given
from knight.cli._compare_flags import COMPARE
from knight.cli._console import Console
from knight.errors import ConfigError, GateError

if TYPE_CHECKING:
    import numpy as np

    from knight.compare.comparison import Comparison
    from knight.compare.gates import Gate

EXAMPLE = """\b
Examples:
  knight compare -m net.onnx -q out/net_quantize.onnx -uds infer.py -if infer_net -i 20 --save-dir out
  knight compare -qd out/dump --rmse --sort mre
  knight compare -m net.onnx -q other.onnx -uds infer.py -if infer_net --fail-under-cos 0.98 --junit out.xml
"""

_MODEL_ONLY = ("mean", "std", "user_defined_script", "infer_func", "data", "iteration", "batch_size")


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
    from knight.compare import gates, tables

    _check(context, values)
    if values["sort"] is not None:
        tables.check_field(values["sort"])  # before the long work, not after
    limits = gates.Gates(values["fail_under_cos"], values["fail_over_loss"], values["fail_under_sqnr"])
    console.say("Compare Start")
    shown = {flag.names[-1]: values[flag.key] for flag in COMPARE if given(context, flag.key)}
    for line in _summary.arguments(shown):
        console.say(line)
    failed: list[str] = []
    for comparison, elements in _comparisons(values, console):
        results = gates.check(comparison, limits)
        _tell(comparison, elements, values, console)
        _write(comparison, results, values, console)
        for gate in results:
            console.say(f"{'PASS' if gate.passed else 'FAIL'} {gate.name}: {gate.text}")
        failed += [gate.text for gate in results if not gate.passed]
    if failed:
        raise GateError(failed[0] if len(failed) == 1 else f"{failed[0]} (and {len(failed) - 1} more)")
    console.say("Compare complete")


def _check(context: click.Context, values: dict[str, Any]) -> None:
    """Raises ConfigError where neither models nor folders, or both, are given."""
    models, folders = values["model"] or values["quantized"], values["quant_dump"] or values["second_dump"]
    if bool(models) == bool(folders):
        raise ConfigError(
            "compare wants two models (-m, -q) or dump folders (-qd, and -sd where they are apart)"
        )
    if models and not (values["model"] and values["quantized"]):
        missing = "-q/--quantized" if values["model"] else "-m/--model"
        raise ConfigError(f"{missing} is missing: compare wants the float and the quantized model")
    if folders and not values["quant_dump"]:
        raise ConfigError("-qd/--quant-dump is missing: name the folder to compare the -sd folders with")
    if bool(values["mean"]) != bool(values["std"]):
        raise ConfigError("--mean and --std belong together; give both or none")
    if folders:
        idle = [flag.label for flag in COMPARE if flag.key in _MODEL_ONLY and given(context, flag.key)]
        if idle:
            raise ConfigError(f"{idle[0]} is for models (-m, -q); dump folders need no data")
        if len(_second(values)) > 1 and any(values[key] for key in ("html", "json", "csv", "junit")):
            raise ConfigError("-sd names several folders: take --save-dir, which keeps a report for each")
    if len(values["iteration"]) > 1:
        raise ConfigError("-i/--iteration: compare takes one number")


def _second(values: dict[str, Any]) -> list[str]:
    return [folder for folder in (values["second_dump"] or "").split(":") if folder]


def _comparisons(
    values: dict[str, Any], console: Console
) -> Iterator[tuple[Comparison, Sequence[tuple[np.ndarray, np.ndarray]]]]:
    """Each comparison that is asked for, and the elements of the output named with -on, call by call."""
    if values["model"]:
        yield _of_models(values, console)
        return
    from knight.compare import folders

    reference = Path(values["quant_dump"])
    pairs = [(_float_half(reference), Path(second)) for second in _second(values)]
    for left, right in pairs or [folders.halves(reference)]:
        comparison = folders.compare_folders(left, right, listener=console)
        name = values["output_name"]
        yield comparison, () if name is None else tuple(folders.elements(left, right, name))


def _float_half(folder: Path) -> Path:
    """The float half of a dump folder; a folder that is no dump is taken as it is."""
    for place in (folder, folder / "dump"):
        if (place / "float").is_dir():
            return place / "float"
    return folder


def _of_models(
    values: dict[str, Any], console: Console
) -> tuple[Comparison, Sequence[tuple[np.ndarray, np.ndarray]]]:
    from knight import model as models
    from knight.cli.quant import run_settings
    from knight.compare.layerwise import Row
    from knight.compare.models import Options, compare_models
    from knight.script import find_infer_function

    infer = find_infer_function(values["infer_func"], values["user_defined_script"], listener=console)
    name = values["output_name"]
    watched: list[tuple[np.ndarray, np.ndarray]] = []

    def watch(row: Row, wanted: np.ndarray, got: np.ndarray) -> None:
        if name in (row.twin.name, row.root.name) and not watched:
            watched.append((wanted.copy(), got.copy()))

    comparison = compare_models(
        models.load(values["model"]),
        models.load(values["quantized"]),
        infer,
        run_settings(values, values["iteration"][0], "compare"),
        names=(values["model"], values["quantized"]),
        options=Options(values["mean"], values["std"], threads=values["cpu_num"]),
        arguments={flag.names[-1]: values[flag.key] for flag in COMPARE},
        watch=watch if name is not None else None,
        listener=console,
    )
    return comparison, watched


def _tell(
    comparison: Comparison,
    elements: Sequence[tuple[np.ndarray, np.ndarray]],
    values: dict[str, Any],
    console: Console,
) -> None:
    from knight.cli import _comparison
    from knight.compare import tables

    if values["output_name"] is not None:
        for line in _comparison.detail(comparison, elements, values):
            console.say(line)
        return
    ranges = values["index_range"]
    rows = tables.rows(
        comparison,
        mre=not values["no_mre"],
        cos=not values["no_cos"],
        rmse=values["rmse"],
        maxdiff=values["maxdiff"],
        bias=values["bias"],
        own=any(layer.own_sqnr is not None for layer in comparison.layers),
        sort=values["sort"],
        op_types=tuple(filter(None, (values["op_type"] or "").split(","))),
        indices=None if ranges is None else tables.parse_ranges(ranges, len(comparison.layers)),
    )
    for line in _summary.aligned(rows):
        console.say(line)
    for line in _comparison.summary(comparison):
        console.say(line)


def _write(comparison: Comparison, gates: Sequence[Gate], values: dict[str, Any], console: Console) -> None:
    """Every file that is asked for; each appears whole or not at all."""
    from knight.cli import _comparison

    for path in _comparison.write(comparison, gates, values):
        console.say(f"Written          : {path}")


command = FlagCommand(
    "compare",
    COMPARE,
    run,
    help=run.__doc__,
    short_help="Find the layers that quantization hurts.",
    epilog=EXAMPLE,
)
