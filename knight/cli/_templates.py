"""The texts of ``knight template``; each works at once for the model it was made for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knight.errors import ConfigError

if TYPE_CHECKING:
    import onnx_ir as ir

_PICTURE_SIZE, _OPEN_SIZE = 224, 256  # of dimensions that the model leaves open

_NUMBERS = {
    **dict.fromkeys(("float16", "float32", "float64"), "random.normal(size={shape}).astype(np.{dtype})"),
    **dict.fromkeys(("int8", "int16", "int32", "int64"), "np.ones({shape}, np.{dtype})"),
    **dict.fromkeys(("uint8", "uint16", "uint32", "uint64"), "np.ones({shape}, np.{dtype})"),
    "bool": "np.ones({shape}, np.{dtype})",
}
"""How the script makes random numbers of a type."""


def script(path: Path | None) -> str:
    """A user script with one infer function. Raises ConfigError for inputs that are no arrays of numbers."""
    from knight.cli._guess import fed, graph_of

    assert path is not None
    name = "infer_" + re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    inputs = fed(graph_of(path))
    if not inputs:
        raise ConfigError(f"model {path}: has no inputs, so that there is nothing for a script to feed")
    batches = {str(value.shape[0]) for value in inputs if value.shape and not isinstance(value.shape[0], int)}
    samples = "\n".join(
        f"        {_numbers(value, batches, path)},  # {_plain(f'{value.name} {value.shape}')}"
        for value in inputs
    )
    model = _plain(str(path))
    return f'''\
"""Feeds the model to quantize:

    knight quant -m {model} -uds THIS_FILE -if {name} -i 100
"""

import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func


def load_batch(number, batch_size, folder):
    """The numbers of one forward call, an array per input. Replace the random ones with your data."""
    random = np.random.default_rng(number)
    return [
{samples}
    ]


@onnx_infer_func.register("{name}")
def {name}(executor):
    """Makes `-i` forward calls; returns a metric, or None where there is none."""
    for number in range(executor.iteration):
        # -d becomes executor.dataset; `outputs` is a list of arrays, one per output of the model.
        outputs = executor.forward(*load_batch(number, executor.batch_size, executor.dataset))
        # Compare `outputs` with the labels here, and count what is right.
        if executor.early_stop_flag:  # more samples would change nothing
            break
    return None  # for instance: right / total
'''


def _plain(text: str | None) -> str:
    """`text` as it may stand in a comment or a docstring."""
    return "".join(sign if sign.isprintable() and sign not in '"\\' else "_" for sign in text or "")


def _numbers(value: ir.Value, batches: set[str], path: Path) -> str:
    """The expression for one input. `batches`: names of dimensions that are the batch."""
    import onnx_ir as ir

    tensor = value.dtype is not None and isinstance(value.type, ir.TensorType)
    dtype = str(value.dtype.numpy()) if value.dtype is not None and tensor else ""
    if dtype not in _NUMBERS or value.shape is None:
        what = "has no known shape" if dtype in _NUMBERS else f"is of type {value.type}"
        raise ConfigError(
            f"model {path}: input {value.name!r} {what}; a template feeds arrays of numbers only, "
            f"so write the script by hand"
        )
    dims = [_dim(dim, index, len(value.shape), batches) for index, dim in enumerate(value.shape)]
    return _NUMBERS[dtype].format(shape=f"({', '.join(dims)}{',' * (len(dims) == 1)})", dtype=dtype)


def _dim(dim: object, index: int, rank: int, batches: set[str]) -> str:
    if isinstance(dim, int):
        return str(dim)
    if index == 0 or str(dim) in batches - {"None"}:
        return "batch_size"
    return str(_PICTURE_SIZE if rank == 4 else _OPEN_SIZE)


def run_config(path: Path | None) -> str:
    """A run-config with a quant and a compare section."""
    from knight.cli._guess import graph_of, task
    from knight.targets import DEFAULT_CHIP

    assert path is not None
    quant: dict[str, Any] = {"model": str(path), "quant-mode": "kl", "iteration": 1, "save-dir": "out"}
    found = task(graph_of(path))
    if found is None:
        quant["infer-func"] = "infer_auto"
    else:
        function, entry = found
        quant |= {"infer-func": function, "iteration": 100}
        quant["input-configs"] = [{**entry, "data_dir": "pictures", "label_dir": ""}]
    compare = {"iteration": min(20, quant["iteration"]), "save-dir": "out/compare"}
    document = {"chip": DEFAULT_CHIP, "quant": quant, "compare": compare}
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

# schemes = ["w8a8", "w16a16"]   # bits of weights and activations that go together, the default first

# [activation]
# signed = true        # int8, else uint8
# symmetric = true     # no zero point

# [weight]
# signed = true        # int8, else uint8 around 128
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
    """The JSON schema of a run-config."""
    from knight.cli._schema import run_config as made

    return json.dumps(made(), indent=2) + "\n"
