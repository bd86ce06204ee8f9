"""``knight quant``: from a float model and a user script to quantized models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from knight.cli import _summary
from knight.cli._command import FlagCommand, given
from knight.cli._console import Console
from knight.cli._flags import AVAILABLE, QUANT
from knight.config import METHODS, QuantConfig
from knight.errors import ConfigError, KnightError, did_you_mean

if TYPE_CHECKING:
    import onnx_ir as ir

    from knight.executor import InferFunction, RunSettings
    from knight.listener import Listener
    from knight.pipeline import Outcome
    from knight.store import Store

EXAMPLE = """\b
Examples:
  knight --chip TX5368AV200 quant -m net.onnx -uds infer.py -if infer_net -d images -i 100 --save-dir out
  knight --chip onnxruntime quant -m net.onnx -uds infer.py -if infer_net -qm kl mse -i 50 100 --save-dir out
"""


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
        _quantize(context, values, config, console)
    finally:
        console.close()


def make_config(values: dict[str, Any]) -> QuantConfig:
    """The options as the pipeline takes them. Raises ConfigError for unknown methods and halves of pairs."""
    if bool(values["mean"]) != bool(values["std"]):
        one, other = ("--mean", "--std") if values["mean"] else ("--std", "--mean")
        raise ConfigError(f"{one} is given without {other}; give both or none")
    return QuantConfig(
        methods=_methods(values["quant_mode"]),
        iterations=tuple(dict.fromkeys(values["iteration"])),
        batch_size=values["batch_size"],
        ir_batch=values["ir_batch"],
        percent=values["percent"],
        bits=values["bit_width"],
        optimizers=values["optimize"],
        threads=values["cpu_num"],
        output_names=values["output_name"],
        mean=values["mean"],
        std=values["std"],
        strict=values["strict"],
        input_dtypes=values["quantize_input_dtype"],
        output_dequant=values["output_dequant"],
        reduce_range=values["reduce_range"],
    )


def _methods(names: tuple[str, ...]) -> tuple[str, ...]:
    from knight.calibration import calibrations

    known = (*calibrations.names(), "all")
    for name in names:
        if name not in known:
            raise ConfigError(f"-qm/--quant-mode: unknown method {name!r}: {did_you_mean(name, known)}")
    chosen = [method for name in names for method in (METHODS if name == "all" else (name,))]
    return tuple(dict.fromkeys(chosen))


def _quantize(context: click.Context, values: dict[str, Any], config: QuantConfig, console: Console) -> None:
    from knight.cli._chip import chosen_chip
    from knight.targets import load_target

    target = load_target(chosen_chip(context, values["chip"]))
    console.say("Quant Start")
    name_infer_function(values)
    shown = {flag.names[-1]: values[flag.key] for flag in AVAILABLE}
    for line in _summary.arguments({"--chip": target.chip or target.name, **shown}):
        console.say(line)

    from knight import pipeline
    from knight.cli._border import with_input_configs
    from knight.store import Store

    infer = infer_function(values, console)
    settings = run_settings(values, max(config.iterations))
    with Store(values["save_dir"]) as store:
        model, name = _float_model(context, values, store, console)
        inputs = [value.name or "" for value in model.graph.inputs if not value.is_initializer()]
        config = with_input_configs(config, settings.input_configs_dict, inputs, infer)
        several = len(config.methods) * len(config.iterations) > 1
        made = []
        for outcome in pipeline.quantize(model, infer, target, config, settings, name=name, listener=console):
            subdirectory = outcome.label if several else None
            if outcome.failure is None:  # at once: what goes wrong later must not cost it
                path = store.publish(outcome, name, subdirectory)
                if values["dump"]:
                    _dump(outcome, infer, settings, path.with_name("dump"), values, console)
            made.append(replace(outcome, model=None, steps={}))
        console.close()
        if several:
            _report_several(made, name, store, console)
        else:
            _report_one(made[0], name, store, console)
    console.say("Quant complete")


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
    context: click.Context, values: dict[str, Any], store: Store, console: Console
) -> tuple[ir.Model, str]:
    """The model to quantize and its name; one of another framework is converted and stored first."""
    from knight.cli.convert import convert_to_store, source_of

    if values["framework"] != "onnx":
        converted, name = convert_to_store(context, values, store, console)
        return converted.model, name
    from knight import model as models

    source_of(context, values, console)  # names the options that ONNX has no use for
    return models.load(values["model"]), Path(values["model"]).stem


def run_settings(values: dict[str, Any], iteration: int, run_mode: str = "quant") -> RunSettings:
    """What the infer function may read of the user's options."""
    from knight.executor import RunSettings

    return RunSettings(
        iteration=iteration,
        batch_size=values["batch_size"],
        dataset=values["data"],
        save_dir=values["save_dir"],
        run_mode=run_mode,
        user_defined_script=values["user_defined_script"],
        input_configs_dict=input_configs(values["input_configs"]),
    )


def name_infer_function(values: dict[str, Any]) -> None:
    """Puts into `values` which function and script are meant: infer_default where only input-configs are
    given, and no script for the vendor's own infer_common.py, which is built in here.
    """
    name, script = values["infer_func"].removeprefix("infer_common."), values["user_defined_script"]
    if script is not None and Path(script).name == "infer_common.py" and not Path(script).exists():
        values["user_defined_script"] = script = None
    only_configs = name == "infer_auto" and values["input_configs"] is not None and script is None
    values["infer_func"] = "infer_default" if only_configs else name


def infer_function(values: dict[str, Any], listener: Listener) -> InferFunction:
    """What -if names."""
    from knight.script import find_infer_function

    name_infer_function(values)
    return find_infer_function(values["infer_func"], values["user_defined_script"], listener=listener)


def input_configs(given: object) -> tuple[dict[str, Any], ...]:
    """The entries of --input-configs: a JSON file with a list of them, or the list itself."""
    if given is None:
        return ()
    where = "--input-configs" if isinstance(given, list) else f"--input-configs {given}"
    if not isinstance(given, list):
        try:
            given = json.loads(Path(str(given)).read_text("utf-8-sig"))
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}; name a JSON file") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where}: no JSON: {error}") from error
    entries = [given] if isinstance(given, dict) else given
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f'{where}: wants a list of objects such as [{{"data_dir": "pictures"}}]')
    return tuple(entries)


def _report_one(outcome: Outcome, name: str, store: Store, console: Console) -> None:
    path = store.folder / f"{name}_quantize.onnx"
    for line in _summary.result_lines(outcome.report):
        console.say(line)
    console.say(f"Report           : {path.with_name(f'{name}_report.json')}")
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


command = FlagCommand("quant", QUANT, run, help=run.__doc__, short_help="Quantize a model.", epilog=EXAMPLE)
