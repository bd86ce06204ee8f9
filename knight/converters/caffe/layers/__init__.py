"""How each layer type of Caffe is written in ONNX: one function per type, found by its decorator.

A translation is called inside ``with b.layer(layer.name)`` with one value per bottom, and returns one value
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

Translation = Callable[[Builder, Layer, list[ir.Value]], list[ir.Value]]

_translations: dict[str, Translation] = {}


def layer(*types: str) -> Callable[[Translation], Translation]:
    """Registers a translation for the layer types `types`. A type that has one already is an error."""

    def register(translation: Translation) -> Translation:
        for name in types:
            if name in _translations:
                raise ValueError(f"two translations of the Caffe layer {name}")
            _translations[name] = translation
        return translation

    return register


@cache
def translations() -> Mapping[str, Translation]:
    """All translations by layer type."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _translations
