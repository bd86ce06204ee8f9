"""How each layer type of Caffe is written in ONNX: one function per type, found by its decorator.

The decorator names the type and, where that is not one, how many bottoms a layer of it has. A translation is
called inside ``with b.layer(layer.name)`` with one value per bottom, and returns one value
per top. Shapes come from `fixed_shape`: Caffe nets have no open dimensions while they are translated.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

import onnx_ir as ir

from knight.converters._builder import Builder
from knight.converters.caffe._layers import Layer
from knight.errors import KnightError
from knight.executor import described

Translation = Callable[[Builder, Layer, list[ir.Value]], list[ir.Value]]

_translations: dict[str, Translation] = {}


def layer(*types: str, bottoms: tuple[int, float] = (1, 1)) -> Callable[[Translation], Translation]:
    """Registers a translation for the layer types `types`. A type that has one already is an error.

    bottoms: how few and how many a layer has, as Caffe itself checks it.
    """

    def register(translation: Translation) -> Translation:
        def checked(b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
            layer.check_bottoms(*bottoms)
            return _explained(translation, b, layer, inputs)

        for name in types:
            if name in _translations:
                raise ValueError(f"two translations of the Caffe layer {name}")
            _translations[name] = checked
        return translation

    return register


def _explained(translation: Translation, b: Builder, layer: Layer, inputs: list[ir.Value]) -> list[ir.Value]:
    """What `translation` gives. A net may hold any numbers: an axis of an input that has none, groups of 0.

    What arithmetic on such numbers raises is the net's fault, and becomes a ModelError that names the layer.
    """
    try:
        return translation(b, layer, inputs)
    except KnightError:
        raise
    except Exception as error:
        raise layer.error(
            f"its parameters, weights and bottoms do not go together ({described(error)}); correct them"
        ) from error


@cache
def translations() -> Mapping[str, Translation]:
    """All translations by layer type."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _translations
