"""Traces a torch module into an fx graph whose nodes carry what they computed for the examples.

torch.fx records what happens to proxies and gives up where Python wants to know a number. Here every proxy
has example results, of one set of inputs, or of two that differ in the open dimensions: what depends on fixed
sizes alone is plain Python (len, range, isinstance, asserts, conditions, computed shapes), what depends on
open sizes stays symbolic, and what depends on the data is an error with the user's own line and a remedy.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import fx, nn

from knight.converters.pytorch._alias import changed_by, is_in_place, shares
from knight.converters.pytorch._calling import arguments
from knight.converters.pytorch._places import called_by_torch, is_assert, user_place
from knight.converters.pytorch._proxy import NeedsFixedSizes, Proxy, holds_tensor, length_of, seems
from knight.errors import KnightError, ModelError
from knight.executor import described
from knight.listener import SILENT, Listener

LEAVES = (nn.LSTM, nn.GRU, nn.RNN)
"""Modules that stay whole: their forward is written for the machine, not for readers."""

FACTORIES = (
    "zeros",
    "ones",
    "empty",
    "full",
    "arange",
    "linspace",
    "eye",
    "tensor",
    "as_tensor",
    "scalar_tensor",
    "meshgrid",
)
"""Functions that torch does not hand to a tracer, whose results users fill with data."""

METHODS = ("expand", "repeat", "view", "reshape", "tile", "new_zeros", "new_ones", "new_full", "narrow")
"""Methods of plain tensors that may be called with a traced size."""

_READS = frozenset(
    {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero", "unique"}
)
_INPUT = "input_"


@dataclass(frozen=True)
class Trace:
    """A traced module. root: what the graph's parameters belong to. open: the open dimensions, by input."""

    root: nn.Module
    graph: fx.Graph

    def run(self, inputs: Sequence[torch.Tensor]) -> Iterator[tuple[fx.Node, Any]]:
        """Every node with its result for `inputs`, in order."""
        results: dict[fx.Node, Any] = {}
        given = iter(inputs)
        for node in self.graph.nodes:
            if node.op == "output":
                return
            results[node] = (
                next(given) if node.op == "placeholder" else _call(self.root, node, results.__getitem__)
            )
            yield node, results[node]


def trace(
    module: nn.Module,
    inputs: Sequence[Sequence[torch.Tensor]],
    concrete_args: Mapping[str, Any] | None = None,
    listener: Listener = SILENT,
) -> Trace:
    """Traces `module` with one or two sets of example `inputs`.

    concrete_args: arguments of forward that are not tensors. Raises ModelError naming the user's line where
    the way through the code depends on the data.
    """
    if isinstance(module, LEAVES):
        module = _Whole(module)
    tracer = _Tracer(inputs, concrete_args or {}, listener)
    with torch.no_grad(), tracer.factories():
        try:
            graph = tracer.trace(module)
        except (KnightError, NeedsFixedSizes):
            raise
        except Exception as error:
            place = user_place(error) or "forward"
            raise ModelError(f"{place}: {described(error)}") from error
    return Trace(tracer.root, graph)


