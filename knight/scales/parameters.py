"""Parameters as JSON: scale and zero point of every group, weight and bias of a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx_ir as ir

from knight.errors import ConfigError, printable
from knight.scales.checks import check_name
from knight.scales.documents import Format, ModelDocument
from knight.scales.numbers import Numbers, numbers, scales_shape
from knight.scales.patches import PatchDocument, check_patch, patch_keys
from knight.scales.structure import check_structure, structure
from knight.solver import Parameters
from knight.types import QParams, QuantPlan


class ParametersDocument(ModelDocument, frozen=True):
    """As `Parameters`."""

    activations: dict[str, Numbers]
    weights: dict[str, Numbers]
    biases: dict[str, Numbers]
    warnings: tuple[str, ...]
    patch: PatchDocument


PARAMETERS = Format("parameters", 1, ParametersDocument)
_KINDS = ("activations", "weights", "biases")


def save_parameters(parameters: Parameters, path: str | Path, model: ir.Model, plan: QuantPlan) -> Path:
    """Writes the numbers of a `plan` of the prepared `model`.

    Raises ConfigError for those of another plan or model, OutputError where the file cannot be written.
    """
    path = Path(path)
    check_parameters(parameters, model, plan, PARAMETERS.before(path))
    found = {
        kind: {key: numbers(params) for key, params in getattr(parameters, kind).items()} for kind in _KINDS
    }
    fields = {"model": structure(model), **found, "warnings": parameters.warnings}
    fields["patch"] = patch_keys(parameters.patch)
    return PARAMETERS.write(path, fields)


def load_parameters(path: str | Path, model: ir.Model, plan: QuantPlan) -> Parameters:
    """The parameters in `path`, which must be those of a `plan` of the prepared `model`.

    Raises ConfigError: one line that names file, key and remedy.
    """
    path = Path(path)
    document = PARAMETERS.read(path)
    found = {kind: {key: entry.params() for key, entry in getattr(document, kind).items()} for kind in _KINDS}
    parameters = Parameters(
        found["activations"], found["weights"], found["biases"], document.warnings, document.patch.patch()
    )
    check_parameters(parameters, model, plan, PARAMETERS.before(path))
    check_structure(model, document.model, PARAMETERS.before(path))
    return parameters


def check_parameters(parameters: Parameters, model: ir.Model, plan: QuantPlan, before: str) -> None:
    """Raises ConfigError, beginning with `before`, for parameters that do not fit `plan` and `model`."""
    biases = {name: one.bias for name, one in plan.accumulators.items() if one.bias is not None}
    planned: dict[str, Mapping[str, object]] = {
        "activations": plan.groups,
        "weights": plan.weights,
        "biases": biases,
    }
    for kind, wanted in planned.items():
        found: Mapping[str, QParams] = getattr(parameters, kind)
        for key in found:
            check_name(key, wanted, before, kind, f"{{}} is none of the plan's {kind}")
        for key in wanted:
            check_name(key, found, before, kind, f"lacks {{}}, one of the plan's {kind}")
    check_patch(parameters.patch, model, plan, before)
    for place, params, shape in _with_shapes(parameters, model, plan, biases):
        allowed = {(), shape} - {None}
        if params.scale.shape not in allowed:
            raise ConfigError(
                f"{before}{printable(place)}.scale: has the shape {params.scale.shape}; it has to be "
                f"{' or '.join(sorted(map(str, allowed)))}; solve the plan again"
            )


def _with_shapes(
    parameters: Parameters, model: ir.Model, plan: QuantPlan, biases: Mapping[str, str]
) -> Iterator[tuple[str, QParams, tuple[int, ...] | None]]:
    """(key path, numbers, shape of their scales where there is more than one for all)."""

    def shape(name: str) -> tuple[int, ...]:
        value = model.graph.initializers[name].const_value
        return tuple(value.shape.numpy()) if value is not None else ()

    for key, params in parameters.activations.items():
        yield f"activations.{key}", params, None
    for key, params in parameters.weights.items():
        yield f"weights.{key}", params, scales_shape(params.spec, shape(plan.weights[key].constant))
    for name, params in parameters.biases.items():
        yield f"biases.{name}", params, scales_shape(params.spec, (math.prod(shape(biases[name])),))
