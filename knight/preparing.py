"""First stage: from the model as the user exported it to the float model that is planned and rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from knight import border
from knight.border import Border
from knight.config import QuantConfig
from knight.listener import SILENT, Listener
from knight.passes import PassOptions, prepare
from knight.recipe import Recipe
from knight.runner import available_threads
from knight.targets import Target

WIDE_OPSET = 21
"""The first whose QuantizeLinear takes 16-bit and 4-bit integers, and blocks."""


_DEFAULT = QuantConfig()


@dataclass(frozen=True)
class Prepared:
    """A float model as it is planned, observed and rewritten.

    model: canonical, float, its nodes and values named; its shape stays as it is from here on. border:
    what stands at its inputs.
    """

    model: ir.Model
    border: Border = field(default_factory=Border)


def prepare_model(
    model: ir.Model,
    target: Target,
    config: QuantConfig = _DEFAULT,
    *,
    recipes: Sequence[Recipe] = (),
    listener: Listener = SILENT,
) -> Prepared:
    """`model` after all passes, as `target` needs it; the source is left alone.

    config: batch size, outputs, normalization and input types are read. recipes: those that will be planned;
    their widths decide the opset. Raises ConfigError and ModelError, naming input, node or flag.
    """
    known = border.known_types(model)
    wanted = border.wanted_types(config.input_dtypes, config.bits)
    types = border.types_by_input(model, wanted, known)
    mean, std = border.open_normalization(model, config.mean, config.std)
    first = next((value.name or "" for value in model.graph.inputs if not value.is_initializer()), "")
    late = types.get(first, "float32") != "float32" and bool(mean or std)
    batch = config.ir_batch
    if batch is None and target.static_shapes and _has_open_batch(model):
        batch = 1
    wide = any(recipe.needs_wide_opset for recipe in recipes)
    options = PassOptions(
        batch_size=batch,
        static_shapes=target.static_shapes,
        output_names=config.output_names,
        mean=() if late else mean,
        std=() if late else std,
        opset=max(target.opset, WIDE_OPSET) if wide else target.opset,
        recognise=target.recognise,
        threads=available_threads(config.threads),
        extras=config.extras,
    )

    def on_pass(name: str, changes: int) -> None:
        if changes:
            listener.detail(f"{name}: {changes} changes")

    prepared = prepare(model, options, on_pass)
    if late:  # integers are normalized before they are rounded, just as a script does it
        border.normalize(prepared, mean, std)
    if mean:
        border.record_normalization(prepared, mean, std)
    border.set_types(prepared, types)
    return Prepared(prepared, border.described(prepared, {**known, **types}))


def reopened(model: ir.Model) -> Prepared:
    """A prepared model that was written to a file and loaded again."""
    return Prepared(model, border.described(model, border.input_types(model)))


def _has_open_batch(model: ir.Model) -> bool:
    shapes = (value.shape for value in model.graph.inputs)
    return any(shape is not None and len(shape) and not isinstance(shape[0], int) for shape in shapes)
