"""Knight turns trained float models into integer ONNX models, without training them again.

The public names; each is imported when it is first used, so that ``import knight`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "knight.compare.comparison",
    "Converted": "knight.conversion",
    "KnightError": "knight.errors",
    "Listener": "knight.listener",
    "InferResult": "knight.inferring",
    "QuantizedModel": "knight.api",
    "compare_models": "knight.api",
    "convert": "knight.api",
    "infer": "knight.api",
    "quantize": "knight.api",
    "load_target": "knight.targets",
    "onnx_infer_func": "knight.script",
    "pytorch_model": "knight.script",
}

if TYPE_CHECKING:
    from knight.api import QuantizedModel, compare_models, convert, infer, quantize
    from knight.compare.comparison import Comparison
    from knight.conversion import Converted
    from knight.errors import KnightError
    from knight.inferring import InferResult
    from knight.listener import Listener
    from knight.script import onnx_infer_func, pytorch_model
    from knight.targets import load_target

__all__ = [
    "Comparison",
    "Converted",
    "InferResult",
    "KnightError",
    "Listener",
    "QuantizedModel",
    "__version__",
    "compare_models",
    "convert",
    "infer",
    "load_target",
    "onnx_infer_func",
    "pytorch_model",
    "quantize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'knight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
