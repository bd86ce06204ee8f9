"""Converters: from the files of a framework to a float ONNX model, with the proof that both compute the same.

A converter is one module (or package) with an object ``converter``. Importing it imports no framework: that
happens in `Converter.convert`, which runs in a process of its own (frameworks crash each other).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.listener import Listener
from knight.registry import Registry

Feeds = Mapping[str, np.ndarray]
"""Arrays by the name of the ONNX input, in the ONNX model's layout and type."""


@dataclass(frozen=True)
class Source:
    """What the user names on the command line.

    model: a path, or the name under which `script` registers a model.
    weights: a second file.
    script: the user's Python file.
    input_shapes: one shape per input, for models that leave dimensions open; -1 leaves one open.
    start_nodes, end_nodes: names at which a graph is cut out.
    nchw: turn inputs from NHWC to NCHW.
    allow_pickle: weights may run code.
    extras: values of the options that other distributions add, by name.
    """

    model: str
    weights: str | None = None
    script: str | None = None
    input_shapes: tuple[tuple[int, ...], ...] = ()
    start_nodes: tuple[str, ...] = ()
    end_nodes: tuple[str, ...] = ()
    nchw: bool = False
    allow_pickle: bool = False
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Conversion:
    """A converted model, and the source framework ready to run beside it.

    reference: the source's outputs for given feeds, in the order and layout of the ONNX outputs; None where
        nothing can run the source, and `unproven` says why.
    probe: the intermediate values that the source knows, by ONNX value name, of those asked for; None
        where one cannot look inside.
    examples: feeds that the user gave, which the proof uses beside random ones.
    """

    model: ir.Model
    reference: Callable[[Feeds], Sequence[np.ndarray]] | None
    unproven: str = ""
    probe: Callable[[Feeds, Sequence[str]], Mapping[str, np.ndarray]] | None = None
    examples: tuple[Feeds, ...] = ()


@dataclass(frozen=True)
class Converter:
    """One framework.

    title: its name as people write it.
    extra: of ``pip install knight-quant[EXTRA]``, "" where another distribution brings the converter.
    modules: what has to be importable.
    verb: the vendor's spelling in the line that tells success.
    flags: the options of the command line that this framework reads, beside -m and -uds (fields of `Source`).
    convert: reads the files that the user names. Raises KnightError naming what does not fit.
    takes_names: -m may also be the name under which a script registers a model.
    """

    title: str
    extra: str
    modules: tuple[str, ...]
    verb: str
    flags: frozenset[str]
    convert: Callable[[Source, Listener], Conversion]
    takes_names: bool = False


converters: Registry[Converter] = Registry("framework", "knight.converters", "knight.converters", "converter")
