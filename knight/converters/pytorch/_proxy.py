"""What users' code holds while it is traced: a value that knows its example results."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from knight.converters.pytorch._places import asked_by_library, user_place
from knight.errors import ModelError

_AS_METHOD = {"shape": "size", "T": "t", "mT": "adjoint", "data": "detach"}
_isinstance = isinstance


class NeedsFixedSizes(Exception):
    """Python wanted a number that depends on an open dimension; the message says where."""


class Proxy(fx.Proxy):
    """A traced value that knows its example results."""

    def _number(self, kind: Callable[[Any], Any]) -> Any:
        """A Python number, which the value has to be: the same in every run, and not of the data."""
        meta = self.node.meta
        if meta["data"] and holds_tensor(meta["examples"][0]):
            raise ModelError(
                f"{user_place()}: a Python number is made of data, so that the model would be fixed to this "
                f"sample; keep it a tensor, or give it in concrete_args"
            )
        numbers = [kind(example) for example in meta["examples"]]
        if any(number != numbers[0] for number in numbers):
            raise NeedsFixedSizes(f"{user_place()}: the size of an open dimension becomes a Python number")
        return numbers[0]

    def cuda(self, *args: Any, **kwargs: Any) -> Any:
        """The ONNX model has no devices."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """``x.to(...)`` without the device."""
        where = ("device", "non_blocking", "copy", "memory_format")
        kept = {key: value for key, value in kwargs.items() if key not in where}
        given = [arg for arg in args[:1] if not isinstance(arg, (str, torch.device, int)) and arg is not None]
        given += [arg for arg in args[1:] if isinstance(arg, torch.dtype)]
        if not given and not kept:
            return self
        return self.tracer.create_proxy("call_method", "to", (self, *given), kept)

    def __int__(self) -> int:
        return int(self._number(int))

    def __index__(self) -> int:
        return int(self._number(operator.index))

    def __float__(self) -> float:
        return float(self._number(float))

    def __len__(self) -> int:
        return length_of(self)

    def __contains__(self, item: object) -> bool:
        raise ModelError(f"{user_place()}: `in` looks at the data; compare with == and torch.any")

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})

    def __getattr__(self, name: str) -> Any:
        example = self.node.meta["examples"][0]
        if isinstance(example, torch.Tensor):
            if name in _AS_METHOD:
                return self.tracer.create_proxy("call_method", _AS_METHOD[name], (self,), {})
            attribute = getattr(example, name)
            if not callable(attribute):
                return attribute
        elif isinstance(example, tuple) and name in getattr(example, "_fields", ()) + _fields(example):
            place = (getattr(example, "_fields", None) or _fields(example)).index(name)
            return self.tracer.create_proxy("call_function", operator.getitem, (self, place), {})
        return super().__getattr__(name)


def _fields(example: Any) -> tuple[str, ...]:
    """Names of the elements of torch's own named tuples (values and indices, for one)."""
    count = getattr(type(example), "n_sequence_fields", 0)
    names = [
        name
        for name in dir(type(example))
        if not name.startswith(("_", "n_")) and name not in ("count", "index")
    ]
    return tuple(sorted(names, key=lambda name: _position(example, name)))[:count] if count else ()


def _position(example: Any, name: str) -> int:
    value = getattr(example, name)
    return next((i for i, item in enumerate(example) if item is value), len(example))


def length_of(proxy: fx.Proxy) -> int:
    lengths = [len(example) for example in proxy.node.meta["examples"]]
    if any(length != lengths[0] for length in lengths):
        raise NeedsFixedSizes(f"{user_place()}: the length of an open dimension becomes a Python number")
    return lengths[0]


def holds_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(holds_tensor, value))
    return isinstance(value, torch.Tensor)


def seems(thing: Any, kinds: Any) -> bool:
    """``isinstance`` for users and layers, who ask whether they were given a tensor; fx asks for the proxy.

    A property ``__class__`` would do it, too, but torch's compiled code believes it and reads foreign memory.
    """
    if type(thing) is not Proxy:
        return _isinstance(thing, kinds)
    if asked_by_library(1):
        return _isinstance(thing, kinds)
    return _isinstance(thing.node.meta["examples"][0], kinds)
