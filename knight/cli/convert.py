"""``knight convert``: convert a model to ONNX, proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from knight.cli import _summary
from knight.cli._command import FlagCommand, added, extras, given
from knight.cli._console import DEBUG, Console
from knight.cli._flags import CONVERT, FED, QUANT
from knight.cli._trust import trusting
from knight.errors import ConfigError

if TYPE_CHECKING:
    from knight.conversion import Converted
    from knight.converters import Source
    from knight.store import Store

EXAMPLE = """\b
Examples:
  knight convert -f pytorch -m resnet18 -uds models.py -w resnet18.pth --save-dir out
  knight convert -f caffe -m net.prototxt -w net.caffemodel --save-dir out
  knight convert -f paddle -m net.pdmodel -w net.pdiparams -is 1 3 224 224 --save-dir out
  knight convert -f tensorflow -m net.pb -snn data_input:0 -enn output:0 -c2chw --save-dir out
"""

_FIELDS = {
    "weights": "weight",
    "input_shapes": "input_shapes",
    "start_nodes": "start_node_names",
    "end_nodes": "end_node_names",
    "nchw": "convert2chw",
    "allow_pickle": "allow_pickle",
}
"""Field of `Source` -> option."""


def run(**values: Any) -> None:
    """Convert a model of another framework to ONNX, and prove that both compute the same.

    The source framework and ONNX Runtime run side by side on random inputs, and on your own samples where -if
    names an infer function. The largest error is printed; above --tolerance nothing is written, and the
    first layer that differs is named.
    """
    console = Console(values["log_level"])
    try:
        with trusting(values):
            _convert(click.get_current_context(), values, console)
    finally:
        console.close()


def _convert(context: click.Context, values: dict[str, Any], console: Console) -> None:
    from knight.cli._inputs import name_infer_function
    from knight.store import Store

    console.say("Convert Start")
    name_infer_function(values, console)
    shown = {flag.names[-1]: values[flag.key] for flag in (*CONVERT, *added())}
    for line in _summary.arguments(shown):
        console.say(line)
    idle = [flag.label for flag in CONVERT if flag.key in FED and given(context, flag.key)]
    if idle and values["infer_func"] == "infer_auto":
        console.warn(f"no effect without -if: {', '.join(idle)}")
    with Store(values["save_dir"]) as store:
        convert_to_store(context, values, store, console)
    console.say("Convert complete")


def convert_to_store(
    context: click.Context, values: dict[str, Any], store: Store, console: Console
) -> tuple[Converted, str]:
    """Converts what `values` name, writes ``NAME.onnx``, says so; gives the result and NAME.

    Raises KnightError; nothing is written then.
    """
    from knight.converters import converters

    converted, name = converted_model(context, values, console)
    store.write({f"{name}.onnx": converted.model})
    for line in _summary.conversion(converted, converters.get(values["framework"]).verb):
        console.say(line)
    console.say(f"ONNX model       : {store.folder / name}.onnx")
    return converted, name


def converted_model(
    context: click.Context, values: dict[str, Any], console: Console
) -> tuple[Converted, str]:
    """The conversion of what `values` name, and the name of its file; nothing is written."""
    from knight import conversion
    from knight.cli._inputs import run_settings
    from knight.config import QuantConfig

    framework, source = values["framework"], source_of(context, values, console)
    conversion.check_framework(framework, source)
    converted = conversion.convert(
        framework,
        source,
        infer=values["infer_func"] if values["infer_func"] != "infer_auto" else None,
        settings=run_settings(values, max(values["iteration"]), "convert"),
        config=QuantConfig(
            input_dtypes=values["quantize_input_dtype"], mean=values["mean"], std=values["std"]
        ),
        tolerance=values["tolerance"],
        threads=values["cpu_num"],
        listener=console,
        debug=values["log_level"] == DEBUG,
    )
    return converted, conversion.name_of(framework, source)


def source_of(context: click.Context, values: dict[str, Any], console: Console) -> Source:
    """The source that `values` name; options that its framework does not read are named in a warning.

    Raises ConfigError for values that no framework takes.
    """
    from knight.converters import Source, converters
    from knight.converters._shapes import OPEN

    if not 0 < values["tolerance"] <= 1:
        raise ConfigError(f"--tolerance {values['tolerance']}: wants a fraction of a range, such as 1e-3")
    for shape in values["input_shapes"]:
        if any(size < 1 and size != OPEN for size in shape):
            raise ConfigError(
                f"-is/--input-shapes {' '.join(map(str, shape))}: sizes are at least 1, or -1 for open"
            )
    read = converters.get(values["framework"]).flags
    labels = {flag.key: flag.label for flag in QUANT}
    idle = [labels[key] for field, key in _FIELDS.items() if field not in read and given(context, key)]
    if values["user_defined_script"] is not None:  # it may load pickles
        idle = [label for label in idle if label != labels["allow_pickle"]]
    if idle:
        console.warn(f"no effect with -f {values['framework']}: {', '.join(idle)}")
    fields = {field: values[key] for field, key in _FIELDS.items() if field in read}
    return Source(
        model=values["model"], script=values["user_defined_script"], extras=extras(values), **fields
    )


command = FlagCommand("convert", CONVERT, run, help=run.__doc__, epilog=EXAMPLE)
