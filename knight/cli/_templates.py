"""The texts of ``knight template``; each works at once for the model it was made for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knight.cli._flags import CONVERT, INFER, QUANT, Flag

if TYPE_CHECKING:
    import onnx_ir as ir

_OPEN_SIZE = 1


def _inputs(path: Path) -> list[ir.Value]:
    """The model's inputs that have to be fed."""
    from knight import model as models

    graph = models.load(path).graph
    return [value for value in graph.inputs if not value.is_initializer()]


def _shape(value: ir.Value) -> list[int]:
    dims = value.shape or ()
    return [dim if isinstance(dim, int) else _OPEN_SIZE for dim in dims]


def _picture(values: list[ir.Value]) -> ir.Value | None:
    """The input, if it is the only one and takes pictures."""
    if len(values) != 1 or values[0].shape is None or len(values[0].shape) != 4:
        return None
    dims = list(values[0].shape)
    fixed = isinstance(dims[2], int) and isinstance(dims[3], int)
    return values[0] if dims[1] in (1, 3) and fixed else None


def script(path: Path | None) -> str:
    """A user script with one infer function."""
    assert path is not None
    inputs = _inputs(path)
    name = f"infer_{''.join(sign if sign.isalnum() else '_' for sign in path.stem)}"
    lines = [
        f'"""Feeds {path.name}: `knight quant -m {path.name} -uds THIS_FILE -if {name} -i 100`."""',
        "",
        "import numpy as np",
        "from onnx_quantize_tool.common.register import onnx_infer_func",
        "",
        "",
        "def load_sample(number, folder):",
        '    """The numbers of one sample, an array per input. Replace the random ones with your data."""',
        "    random = np.random.default_rng(number)",
        "    return [",
    ]
    for value in inputs:
        dtype = value.dtype.numpy() if value.dtype is not None else "float32"
        shape = tuple(_shape(value))
        numbers = (
            f"random.normal(size={shape}).astype(np.float32)"
            if str(dtype) == "float32"
            else f"np.ones({shape}, np.{dtype})"
        )
        lines.append(f"        {numbers},  # {value.name}")
    lines += [
        "    ]",
        "",
        "",
        f'@onnx_infer_func.register("{name}")',
        f"def {name}(executor):",
        '    """Feeds `-i` samples; returns a metric, or None where there is none."""',
        "    for number in range(executor.iteration):",
        "        # -d becomes executor.dataset; `outputs` is a list of arrays, one per output of the model.",
        "        outputs = executor.forward(*load_sample(number, executor.dataset))",
        "        # Compare `outputs` with the sample's label here, and count what is right.",
        "        if executor.early_stop_flag:  # more samples would change nothing",
        "            break",
        "    return None  # for instance: right / total",
    ]
    return "\n".join(lines) + "\n"


def run_config(path: Path | None) -> str:
    """A run-config with a quant and a compare section."""
    from knight.targets import DEFAULT_CHIP

    assert path is not None
    inputs = _inputs(path)
    quant: dict[str, Any] = {"model": str(path), "save-dir": "out", "quant-mode": "kl", "iteration": 100}
    if _picture(inputs) is not None:
        grey = _shape(inputs[0])[1] == 1
        colour: dict[str, Any] = {"color_space": "GRAY"} if grey else {"preset": "imagenet-torch"}
        quant["infer-func"] = "infer_default"
        quant["input-configs"] = [{**colour, "data_dir": "pictures", "calculate_acc": True}]
    else:
        quant["infer-func"] = "infer_auto"
        quant["iteration"] = 1
    document = {
        "chip": DEFAULT_CHIP,
        "quant": quant,
        "compare": {"save-dir": "out/compare", "iteration": min(20, quant["iteration"])},
    }
    return json.dumps(document, indent=2) + "\n"


def chip(path: Path | None) -> str:
    """A chip file that extends the default family."""
    from knight.targets import DEFAULT_CHIP

    return f"""\
# A chip of your own: `knight --chip ./my_chip.toml quant ...`. What is not said here is taken from the family
# that is extended; `knight chips` lists the families and their chips.
extends = "{DEFAULT_CHIP}"
description = "my chip"
source = "where its facts are published"

# [activation]
# signed = true        # int8, else uint8
# symmetric = true     # no zero point

# [weight]
# per_channel = true   # one scale per output channel, else one per tensor

# [operators]
# anchors = ["Conv", "Gemm", "MatMul"]   # worth running as integers by themselves
"""


TEMPLATES: Mapping[str, Callable[[Path | None], str]] = {
    "script": script,
    "run-config": run_config,
    "chip": chip,
}


def schema() -> str:
    """The JSON schema of a run-config, made of the tables of flags."""
    from knight.cli._compare_flags import COMPARE
    from knight.tasks._config import keys

    sections = {"convert": CONVERT, "quant": QUANT, "compare": COMPARE, "infer": INFER}
    entry = {
        "type": "object",
        "properties": {key: {} for key in keys()},
        "required": ["data_dir"],
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {"chip": {"type": "string"}}
    for name, flags in sections.items():
        known = {flag.names[-1].lstrip("-"): _flag(flag) for flag in flags if flag.key != "run_config"}
        if name != "convert":
            known["input-configs"] = {"type": ["array", "string"], "items": entry}
        properties[name] = {"type": "object", "properties": known, "additionalProperties": False}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Arguments of knight, by subcommand",
        "type": "object",
        "properties": {
            **properties,
            **{name: {"type": "object"} for name in ("compile", "run", "profiling")},
        },
        "additionalProperties": False,
    }
    return json.dumps(document, indent=2) + "\n"


_TYPES: dict[type, Any] = {bool: ["boolean", "string"], str: "string"}


def _flag(flag: Flag) -> dict[str, Any]:
    single: dict[str, Any] = {"type": _TYPES.get(flag.kind, ["number", "string"])}
    found: dict[str, Any] = {"description": flag.help}
    if flag.choices and not flag.several:
        found["enum"] = list(flag.choices)
    elif flag.several:
        found |= {
            "type": [*([single["type"]] if isinstance(single["type"], str) else single["type"]), "array"]
        }
    else:
        found |= single
    return found
