"""From a torch module to ONNX: Knight's own way through torch.fx first, then torch's two exporters."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn

from knight.converters import Conversion
from knight.converters.pytorch._calling import call, names_of_inputs
from knight.converters.pytorch._fx import convert_module
from knight.converters.pytorch._loaded import Loaded, layer_probe, reference_of, tensors
from knight.errors import ModelError
from knight.executor import described
from knight.listener import Listener
from knight.model import name_of

OPSET = 18
"""Of torch's exporters; both give newer ones only partly."""

_SCOPES = "pkg.torch.onnx.name_scopes"


def convert_loaded(loaded: Loaded, listener: Listener) -> Conversion:
    """Raises ModelError with the reasons of every way that failed."""
    if isinstance(loaded.module, torch.jit.ScriptModule):
        return convert_script(loaded, listener)
    try:
        model, probe = convert_module(
            loaded.module,
            loaded.inputs,
            concrete_args=loaded.concrete_args,
            input_names=loaded.input_names,
            output_names=loaded.output_names,
            dynamic_axes=loaded.dynamic_axes,
            listener=listener,
        )
    except ModelError as reason:
        return _fall_back(loaded, reason, listener)
    names = [name_of(value) for value in model.graph.inputs]
    return Conversion(model, reference_of(loaded, names), probe=probe, examples=_examples(loaded, names))


def _examples(loaded: Loaded, names: list[str]) -> tuple[dict[str, Any], ...]:
    arrays = (tensor.numpy() for tensor in loaded.inputs)
    return (dict(zip(names, arrays, strict=True)),)


def _fall_back(loaded: Loaded, reason: ModelError, listener: Listener) -> Conversion:
    failures = [f"torch.fx: {reason}"]
    ways: dict[str, Callable[[Loaded], ir.Model]] = {
        "torch.export": _by_export,
        "the TorchScript exporter": _by_script,
    }
    for title, way in ways.items():
        listener.work(f"Trying {title}")
        try:
            with quiet():
                model = way(loaded)
            check_standard(model)
        except Exception as error:  # exporters raise everything; what they say is collected and told
            failures.append(f"{title}: {_first(error)}")
            continue
        listener.warn(f"converted by {title}, not by torch.fx, because {reason}")
        names = [name_of(value) for value in model.graph.inputs]
        probe = layer_probe(loaded, names)
        return Conversion(model, reference_of(loaded, names), probe=probe, examples=_examples(loaded, names))
    raise ModelError("no way converts this model: " + " | ".join(failures)) from reason


def _first(error: Exception) -> str:
    return described(error)[:300]


class _WithArguments(nn.Module):
    """A module whose forward has its concrete arguments already."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.wrapped = loaded.module
        self._arguments = dict(loaded.concrete_args)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return call(self.wrapped, inputs, self._arguments)


def _exportable(loaded: Loaded) -> nn.Module:
    return _WithArguments(loaded).eval() if loaded.concrete_args else loaded.module


def _by_export(loaded: Loaded) -> ir.Model:
    names = names_of_inputs(loaded.module, len(loaded.inputs), loaded.input_names, loaded.concrete_args)
    example = [
        _not_one(value, loaded.dynamic_axes.get(name, {}))
        for name, value in zip(names, loaded.inputs, strict=True)
    ]
    dims: dict[str, Any] = {}
    shapes = tuple(
        {
            axis: dims.setdefault(label, torch.export.Dim(label))
            for axis, label in loaded.dynamic_axes.get(name, {}).items()
        }
        for name in names
    )
    module = _exportable(loaded)
    program = torch.onnx.export(
        module,
        tuple(example),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=(shapes,) if isinstance(module, _WithArguments) else shapes if dims else None,
        input_names=names,
        output_names=_output_names(loaded),
        verbose=False,
    )
    assert program is not None
    program.optimize()
    model = program.model
    name_after_scopes(model)
    return model


def _not_one(value: torch.Tensor, open_axes: Mapping[int, str]) -> torch.Tensor:
    """An example without an open dimension of one: torch.export takes that size for a fixed one."""
    for axis in open_axes:
        if value.shape[axis] == 1:
            value = torch.cat([value, value], axis)
    return value


def name_after_scopes(model: ir.Model) -> None:
    """Gives the nodes of a torch.export result the paths of their modules, which their metadata keep."""
    taken: set[str] = set()
    for node in model.graph:
        scopes = node.metadata_props.get(_SCOPES)
        path = ast.literal_eval(scopes)[-2:] if scopes else []
        _name(node, (path[0] if path else "").removeprefix("wrapped."), taken)


def _by_script(loaded: Loaded) -> ir.Model:
    names = names_of_inputs(loaded.module, len(loaded.inputs), loaded.input_names, loaded.concrete_args)
    return script_export(_WithArguments(loaded).eval(), loaded, names)


def script_export(module: nn.Module, loaded: Loaded, names: list[str]) -> ir.Model:
    """The result of torch's older exporter, with nodes named after the paths of their modules."""
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        tuple(loaded.inputs),
        buffer,  # type: ignore[arg-type]  # torch takes files here, and says paths
        dynamo=False,
        opset_version=OPSET,
        input_names=names,
        output_names=_output_names(loaded),
        dynamic_axes={name: dict(axes) for name, axes in loaded.dynamic_axes.items()},
    )
    model = ir.from_proto(onnx.load_from_string(buffer.getvalue()))
    taken: set[str] = set()
    for node in model.graph:
        _name(node, _path_of(node.name or "").removeprefix("wrapped."), taken)
    return model


