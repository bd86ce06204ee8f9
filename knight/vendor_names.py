"""The modules that scripts for the vendor's tool import, made of what Knight has.

`onnx_quantize_tool` always stands for Knight. Where a folder of that name lies beside the script, what Knight
does not have of it is found there. `infer_common` and `infer_auto` are offered where no other module of that
name is found, beside the script first of all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from knight.executor import NUMPY_TYPES, Executor, InferFunction
from knight.tasks import tasks

READY_MADE: Mapping[str, Mapping[str, str]] = {
    "infer_common": {"infer_default": "infer_default", "infer_common": "infer_default"},
    "infer_auto": {"infer_auto": "infer_auto"},
}
"""Module of the vendor's -> infer function in it -> the one of `knight.tasks` that does the same."""

_OFFERED = frozenset({"onnx_quantize_tool", *READY_MADE})

Noted = Callable[[Mapping[str, InferFunction]], None]
"""Told the functions of a module of `READY_MADE` when it is imported."""


def offer(decorators: Mapping[str, Any], folder: Path, noted: Noted) -> None:
    """Makes the vendor's modules importable for a script in `folder`, with these `decorators`."""
    contents: dict[str, Mapping[str, Any]] = {
        "onnx_quantize_tool": {},
        "onnx_quantize_tool.common": {},
        "onnx_quantize_tool.common.register": decorators,
        "onnx_quantize_tool.utils": {},
    }
    constants = "onnx_quantize_tool.utils.constants"
    if folder.joinpath(*constants.split(".")).with_suffix(".py").is_file():
        sys.modules.pop(constants, None)  # ours, of an earlier script
    else:
        contents[constants] = {"NP_TYPE_DICT": NUMPY_TYPES}
    for name, names in contents.items():
        module = ModuleType(name, "Knight under the name that scripts for the vendor's tool import.")
        module.__dict__.update(names)
        module.__path__ = [str(folder.joinpath(*name.split(".")))]  # so that it counts as a package
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _ReadyMade)]
    sys.meta_path.append(_ReadyMade(noted))
    for name in READY_MADE:  # of an earlier script: this one may have its own
        sys.modules.pop(name, None)


def lacking(error: BaseException) -> str:
    """What Knight has of the vendor's modules, to be told where `error` is of an import of something else."""
    if not isinstance(error, ImportError) or (error.name or "").partition(".")[0] not in _OFFERED:
        return ""
    return (
        "; of the vendor's tool there are onnx_infer_func and pytorch_model of "
        "onnx_quantize_tool.common.register, NP_TYPE_DICT of onnx_quantize_tool.utils.constants, "
        + ", ".join(f"{name} of {module}" for module, names in READY_MADE.items() for name in names)
    )


class _ReadyMade(MetaPathFinder, Loader):
    """Finds the modules of `READY_MADE` where nothing else does, being the last that is asked."""

    def __init__(self, noted: Noted) -> None:
        self._noted = noted

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in READY_MADE else None

    def exec_module(self, module: ModuleType) -> None:
        functions = {name: _real(tasks.get(task)) for name, task in READY_MADE[module.__name__].items()}
        module.__dict__.update(functions)
        self._noted(functions)


def _real(task: InferFunction) -> InferFunction:
    """`task`, for a script to call: it has real numbers from the model, whatever the script itself gets."""

    @wraps(task)
    def infer(executor: Executor) -> object:
        executor.output_scales, before = {}, executor.output_scales
        try:
            return task(executor)
        finally:
            executor.output_scales = before

    return infer
