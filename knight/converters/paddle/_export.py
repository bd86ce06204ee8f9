"""Runs paddle2onnx in a process of its own: it ends the process where it cannot translate something."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import onnx
import onnx_ir as ir

from knight.converters._sandbox import die_with_parent
from knight.converters.paddle._program import Operation, Program
from knight.errors import ModelError

OPSET = 17
_SCRIPT = """
import os, sys, tempfile, warnings
warnings.simplefilter("ignore")
os.environ["GLOG_minloglevel"] = "3"
os.environ["HOME"] = tempfile.gettempdir()  # paddle makes folders there
import paddle
from paddle2onnx import paddle2onnx_cpp2py_export as exporter
program, weights, target, opset, list_only = sys.argv[1:]
if list_only == "1":
    print("\\n".join(exporter.get_all_supported_operators_pir()))
else:
    # may raise the opset, verbose, checker, experimental operators, optimize (would drop names), custom
    # operators, backend, calibration file, external file, half precision
    options = (True, False, True, True, False, {}, "onnxruntime", "", "", False)
    data = exporter.export(program, weights, int(opset), *options)
    with open(target, "wb") as file:
        file.write(data)
sys.stdout.flush()
os._exit(0)
"""
_COMPLAINT = re.compile(r"\[Paddle2ONNX\]\s*(\[OP: pd_op\.(\w+)\]|\[\w+\])?\s*(.+)")
_HELD = ("Start parsing", "Use opset", "exported as ONNX", "Due to the unsupported", "unsupported features")
_RENAMED = {
    "add": "elementwise_add", "subtract": "elementwise_sub", "multiply": "elementwise_mul",
    "divide": "elementwise_div", "maximum": "elementwise_max", "minimum": "elementwise_min",
    "floor_divide": "elementwise_floordiv", "remainder": "elementwise_mod", "matmul": "matmul_v2",
    "mean": "reduce_mean", "sum": "reduce_sum", "max": "reduce_max", "min": "reduce_min",
    "prod": "reduce_prod",
    "all": "reduce_all", "any": "reduce_any", "flatten": "flatten_contiguous_range", "expand": "expand_v2",
    "hardswish": "hard_swish", "hardsigmoid": "hard_sigmoid", "argmax": "arg_max", "argmin": "arg_min",
    "topk": "top_k_v2", "unsqueeze": "unsqueeze2", "nonzero": "where_index", "arange": "range",
    "add_n": "sum",
    "reverse": "flip", "grid_sample": "grid_sampler", "amax": "reduce_max", "amin": "reduce_min",
}  # fmt: skip
"""Operators that paddle2onnx lists under the name of an earlier Paddle."""
_OF_THE_PROGRAM = {"data", "feed", "fetch", "parameter", "combine", "split", "slice", "if", "while", "yield"}


def export(program: Program, weights: Path | None, folder: Path) -> ir.Model:
    """`program` as ONNX, with the names that paddle2onnx gives. Raises ModelError."""
    source, target = folder / "export.json", folder / "export.onnx"
    program.with_float_attributes().write(source)
    done = _run(str(source), str(weights or ""), str(target), str(OPSET), "0")
    if not target.is_file():
        raise ModelError(_explain(program, done.stdout + done.stderr, done.returncode))
    proto = onnx.load(target)
    _check_whole(proto)
    return ir.from_proto(proto)


def _check_whole(proto: onnx.ModelProto) -> None:
    """Raises ModelError where nodes read what nothing computes: an operator is translated in part only."""
    known = (
        {""} | {value.name for value in proto.graph.input} | {value.name for value in proto.graph.initializer}
    )
    for node in proto.graph.node:
        known.update(node.output)
    missing = {name for node in proto.graph.node for name in node.input if name not in known}
    missing.update(value.name for value in proto.graph.output if value.name not in known)
    if missing:
        kinds = sorted({name.split(".")[2] if name.count(".") > 2 else name for name in missing})
        raise ModelError(f"paddle2onnx cannot translate {', '.join(kinds)}: it leaves out the result")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=die_with_parent,
    )


def _explain(program: Program, log: str, code: int) -> str:
    if "unsupported operators" in log:
        return "paddle2onnx cannot translate " + (
            _unsupported(program) or "an operator that it does not name"
        )
    said = []
    for _, name, text in _COMPLAINT.findall(log):
        if not any(known in text for known in _HELD):
            where = f"{name}{_where(program, name)}: " if name else ""
            said.append(where + text.strip().rstrip("."))
    open_inputs = any(size < 0 for shape in program.inputs.values() for size in shape)
    advice = "; fixed input shapes (-is) may help" if open_inputs and "tatic" in log else ""
    if not said:
        errors = [line.strip() for line in log.splitlines() if "rror" in line and "Summary" not in line]
        said = errors[-1:] or [f"it ended with code {code}"]
    return f"paddle2onnx cannot translate this model: {'; '.join(dict.fromkeys(said))}{advice}"


def _unsupported(program: Program) -> str:
    """All operators of `program` that paddle2onnx does not list, with the layers that they are in."""
    known = set(_run("", "", "", "0", "1").stdout.split())
    found: dict[str, list[str]] = {}
    for op in program.operations:
        names = {op.short, _RENAMED.get(op.short, op.short), op.name.partition(".")[2]}
        if not names & (known | _OF_THE_PROGRAM):
            found.setdefault(op.short, []).append(_layer(op))
    return ", ".join(f"{name}{_listed(layers)}" for name, layers in found.items())


def _where(program: Program, name: str) -> str:
    return _listed([_layer(op) for op in program.operations if op.name == f"pd_op.{name}"])


def _listed(layers: list[str]) -> str:
    named = list(dict.fromkeys(layer for layer in layers if layer))
    times = f" ({len(layers)} times)" if len(layers) > 1 else ""
    return f"{times} in {', '.join(named)}" if named else times


def _layer(op: Operation) -> str:
    return str(op.attributes.get("struct_name", "")).strip("/")
