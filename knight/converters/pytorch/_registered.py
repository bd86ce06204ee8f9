"""Models that a user's script registers: ``@pytorch_model.register("name")`` above a function.

What the function returns is read by `_returned`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from knight.converters import Source
from knight.converters._trust import as_refusal
from knight.converters.pytorch._loaded import Loaded
from knight.converters.pytorch._operators import check_kinds, kinds_of
from knight.converters.pytorch._returned import as_loaded
from knight.errors import ConfigError, KnightError, ModelError, ScriptError, did_you_mean
from knight.executor import described, place
from knight.listener import Listener
from knight.script import load_script

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def load_registered(source: Source, listener: Listener) -> Loaded:
    """Calls the function that the script registers as ``source.model``. Raises KnightError."""
    with loading(source.allow_pickle):
        functions = load_script(source.script or "").pytorch_models
    if source.model not in functions:
        known = did_you_mean(source.model, functions) if functions else "it registers none"
        raise ConfigError(
            f"script {source.script}: registers no PyTorch model {source.model!r}: {known}; "
            f'write @pytorch_model.register("{source.model}") above the function that returns it'
        )
    function = functions[source.model]
    where = f"PyTorch model {source.model!r} ({place(None, function)})"
    with loading(source.allow_pickle):
        result = _call(function, source, where, listener)
    loaded = as_loaded(result, source.input_shapes, where, listener)
    if isinstance(loaded.module, torch.jit.ScriptModule) and not source.allow_pickle:
        check_kinds(kinds_of(loaded.module), where)  # the script is the user's, what it loads may be anyone's
    return loaded


@contextmanager
def loading(allow_pickle: bool) -> Iterator[None]:
    """Inside, torch.load brings tensors to the CPU, and lets pickles run code if the user allowed it."""
    load = torch.load

    def load_here(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2 and kwargs.get("map_location") is None:
            kwargs["map_location"] = "cpu"
        if allow_pickle:
            kwargs["weights_only"] = False
        return load(*args, **kwargs)

    with mock.patch.object(torch, "load", load_here):
        yield


def _call(function: Callable[..., Any], source: Source, where: str, listener: Listener) -> Any:
    arguments = _arguments(function, source, where, listener)
    try:
        return function(*arguments)
    except KnightError:
        raise
    except RuntimeError as error:
        told = _other_net(str(error), source.weights)
        if told is None:
            raise ScriptError(f"{where} raised {described(error)} ({place(error, function)})") from error
        raise ModelError(f"{told} ({place(error, function)})") from error
    except Exception as error:
        failed = ScriptError(f"{where} raised {described(error)} ({place(error, function)})")
        failed.__cause__ = error
        raise as_refusal(failed, source.weights or "that the script loads") from error


def _arguments(function: Callable[..., Any], source: Source, where: str, listener: Listener) -> list[str]:
    """The path of the weights, where the function takes it."""
    parameters = list(inspect.signature(function).parameters.values())
    if source.weights is not None:
        if not Path(source.weights).is_file():
            raise ModelError(f"weights {source.weights}: no such file")
        if parameters:
            return [source.weights]
        listener.warn(f"-w has no effect: {where} takes no weight path; write def f(weight_path=None)")
    elif (
        parameters and parameters[0].default is inspect.Parameter.empty and parameters[0].kind in _POSITIONAL
    ):
        raise ConfigError(f"{where} wants the path of its weights ({parameters[0].name}); give it with -w")
    return []


def _other_net(text: str, weights: str | None) -> str | None:
    """What torch says of a state_dict that does not fit, in one line; None for other errors."""
    if "loading state_dict" not in text:
        return None
    subject = f"weights {weights}" if weights else "the weights"
    sizes = re.findall(
        r"size mismatch for (\S+): copying a param with shape torch\.Size\((\[.*?\])\) from checkpoint, "
        r"the shape in current model is torch\.Size\((\[.*?\])\)",
        text,
    )
    missing = _keys(text, "Missing")
    unexpected = _keys(text, "Unexpected")
    prefixed = [key for key in unexpected if key.startswith("module.")]
    if prefixed and prefixed[0].removeprefix("module.") in missing:
        return (
            f'{subject}: names begin with "module." (saved from a DataParallel); load '
            f'{{k.removeprefix("module."): v for k, v in state_dict.items()}}'
        )
    parts = []
    if sizes:
        name, got, wanted = sizes[0]
        parts.append(f"{name} has shape {got} in the file, wanted {wanted}{_more(sizes)}")
    if missing:
        parts.append(f"no {missing[0]} in the file{_more(missing)}")
    if unexpected:
        parts.append(f"{unexpected[0]} is not in the model{_more(unexpected)}")
    return f"{subject}: of another net: {'; '.join(parts)}"


def _keys(text: str, kind: str) -> list[str]:
    found = re.search(rf"{kind} key\(s\) in state_dict: (.*)", text)
    return re.findall(r'"([^"]+)"', found[1]) if found else []


def _more(items: Sequence[Any]) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""