def _output_names(loaded: Loaded) -> list[str]:
    """The user's names, then ``output``, ``output_1`` and so on."""
    with torch.no_grad():
        count = len(tensors(call(loaded.module, loaded.inputs, loaded.concrete_args)))
    given = list(loaded.output_names)[:count]
    return [*given, *(f"output_{i}" if i else "output" for i in range(len(given), count))]


def _path_of(name: str) -> str:
    """``/layer1/layer1.0/conv1/Conv`` is of layer1.0.conv1: a part that repeats the last continues it."""
    path, last = "", ""
    for part in name.strip("/").split("/")[:-1]:
        step = part.removeprefix(f"{last}.") if last and part.startswith(f"{last}.") else part
        path, last = f"{path}.{step}".strip("."), part
    return path


def _name(node: ir.Node, path: str, taken: set[str]) -> None:
    """Names `node` and its result after the module; its second and later ones also after the operator."""
    if not path or node.op_type == "Constant":
        return
    name = path if path not in taken else f"{path}/{node.op_type}"
    number = 1
    while name in taken:
        number += 1
        name = f"{path}/{node.op_type}_{number}"
    taken.add(name)
    node.name = name
    if len(node.outputs) == 1 and not node.outputs[0].is_graph_output():
        node.outputs[0].name = name


def convert_script(loaded: Loaded, listener: Listener) -> Conversion:
    """A TorchScript module, by the TorchScript exporter: nothing else reads it."""
    names = names_of_inputs(loaded.module, len(loaded.inputs), loaded.input_names, loaded.concrete_args)
    listener.detail("TorchScript goes through torch's TorchScript exporter")
    try:
        with quiet():
            module = loaded.module
            if loaded.concrete_args:  # the exporter takes no arguments but tensors
                trace: Callable[..., Any] = torch.jit.trace
                module = trace(_exportable(loaded), tuple(loaded.inputs), check_trace=False)
            model = script_export(module, loaded, names)
    except Exception as error:  # as above
        raise ModelError(f"torch's TorchScript exporter failed: {_first(error)}") from error
    check_standard(model)
    return Conversion(model, reference_of(loaded, names), examples=_examples(loaded, names))


def check_standard(model: ir.Model) -> None:
    """Raises ModelError naming every operator that is no standard ONNX."""
    strange = sorted(
        {
            f"{n.domain}::{n.op_type} ({n.name})"
            for n in model.graph.all_nodes()
            if n.domain not in ("", "ai.onnx")
        }
    )
    local = {function.name for function in model.functions.values()}
    strange = [item for item in strange if item.partition("::")[2].partition(" ")[0] not in local]
    if strange:
        raise ModelError(f"operators that are no standard ONNX: {', '.join(strange)}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporters' reports and warnings from the terminal."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