class _Whole(nn.Module):
    """What holds a leaf module that is the whole model."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: Any) -> Any:
        return self.layer(*args)


class _Tracer(fx.Tracer):
    """fx's tracer, with example results in ``node.meta``.

    meta: examples (one result per run), place (the user's ``file:line``), layer (path of the module).
    """

    def __init__(
        self, inputs: Sequence[Sequence[torch.Tensor]], concrete_args: Mapping[str, Any], listener: Listener
    ) -> None:
        super().__init__()
        self._listener = listener
        self._concrete_args = concrete_args
        self._inputs = [[value.detach().clone() for value in run] for run in inputs]
        self._computing = False

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """One placeholder per input; every other argument of forward is concrete, or has its default."""
        count = len(self._inputs[0])
        values = [self.create_proxy("placeholder", f"{_INPUT}{i}", (), {}) for i in range(count)]
        args, kwargs = arguments(self.root, values, self._concrete_args)
        return partial(root_fn, **kwargs), [self.root, *args]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Proxy(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["place"] = user_place()
        node.meta["layer"] = self._layer()
        node.meta["module"] = self._module()
        node.meta["examples"] = [self._example(node, run) for run in range(len(self._inputs))]
        node.meta["data"] = self._depends_on_data(node)
        node.meta["constant"] = _constant(node)
        if is_in_place(node) and node.meta["data"]:
            self._mark_changed(node)
        return node

    def _mark_changed(self, node: fx.Node) -> None:
        """What shares memory with the changed tensor depends on data from now on.

        Data that is written to a tensor which was there before has no place in a graph.
        """
        target = changed_by(node)
        before = None if target is None else target.meta["examples"][0]
        if target is None or not isinstance(before, torch.Tensor):
            return
        for other in self.graph.nodes:
            example = other.meta.get("examples", [None])[0]
            if isinstance(example, torch.Tensor) and shares(example, before):
                other.meta["data"] = True
        if target.op == "get_attr":
            raise ModelError(
                f"{node.meta['place']}: data is written to a tensor that is no result of the inputs (a "
                f"buffer, or one made beforehand), and the ONNX model keeps nothing from run to run; "
                f"make it in forward with torch.zeros(...), or join the parts with torch.cat or torch.stack"
            )

    def create_arg(self, a: Any) -> Any:
        return a.node if type(a) is Proxy else super().create_arg(a)  # before fx asks whether it is a tensor

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        return self._as_python(super().create_proxy(*args, **kwargs))

    def _layer(self) -> str:
        stack = list(getattr(self, "module_stack", {}).values())
        return str(stack[-1][0]) if stack else ""

    def _module(self) -> type[nn.Module]:
        path = self._layer()
        return type(self.root.get_submodule(path)) if path else type(self.root)

    def _example(self, node: fx.Node, run: int) -> Any:
        if node.op == "placeholder":
            return self._inputs[run][int(str(node.target).removeprefix(_INPUT))]
        if node.op == "output":
            return None
        self._computing = True  # what runs now is not to be traced
        try:
            return _call(self.root, node, lambda other: other.meta["examples"][run])
        finally:
            self._computing = False

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._computing:
            return attr_val
        # Weights stored as integers are traced: what dequantizes them is part of the model.
        self.proxy_buffer_attributes = getattr(attr_val, "dtype", None) in (torch.int8, torch.uint8)
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._computing or m not in self.root.modules():  # one that forward made for itself
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def _depends_on_data(self, node: fx.Node) -> bool:
        if node.op == "placeholder":
            return True
        if node.op == "call_method" and node.target in (
            "size",
            "dim",
            "numel",
            "ndimension",
            "is_contiguous",
        ):
            return False
        return any(other.meta.get("data", False) for other in node.all_input_nodes)

    def _as_python(self, proxy: fx.Proxy) -> Any:
        """The proxy itself, or what it stands for where that is no tensor and the same in all runs."""
        node = proxy.node
        examples = node.meta["examples"]
        if node.op in ("placeholder", "get_attr", "output") or holds_tensor(examples[0]):
            return proxy
        if node.op == "call_function" and node.target is operator.setitem:
            return proxy
        if node.op == "call_method" and node.target in _READS and node.meta["data"]:
            raise ModelError(
                f"{node.meta['place']}: .{node.target}() makes a Python number of data, so that the model "
                f"would be fixed to this sample; keep it a tensor (torch.where instead of if), "
                f"or give it in concrete_args"
            )
        if all(_same(examples[0], other) for other in examples[1:]):
            self.graph.erase_node(node)
            return examples[0]
        if isinstance(examples[0], (tuple, list)):
            return tuple(
                self.create_proxy("call_function", operator.getitem, (proxy, i), {})
                for i in range(len(examples[0]))
            )
        return proxy

    def to_bool(self, obj: fx.Proxy) -> bool:
        examples = obj.node.meta["examples"]
        if not obj.node.meta["data"] and isinstance(examples[0], (bool, int, float, torch.Tensor)):
            answers = {bool(example) for example in examples}
            if len(answers) == 1:
                return answers.pop()
            if is_assert(user_place()):
                raise ModelError(f"{user_place()}: an assert does not let every size pass")
            raise NeedsFixedSizes(f"{user_place()}: a condition depends on the size of an open dimension")
        if isinstance(examples[0], torch.Tensor) and is_assert(user_place()):
            self._listener.warn(
                f"{user_place()}: an assert looks at the data; the ONNX model does not check it"
            )
            return all(bool(example) for example in examples)
        raise ModelError(
            f"{user_place()}: a condition depends on the data, and ONNX has no such branch here; "
            f"write torch.where(condition, a, b), or give what decides in concrete_args"
        )

    def iter(self, obj: Any) -> Iterator[Any]:
        return iter([obj[i] for i in range(length_of(obj))])

    def keys(self, obj: fx.Proxy) -> Any:
        raise ModelError(f"{user_place()}: ** of a traced value; write its arguments one by one")

    @contextmanager
    def factories(self) -> Iterator[None]:
        """Lets the tracer see ``torch.zeros(x.shape[0], 4)`` and its like."""
        with ExitStack() as stack:
            for name in FACTORIES:
                stack.enter_context(mock.patch.object(torch, name, self._seeing(getattr(torch, name))))
            stack.enter_context(mock.patch.object(builtins, "isinstance", seems))
            wrapped = getattr(fx._symbolic_trace, "_wrapped_fns_to_patch", {})
            stack.enter_context(mock.patch.dict(wrapped, clear=True))  # fx.wrap hides what a function does
            for name in METHODS:
                method = self._seeing(getattr(torch.Tensor, name), name)
                stack.enter_context(mock.patch.object(torch.Tensor, name, method))
            stack.enter_context(mock.patch.object(torch.Tensor, "__getitem__", self._getitem()))
            yield

    def _getitem(self) -> Callable[[torch.Tensor, Any], Any]:
        """``mask[:, :t]`` of a plain tensor and a traced size."""
        original = torch.Tensor.__getitem__

        def seen(tensor: torch.Tensor, index: Any) -> Any:
            if any(isinstance(part, fx.Proxy) for part in _parts(index)):
                return self.create_proxy("call_function", operator.getitem, (tensor, index), {})
            return original(tensor, index)

        return seen

    def _seeing(self, function: Callable[..., Any], method: str = "") -> Callable[..., Any]:
        def seen(*args: Any, **kwargs: Any) -> Any:
            traced = any(isinstance(arg, fx.Proxy) for arg in _flat([*args, *kwargs.values()]))
            if traced or not (method or self._computing or called_by_torch()):
                kind = "call_method" if method else "call_function"
                return self.create_proxy(kind, method or function, args, kwargs)
            return function(*args, **kwargs)

        return seen


def _call(root: nn.Module, node: fx.Node, result_of: Callable[[fx.Node], Any]) -> Any:
    """What `node` gives when its arguments are the results of the nodes before it."""
    args = fx.node.map_arg(node.args, result_of)
    kwargs = fx.node.map_arg(node.kwargs, result_of)
    if node.op == "get_attr":
        found: Any = root
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return found
    if node.op == "call_module":
        return root.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _constant(node: fx.Node) -> torch.Tensor | None:
    """What `node` gives in every run, where that is a tensor that depends neither on data nor on open sizes.

    A copy: later changes in place are changes of another value.
    """
    examples = node.meta["examples"]
    if not node.op.startswith("call") or node.meta["data"] or is_in_place(node):
        return None
    if "quant" in str(node.target):  # of weights, the pair is wanted and not the rounded numbers
        return None
    if not all(isinstance(example, torch.Tensor) and example.is_leaf for example in examples):
        return None
    if not all(torch.equal(examples[0], other) for other in examples[1:]):
        return None
    constant: torch.Tensor = examples[0].clone()
    return constant


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _flat(value)
        else:
            yield value


def _parts(index: Any) -> Iterator[Any]:
    """All that an index consists of: the bounds of slices, too."""
    for item in _flat([index]):
        yield from (item.start, item.stop, item.step) if isinstance(item, slice) else (item,)
