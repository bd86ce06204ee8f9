"""Knight turns trained float models into integer ONNX models, without training them again.

The public names; each is imported when it is first used, so that ``import knight`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from knight.version import __version__

_HOMES = {
    "Choice": "knight.recipe",
    "Comparison": "knight.compare.comparison",
    "Converted": "knight.conversion",
    "FLOAT": "knight.recipe",
    "Executor": "knight.executor",
    "Figures": "knight.measuring",
    "InferResult": "knight.inferring",
    "KnightError": "knight.errors",
    "Listener": "knight.listener",
    "Parameters": "knight.solver",
    "Patch": "knight.types",
    "Prepared": "knight.preparing",
    "QuantConfig": "knight.config",
    "QuantPlan": "knight.types",
    "Quantized": "knight.realizing",
    "QuantizedModel": "knight.api",
    "Recipe": "knight.recipe",
    "Rule": "knight.recipe",
    "RunSettings": "knight.executor",
    "Seen": "knight.observing",
    "Statistics": "knight.statistics",
    "Target": "knight.targets",
    "compare_models": "knight.api",
    "convert": "knight.api",
    "feed": "knight.feeding",
    "infer": "knight.api",
    "load_model": "knight.api",
    "load_target": "knight.targets",
    "make_plan": "knight.planner",
    "measure": "knight.measuring",
    "observe": "knight.observing",
    "onnx_infer_func": "knight.script",
    "prepare_model": "knight.preparing",
    "pytorch_model": "knight.script",
    "quantize": "knight.api",
    "realize": "knight.realizing",
}

if TYPE_CHECKING:
    from knight.api import QuantizedModel, compare_models, convert, infer, load_model, quantize
    from knight.compare.comparison import Comparison
    from knight.config import QuantConfig
    from knight.conversion import Converted
    from knight.errors import KnightError
    from knight.executor import Executor, RunSettings
    from knight.feeding import feed
    from knight.inferring import InferResult
    from knight.listener import Listener
    from knight.measuring import Figures, measure
    from knight.observing import Seen, observe
    from knight.planner import make_plan
    from knight.preparing import Prepared, prepare_model
    from knight.realizing import Quantized, realize
    from knight.recipe import FLOAT, Choice, Recipe, Rule
    from knight.script import onnx_infer_func, pytorch_model
    from knight.solver import Parameters
    from knight.statistics import Statistics
    from knight.targets import Target, load_target
    from knight.types import Patch, QuantPlan

__all__ = [
    "FLOAT",
    "Choice",
    "Comparison",
    "Converted",
    "Executor",
    "Figures",
    "InferResult",
    "KnightError",
    "Listener",
    "Parameters",
    "Patch",
    "Prepared",
    "QuantConfig",
    "QuantPlan",
    "Quantized",
    "QuantizedModel",
    "Recipe",
    "Rule",
    "RunSettings",
    "Seen",
    "Statistics",
    "Target",
    "__version__",
    "compare_models",
    "convert",
    "feed",
    "infer",
    "load_model",
    "load_target",
    "make_plan",
    "measure",
    "observe",
    "onnx_infer_func",
    "prepare_model",
    "pytorch_model",
    "quantize",
    "realize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'knight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
