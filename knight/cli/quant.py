"""``knight quant``: quantize a float model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from knight.cli import _summary
from knight.cli._command import FlagCommand, added, extras, given
from knight.cli._console import Console
from knight.cli._flags import AVAILABLE, QUANT
from knight.cli._inputs import infer_function, name_infer_function, run_settings
from knight.cli._trust import trusting
from knight.config import QuantConfig
from knight.errors import ConfigError, KnightError

if TYPE_CHECKING:
    import onnx_ir as ir

    from knight.executor import InferFunction, RunSettings
    from knight.pipeline import Outcome
    from knight.store import Store
    from knight.targets import Target

EXAMPLE = """\b
Examples:
  knight --chip TX5368AV200 quant -m net.onnx -uds infer.py -if infer_net -d images -i 100 --save-dir out
  knight --chip onnxruntime quant -m net.onnx -uds infer.py -if infer_net -qm kl mse -i 50 100 --save-dir out
"""


_OPTIONS = {
    "methods": "quant_mode",
    "iterations": "iteration",
    "bits": "bit_width",
    "threads": "cpu_num",
    "output_names": "output_name",
    "input_dtypes": "quantize_input_dtype",
    "optimizers": "optimize",
}
"""Field of `QuantConfig` -> option, where their names differ."""


def run(**values: Any) -> None:
    """Turn a float model into one that computes with integers.

    The infer function feeds your samples to the model. It runs once over the data to find the ranges of all
    values, and once more for each quantized model; what it returns (an accuracy, say) becomes the
    Quantization Loss.
    """
    context = click.get_current_context()
    if values["run_mode"] not in ("quant", "compare"):
        _as_subcommand(context, values)
        return
    values["dump"] = values["dump"] or values["run_mode"] == "compare"
    if not 0 < values["dump_limit"] < float("inf"):
        raise ConfigError(f"--dump-limit is {values['dump_limit']:g}; it has to be a number of GB above 0")
    config = make_config(values)
    console = Console(values["log_level"])
    try:
        with trusting(values):
            _quantize(context, values, config, console)
    finally:
        console.close()


def make_config(values: dict[str, Any]) -> QuantConfig:
    """The options as the pipeline takes them: field by field the option of that name. Raises ConfigError for
    halves of pairs.
    """
    if bool(values["mean"]) != bool(values["std"]):
        one, other = ("--mean", "--std") if values["mean"] else ("--std", "--mean")
        raise ConfigError(f"{one} is given without {other}; give both or none")
    names = [field.name for field in fields(QuantConfig) if field.name not in ("extras", "rules")]
    chosen = {name: values[_OPTIONS.get(name, name)] for name in names}
    chosen["methods"] = _methods(chosen["methods"])
    chosen["iterations"] = tuple(dict.fromkeys(chosen["iterations"]))
    return QuantConfig(**chosen, extras=extras(values))


def _methods(names: tuple[str, ...]) -> tuple[str, ...]:
    from knight.calibration import methods

    chosen = [method for name in names for method in (methods() if name == "all" else (name,))]
    return tuple(dict.fromkeys(chosen))


def _quantize(context: click.Context, values: dict[str, Any], config: QuantConfig, console: Console) -> None:
    from knight.cli._chip import chosen_chip
    from knight.targets import load_target

    target = load_target(chosen_chip(context, values["chip"]))
    console.say("Quant Start")
    name_infer_function(values, console)
    shown = {flag.names[-1]: values[flag.key] for flag in (*AVAILABLE, *added())}
    for line in _summary.arguments({"--chip": target.chip or target.name, **shown}):
        console.say(line)

    infer = infer_function(values, console)
    settings = run_settings(values, max(config.iterations))
    if values["dry_run"]:
        model, _ = _float_model(context, values, None, console)
        _dry_run(model, target, _with_input_configs(config, settings, model, infer), console)
        return

    if given(context, "percent") and not values["mix_config"] and "percentile" not in config.methods:
        console.warn("no effect without -qm percentile: -per/--percent")

    from knight import pipeline
    from knight.store import Store

    with Store(values["save_dir"]) as store:
        model, name = _float_model(context, values, store, console)
        config = _with_input_configs(config, settings, model, infer)
        several = len(config.methods) * len(config.iterations) > 1
        made = []
        for outcome in pipeline.quantize(model, infer, target, config, settings, name=name, listener=console):
            subdirectory = outcome.label if several else None
            if outcome.failure is None:  # at once: what goes wrong later must not cost it
                path = store.publish(outcome, name, subdirectory)
                if values["dump"]:
                    _dump(outcome, infer, settings, path.with_name("dump"), values, console)
            made.append(replace(outcome, model=None, steps={}, files=dict.fromkeys(outcome.files, b"")))
        console.close()
        if several:
            _report_several(made, name, store, console)
        else:
            _report_one(made[0], name, store, console)
    console.say("Quant complete")


def _with_input_configs(
    config: QuantConfig, settings: RunSettings, model: ir.Model, infer: InferFunction
) -> QuantConfig:
    from knight.input_configs import with_input_configs

    inputs = [value.name or "" for value in model.graph.inputs if not value.is_initializer()]
    return with_input_configs(config, settings.input_configs_dict, inputs, infer)


def _dry_run(model: ir.Model, target: Target, config: QuantConfig, console: Console) -> None:
    """What would be done, told without running any data or writing anything."""
    from knight.explaining import explain
    from knight.planning import plan_all
    from knight.telling import about_source

    planned = plan_all(model, target, config, console)
    for text in about_source(planned, recalibrate=config.recalibrate):
        console.warn(text)
    for line in _summary.plan(explain(planned.prepared, planned.plans[0])):
        console.say(line)
    for line in _summary.normalization(planned.whole[0]):
        console.say(line)
    tried = planned.candidates
    others = list(dict.fromkeys(one.method for one in tried[1:] if one.method != tried[0].method))
    if others:
        console.say(f"Likewise by      : {', '.join(others)}")
    console.say("Dry run: no data were run, and nothing was written")


def _dump(
    outcome: Outcome,
    infer: InferFunction,
    settings: RunSettings,
    folder: Path,
    values: dict[str, Any],
    console: Console,
) -> None:
    """Runs the infer function once more, over both models, and keeps the values of all operators."""
    from knight.compare.dumping import dump_models

    assert outcome.model is not None
    layers, calls = dump_models(
        outcome.steps["stage1_prepared"],
        outcome.model,
        infer,
        replace(settings, iteration=outcome.iteration),
        folder,
        limit=round(values["dump_limit"] * 1e9),
        samples=outcome.report["samples"] if outcome.iteration == settings.iteration else None,
        threads=values["cpu_num"],
        listener=console,
    )
    console.say(f"Dump             : {folder} ({layers} layers x {calls} forward calls, float and quantized)")


def _float_model(
    context: click.Context, values: dict[str, Any], store: Store | None, console: Console
) -> tuple[ir.Model, str]:
    """The model to quantize and its name; one of another framework is converted first, and stored where there
    is a store.
    """
    from knight.cli.convert import convert_to_store, converted_model, source_of

    if values["framework"] != "onnx" and store is None:
        converted, name = converted_model(context, {**values, "infer_func": "infer_auto"}, console)
        return converted.model, name
    if values["framework"] != "onnx":
        assert store is not None
        converted, name = convert_to_store(context, values, store, console)
        return converted.model, name
    from knight import model as models

    source_of(context, values, console)  # names the options that ONNX has no use for
    return models.load(values["model"]), Path(values["model"]).stem


def _report_one(outcome: Outcome, name: str, store: Store, console: Console) -> None:
    path = store.folder / f"{name}_quantize.onnx"
    for line in _summary.result_lines(outcome.report):
        console.say(line)
    console.say(f"Report           : {path.with_name(f'{name}_report.json')}")
    for file in outcome.files:
        console.say(f"Written beside it: {path.parent / f'{name}_{file}'}")
    console.say(f"Quantized Model : {path}")


def _report_several(outcomes: Sequence[Outcome], name: str, store: Store, console: Console) -> None:
    folders = {outcome.label: store.folder / outcome.label for outcome in outcomes if outcome.failure is None}
    best, *others = _summary.ranked(outcomes)
    for line in _summary.table(name, (best, *others), folders):
        console.say(line)
    if best.failure is not None:
        raise KnightError(f"none of the {len(outcomes)} combinations worked; the first: {best.failure}")
    console.say(f"Best: {best.label}")
    for line in _summary.result_lines(best.report):
        console.say(line)
    console.say(f"Report           : {folders[best.label] / f'{name}_report.json'}")
    console.say(f"Quantized Model : {folders[best.label] / f'{name}_quantize.onnx'}")


def _as_subcommand(context: click.Context, values: dict[str, Any]) -> None:
    """``knight quant -r infer`` is ``knight infer``; flags that only quantization reads are named."""
    from knight.cli import commands

    mode = values["run_mode"]
    command = commands.get(mode)
    assert isinstance(command, FlagCommand)
    needed = [flag.key for flag in command.flags]
    idle = [
        flag.label for flag in QUANT if flag.key not in (*needed, "run_mode") and given(context, flag.key)
    ]
    if idle:
        click.echo(f"  warning: no effect with -r {mode}: {', '.join(idle)}")
    shared = {key: values[key] for key in (*needed, "chip") if key in values}
    context.invoke(command, **shared)  # what only the subcommand has keeps its default


command = FlagCommand("quant", QUANT, run, help=run.__doc__, epilog=EXAMPLE)
