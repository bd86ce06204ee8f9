"""``knight infer``: run a float or quantized model over the data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from knight.cli import _summary
from knight.cli._command import FlagCommand, added, given
from knight.cli._compare_checks import check_iteration
from knight.cli._console import Console
from knight.cli._flags import INFER
from knight.errors import ConfigError
from knight.files import folder_for

if TYPE_CHECKING:
    import onnx_ir as ir

    from knight.inferring import InferResult

EXAMPLE = """\b
Example:
  knight infer -m out/net_quantize.onnx -uds infer.py -if infer_net -d images -i 1000 --compare-with net.onnx
"""


def run(**values: Any) -> None:
    """Run a float or quantized model through your infer function; print its metric and the speed."""
    check_iteration(values, "infer")
    if values["compare_with"] == "":
        raise ConfigError("--compare-with is empty; name a model, or leave it out")
    if values["framework"] != "onnx":
        raise ConfigError(
            f"-f/--framework {values['framework']}: infer runs ONNX models; make one with "
            f"knight convert -f {values['framework']}, and give that with -m"
        )
    console = Console(values["log_level"])
    try:
        _infer(click.get_current_context(), values, console)
    finally:
        console.close()


def _infer(context: click.Context, values: dict[str, Any], console: Console) -> None:
    from knight import border, model as models
    from knight.cli._inputs import chosen_function, name_infer_function, run_settings
    from knight.inferring import run_infer

    console.say("Infer Start")
    name_infer_function(values, console)
    shown = {flag.names[-1]: values[flag.key] for flag in (*INFER, *added())}
    for line in _summary.arguments(shown):
        console.say(line)
    chosen = chosen_function(values, console)
    model = models.load(values["model"])
    border.check_types(model, border.wanted_types(values["quantize_input_dtype"]))
    other = models.load(values["compare_with"]) if values["compare_with"] else None
    settings = run_settings(values, values["iteration"][0], "infer")
    scales = _output_scales(model, other, chosen.own, values, console)

    def run_it(model: ir.Model) -> InferResult:
        return run_infer(
            model,
            chosen.function,
            settings,
            threads=values["cpu_num"],
            output_scales=scales,
            listener=console,
        )

    # the folder is for what the infer function itself may write
    with folder_for(Path(values["save_dir"])) if given(context, "save_dir") else nullcontext():
        result = run_it(model)
        _tell(result, console)
        if other is not None:
            alike = border.fed_like(other, model)
            if alike is not other:
                console.say(
                    f"{values['compare_with']} is given the input types and the normalization of the other"
                )
            reference = run_it(alike)
            for line in _summary.side_by_side(values["model"], result, values["compare_with"], reference):
                console.say(line)
    console.say("Infer complete")


def _tell(result: InferResult, console: Console) -> None:
    if result.metric is None:
        console.say("Metric: none (the infer function returned nothing)")
    else:
        console.say(f"Metric: {result.metric}")
    for line in _summary.speed(result):
        console.say(line)


def _output_scales(
    model: ir.Model, other: ir.Model | None, own: bool, values: dict[str, Any], console: Console
) -> Mapping[str, Mapping[str, float]]:
    """The scales by which the user's `own` function is handed fixed-point outputs, as the vendor's tool does;
    none for a ready-made one, which gets real numbers. Both models' outputs come in the same units.
    """
    from knight.outputs import output_scales

    if not own:
        return {}
    scales = output_scales(model) or ({} if other is None else output_scales(other))
    for line in _summary.scales(scales):
        console.say(line)
    if scales:
        console.say("outputs are fixed-point; scale printed above")
    if scales and other is not None:
        console.warn(
            f"the metrics count only if {values['infer_func']} multiplies outputs by their scale, or needs "
            f"none (an argmax); both models' outputs are handed out in units of the scale printed above"
        )
    return scales


command = FlagCommand("infer", INFER, run, help=run.__doc__, epilog=EXAMPLE)
