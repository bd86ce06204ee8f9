"""From a traced torch module to an ONNX graph, call by call."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx, nn

from knight.converters import Feeds
from knight.converters.pytorch._alias import changed_by, is_in_place, same_elements, shares, update_views
from knight.converters.pytorch._calling import names_of_inputs
from knight.converters.pytorch._proxy import NeedsFixedSizes
from knight.converters.pytorch._trace import Trace, trace
from knight.converters.pytorch._translator import Translator, numpy_type
from knight.converters.pytorch.ops import table
from knight.errors import ModelError
from knight.listener import SILENT, Listener

Probe = Callable[[Feeds, Sequence[str]], Mapping[str, np.ndarray]]
Axes = Mapping[str, Mapping[int, str]]


class Untranslatable(ModelError):
    """The model uses operators that have no translation, or in a way that has none."""


def convert_module(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    concrete_args: Mapping[str, Any] | None = None,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    dynamic_axes: Axes | None = None,
    listener: Listener = SILENT,
) -> tuple[ir.Model, Probe]:
    """An ONNX model of `module`, and a probe for its intermediate values.

    input_names, output_names: for the ONNX model; a missing one is taken from forward's parameters, or is
    ``output``. dynamic_axes: names of open dimensions, by input and axis. Raises Untranslatable, which lists
    every operator without translation with the user's line.
    """
    names = names_of_inputs(module, len(inputs), input_names, concrete_args)
    reason: ModelError | NeedsFixedSizes | None = None
    decisive: Axes | None = None  # the code decides by these sizes, whatever the examples
    for axes, runs in _attempts(inputs, names, dynamic_axes or {}):
        if axes == decisive:
            continue
        try:
            converted = _Conversion(trace(module, runs, concrete_args, listener), names, output_names, axes)
            result = converted.result()
        except (ModelError, NeedsFixedSizes) as error:
            if len(runs) == 1:
                raise
            reason = reason or error
            decisive = axes if isinstance(error, NeedsFixedSizes) else decisive
            continue
        if reason is not None and axes != dynamic_axes:
            what = "only the batch is open, other sizes are" if axes else "the model is fixed to the sizes"
            listener.warn(f"{what} of the example inputs: {reason}")
        return result
    raise AssertionError("the last attempt returns or raises")


def _attempts(
    inputs: Sequence[torch.Tensor], names: Sequence[str], axes: Axes
) -> Iterator[tuple[Axes, list[list[torch.Tensor]]]]:
    """What to leave open, with examples in two sizes: all that is asked for, else the batch, else nothing.

    Code may take no larger sizes, or want one size where the user gave two names.
    """
    batch = {name: {0: found[0]} for name, found in axes.items() if 0 in found}
    ways = [(axes, _multiples), (axes, _one_batch), (axes, _fractions)]
    ways += [(batch, _multiples), (batch, _one_batch)] if batch != axes else []
    for opened, others in ways:
        sizes = _open_sizes(inputs, names, opened)
        other = others(sizes, {found[0] for found in batch.values()})
        if other:
            yield opened, [_resized(inputs, names, opened, found) for found in (sizes, other)]
    yield {}, [list(inputs)]


def _open_sizes(inputs: Sequence[torch.Tensor], names: Sequence[str], axes: Axes) -> dict[str, int]:
    """Size of every open dimension, by its name; none is one, which would broadcast."""
    sizes: dict[str, int] = {}
    for name, value in zip(names, inputs, strict=True):
        for axis, label in axes.get(name, {}).items():
            sizes.setdefault(label, max(2, value.shape[axis]))
    return sizes


def _multiples(sizes: Mapping[str, int], batch: Collection[str]) -> dict[str, int]:
    """Other sizes, divisible by what these are; equal ones, as of height and width, part."""
    found: dict[str, int] = {}
    for label, size in sizes.items():
        factor = 2
        while size * factor in found.values():
            factor += 1
        found[label] = size * factor
    return found


def _one_batch(sizes: Mapping[str, int], batch: Collection[str]) -> dict[str, int]:
    """As `_multiples`, but what is called batch by several names is one."""
    if len(batch) < 2:
        return {}
    rest = {label: size for label, size in sizes.items() if label not in batch}
    return {**_multiples(rest, ()), **{label: sizes[label] * 2 for label in batch}}


def _fractions(sizes: Mapping[str, int], batch: Collection[str]) -> dict[str, int]:
    """Smaller sizes, but for the batch, for code that takes no larger ones."""
    found: dict[str, int] = {label: sizes[label] * 2 for label in batch}
    for label, size in sizes.items():
        if label not in batch:
            smaller = (part for part in range(size // 2, 1, -1) if part not in found.values())
            found[label] = next(smaller, size * 2)
    return found if any(found[label] < size for label, size in sizes.items()) else {}


def _resized(
    inputs: Sequence[torch.Tensor], names: Sequence[str], axes: Axes, sizes: Mapping[str, int]
) -> list[torch.Tensor]:
    """The inputs, repeated or cut to `sizes`."""
    run = []
    for name, value in zip(names, inputs, strict=True):
        for axis, label in axes.get(name, {}).items():
            value = value.index_select(axis, torch.arange(sizes[label]) % value.shape[axis])
        run.append(value)
    return run


class _Conversion:
    """One run over the graph of a trace."""

    def __init__(self, traced: Trace, names: Sequence[str], output_names: Sequence[str], axes: Axes) -> None:
        self._traced = traced
        self._names = names
        self._output_names = list(output_names)
        self._axes = axes
        self._t = Translator(type(traced.root).__name__)
        self._env: dict[fx.Node, Any] = {}
        self._inputs: list[ir.Value] = []
        self._constants: dict[str, ir.Value] = {}
        self._order = {node: place for place, node in enumerate(traced.graph.nodes)}

    def result(self) -> tuple[ir.Model, Probe]:
        """The model and its probe. Raises Untranslatable."""
        self._check_known()
        for node in self._traced.graph.nodes:
            self._translate(node)
        named = {
            str(value.name): node
            for node, value in self._env.items()
            if isinstance(value, ir.Value) and node.op.startswith("call") and value.producer() is not None
        }
        return self._t.model(), _probe(self._traced, self._names, named)

    def _check_known(self) -> None:
        known = table()
        unknown: dict[str, list[str]] = {}
        for node in self._traced.graph.nodes:
            if node.meta.get("constant") is not None:
                continue
            if node.op.startswith("call") and self._key(node) not in known:
                where = f"{node.meta['layer'] or 'forward'} at {node.meta['place']}"
                unknown.setdefault(self._label(node), []).append(where)
        if unknown:
            listed = "; ".join(
                f"{label} ({', '.join(places[:3])})" for label, places in sorted(unknown.items())
            )
            raise Untranslatable(f"{len(unknown)} operators have no translation: {listed}")

    def _key(self, node: fx.Node) -> object:
        if node.op != "call_module":
            return node.target
        module = type(self._traced.root.get_submodule(str(node.target)))
        return next((kind for kind in module.__mro__ if kind in table()), module)

    def _label(self, node: fx.Node) -> str:
        target: Any = self._key(node)
        if node.op == "call_method":
            return f"Tensor.{target}"
        return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}".removeprefix(".")

    def _translate(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._env[node] = self._input(node)
        elif node.op == "get_attr":
            self._env[node] = self._constant(str(node.target), node.meta["examples"][0])
        elif node.op == "output":
            self._outputs(node)
        elif node.meta["constant"] is not None:
            with self._t.layer(self._layer(node)):
                self._env[node] = self._t.constant(node.meta["constant"].numpy())
        elif _is_written_to_itself(node):
            self._env[node] = self._argument(node.args[0])
        else:
            self._env[node] = self._called(node)
            if is_in_place(node):
                self._store(node)

    def _input(self, node: fx.Node) -> ir.Value:
        name, example = self._names[len(self._inputs)], node.meta["examples"][0]
        shape: list[int | str | None] = list(example.shape)
        for axis, label in self._axes.get(name, {}).items():
            shape[axis] = label
        value = self._t.input(name, numpy_type(example), shape)
        self._inputs.append(value)
        return value

    def _constant(self, name: str, tensor: torch.Tensor) -> ir.Value:
        if name not in self._constants:
            array = tensor.detach().cpu().numpy()
            self._constants[name] = self._t.constant(array, name)
        return self._constants[name]

    def _called(self, node: fx.Node) -> Any:
        t = self._t
        handler = table()[self._key(node)]
        t.examples = node.meta["examples"]
        t.inputs = [[_example_of(arg, run) for arg in node.args] for run in range(len(t.examples))]
        args = fx.node.map_aggregate(node.args, self._argument)
        kwargs = fx.node.map_aggregate(node.kwargs, self._argument)
        extra = (self._traced.root.get_submodule(str(node.target)),) if node.op == "call_module" else ()
        layer = self._layer(node)
        try:
            with t.layer(layer):
                result = handler(t, *extra, *args, **dict(kwargs))
        except ModelError as error:
            raise Untranslatable(f"{node.meta['place']}: {self._label(node)}: {error}") from error
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise Untranslatable(f"{node.meta['place']}: {self._label(node)}: {error}") from error
        if isinstance(result, ir.Value):
            self._settle(result, node)
            t.rename(result, layer)
        return result

    def _argument(self, arg: Any) -> Any:
        if isinstance(arg, fx.Node):
            return self._env[arg]
        if isinstance(arg, torch.Tensor):
            return self._t.constant(arg.detach().cpu().numpy())
        return arg

    def _settle(self, value: ir.Value, node: fx.Node) -> None:
        """Tells the graph the sizes that the trace knows."""
        examples = node.meta["examples"]
        if not isinstance(examples[0], torch.Tensor) or value.producer() is None:
            return
        known = list(value.shape) if value.shape is not None else [None] * examples[0].ndim
        sizes = list(zip(*(example.shape for example in examples), strict=True))
        if len(known) == len(sizes):
            value.shape = ir.Shape(
                [found[0] if len(set(found)) == 1 else dim for found, dim in zip(sizes, known, strict=True)]
            )

    def _layer(self, node: fx.Node) -> str:
        """The module's path for what torch's own modules do, with the function's name for the user's."""
        path, module = node.meta["layer"], node.meta["module"]
        if node.op == "call_module":
            return str(node.target)
        if path and module.__module__.startswith("torch.nn."):
            return str(path)
        return f"{path}.{_short(node)}".removeprefix(".")

    def _store(self, node: fx.Node) -> None:
        """After a change in place, everybody who holds the tensor sees the new values."""
        target = changed_by(node)
        if target is None:
            return
        before = target.meta["examples"][0]
        changed: list[fx.Node] = []
        views: list[fx.Node] = []
        for other in self._env:
            example = other.meta.get("examples", [None])[0]
            if other is node or not isinstance(example, torch.Tensor) or not shares(example, before):
                continue
            (changed if same_elements(example, before) else views).append(other)
        self._env.update((alias, self._env[node]) for alias in changed)
        if any(map(self._is_used_after(node), views)):
            self._update_views(node, changed, views)

    def _update_views(self, node: fx.Node, changed: Sequence[fx.Node], views: Sequence[fx.Node]) -> None:
        with self._t.layer(self._layer(node)):
            left = update_views(self._t, self._env, changed, views)
        for other in filter(self._is_used_after(node), left):
            raise Untranslatable(
                f"{node.meta['place']}: {self._label(node)} changes a tensor in place that is also seen "
                f"through a view ({other.name}) in a way that has no ONNX form; "
                f"write it as an assignment: y = y.mul(2)"
            )

    def _is_used_after(self, node: fx.Node) -> Callable[[fx.Node], bool]:
        return lambda other: any(self._order[user] > self._order[node] for user in other.users)

    def _outputs(self, node: fx.Node) -> None:
        values = [
            value for value in _flat(fx.node.map_aggregate(node.args[0], self._argument)) if value is not None
        ]
        for place, value in enumerate(values):
            names = self._output_names
            name = names[place] if place < len(names) else "output" if place == 0 else f"output_{place}"
            if not isinstance(value, ir.Value):
                value = self._t.value(value)
            self._t.output(value, name)


def _probe(traced: Trace, names: Sequence[str], nodes: Mapping[str, fx.Node]) -> Probe:
    def probe(feeds: Feeds, wanted: Sequence[str]) -> Mapping[str, np.ndarray]:
        asked = {nodes[name]: name for name in wanted if name in nodes}
        found: dict[str, np.ndarray] = {}
        with torch.no_grad():
            for node, value in traced.run([torch.from_numpy(np.array(feeds[name])) for name in names]):
                if node in asked and isinstance(value, torch.Tensor):
                    found[asked[node]] = value.detach().clone().numpy()
        return found

    return probe


def _example_of(arg: Any, run: int) -> Any:
    return fx.node.map_arg(arg, lambda node: node.meta["examples"][run])


def _short(node: fx.Node) -> str:
    target = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    return str(name).strip("_")


def _is_written_to_itself(node: fx.Node) -> bool:
    """``x[i] += y``: Python changes x[i] in place, and then assigns it to the place where it is."""
    if node.target is not operator.setitem:
        return False
    base, index, value = _example_of(node.args, 0)
    if not isinstance(value, torch.Tensor) or not shares(value, base):
        return False
    place = base[index]
    return shares(place, value) and same_elements(place, value)


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        for value in values:
            yield from _flat(value)
    else:
        yield values
