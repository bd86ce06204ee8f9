"""The model's border: inputs that take integers where the float model takes float32 (-qid).

Such an input is followed by a Cast to float32, and everything behind it is as before: a uint8 200 is the
number 200.0. What normalizes it there (a Sub and a Div by constants) stays in float, between the Cast and
the first quantizer, so that the input is rounded once; on chips that ask for it, it runs as integers where
that costs nothing (`knight.integer_normalization`). Where the quantizer's integers are the input's own,
the rewriter leaves out Cast and quantizer, and the model computes with what it is fed.

What was done is handed on as a `Border`; the metadata that a file carries is for who opens it later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec
import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.errors import ConfigError, did_you_mean
from knight.metadata import stated
from knight.passes import PassOptions, normalize_input, passes

INPUT_DTYPES = "knight.input_dtypes"
"""Metadata key: JSON object, graph input name -> the type that was asked for it."""

NORMALIZATION = "knight.normalization"
"""Metadata key: JSON object {"input", "mean", "std"} of a model that normalizes its first input by itself."""

OFFSETS = "knight.input_offsets"
"""Metadata key: JSON object, graph input name -> whole numbers, one per channel or one for all, which are all
that the model subtracts from its integers: the rest of their normalization is in the weights behind.
"""

_Type = Literal["float32", "int8", "uint8", "int16"]
TYPES: tuple[str, ...] = get_args(_Type)

_FLAG = "-qid/--quantize-input-dtype"
_NOTHING: Mapping[str, str] = {}
_AFFINE = frozenset({"Mul", "Add", "Sub", "Div"})


class Normalization(msgspec.Struct, frozen=True):
    """``(x - mean) / std`` of the input of this name: one number each, or one per channel."""

    input: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or 0 in self.std:
            raise ValueError("mean and std have to be equally many, and std not 0")


@dataclass(frozen=True)
class Border:
    """What stands at the inputs of a prepared model.

    types: input -> the type that was asked for. casts: Cast of an integer input -> the integers' type.
    integers: value behind such a Cast -> the integers' type. normalization: operators behind a Cast that only
    multiply by constants or add them. Where the normalization is in the weights (see `OFFSETS`), neither says
    anything: centring has the Sub that is left of it, if one is; whole the value that the weights multiply
    -> the smallest and the largest of the whole numbers that it can be. Nodes and values by name.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    casts: Mapping[str, str] = field(default_factory=dict)
    integers: Mapping[str, str] = field(default_factory=dict)
    normalization: frozenset[str] = frozenset()
    centring: frozenset[str] = frozenset()
    whole: Mapping[str, tuple[int, int]] = field(default_factory=dict)


# What was asked for -----------------------------------------------------------------------------------


def wanted_types(asked: Sequence[str | None], bits: int | None = None) -> tuple[str | None, ...]:
    """The types as they were asked for, one per input or one for all, checked; empty where none is.

    bits: width of the integers behind the input, where it is known. Raises ConfigError for a name that is no
    type, and for integers wider than that.
    """
    words = (asked,) if isinstance(asked, str) else tuple(asked)
    types = tuple(None if word in (None, "None") else word for word in words)
    for name in types:
        if name is not None and name not in TYPES:
            known = did_you_mean(str(name), (*TYPES, "None"))
            raise ConfigError(f"{_FLAG}: unknown type {str(name)!r}: {known}")
        if name == "int16" and bits is not None and bits < 16:
            raise ConfigError(
                f"{_FLAG} int16: the operators behind the input have {bits} bits; -b 16 is needed"
            )
    return types if any(types) else ()


def types_by_input(
    model: ir.Model, types: Sequence[str | None], known: Mapping[str, str] = _NOTHING
) -> dict[str, str]:
    """Input name -> type, of a float model's inputs that one was asked for; a single type is for all float32
    inputs.

    known: types that inputs have from Knight already; to ask for the same again changes nothing. Raises
    ConfigError where the numbers do not match, or an input is not float32.
    """
    inputs = _fed(model)
    if not types:
        return {}
    if len(types) == 1 and len(inputs) > 1:
        ours = [value.dtype == ir.DataType.FLOAT or value.name in known for value in inputs]
        types = [types[0] if own else None for own in ours]
        if not any(types):
            raise ConfigError(f"{_FLAG}: the model has no float32 input; leave it out")
    _check_count(inputs, types)
    types = [
        None if known.get(value.name or "") == name else name
        for value, name in zip(inputs, types, strict=True)
    ]
    for value, name in zip(inputs, types, strict=True):
        if name is not None and value.dtype != ir.DataType.FLOAT:
            raise ConfigError(
                f"{_FLAG} {name}: input {value.name!r} is {_type_name(value)}, and only a float32 input can "
                f"have another type; give None for it"
            )
    return {value.name or "": name for value, name in zip(inputs, types, strict=True) if name is not None}


def known_types(model: ir.Model) -> dict[str, str]:
    """Input name -> type, of the inputs that the model records, as far as they still have it."""
    recorded, inputs = input_types(model), _fed(model)
    return {
        value.name or "": recorded[value.name or ""]
        for value in inputs
        if value.name in recorded and _type_name(value) == recorded[value.name]
    }


def open_normalization(
    model: ir.Model, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What of ``(x - mean) / std`` the model does not do by itself yet: all of it, or nothing.

    Raises ConfigError where it normalizes its first input already, by other numbers.
    """
    facts = normalization_of(model)
    if facts is None or not (mean or std):
        return tuple(mean), tuple(std)
    if (tuple(mean), tuple(std)) != (facts.mean, facts.std):
        raise ConfigError(
            f"--mean/--std: the model subtracts {list(facts.mean)} and divides by {list(facts.std)} already; "
            f"leave the flags out"
        )
    return (), ()


def check_types(model: ir.Model, types: Sequence[str | None]) -> None:
    """Raises ConfigError where the inputs of `model` are not of the types that were given (None: any)."""
    inputs = _fed(model)
    recorded = input_types(model)
    if len(types) == 1 and len(inputs) > 1:
        ours = [value.name in recorded or value.dtype == ir.DataType.FLOAT for value in inputs]
        types = [types[0] if own or not any(ours) else None for own in ours]
    if types:
        _check_count(inputs, types)
        for value, name in zip(inputs, types, strict=True):
            if name is not None and name != _type_name(value):
                raise ConfigError(
                    f"{_FLAG} {name}: input {value.name!r} of the model takes {_type_name(value)}; "
                    f"give that, or leave the flag out"
                )


def _fed(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _check_count(inputs: Sequence[ir.Value], types: Sequence[str | None]) -> None:
    if len(types) != len(inputs):
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise ConfigError(
            f"{_FLAG} has {len(types)} types, the model {len(inputs)} input(s) ({names}); "
            f"give one type, or one per input"
        )


def _type_name(value: ir.Value) -> str:
    return "of unknown type" if value.dtype is None else value.dtype.numpy().name


# The prepared model -----------------------------------------------------------------------------------


def normalize(model: ir.Model, mean: Sequence[float], std: Sequence[float]) -> None:
    """Puts ``(x - mean) / std`` behind the first input, to the bit as a script computes it in float32."""
    options = PassOptions(mean=tuple(mean), std=tuple(std))
    normalize_input.insert(model, options)
    passes.get("eliminate_identity")(model, options)  # a mean of 0, a standard deviation of 1


def record_normalization(model: ir.Model, mean: Sequence[float], std: Sequence[float]) -> None:
    """Says in the metadata that the first input is normalized inside the model."""
    facts = {"input": _fed(model)[0].name, "mean": list(mean), "std": list(std)}
    model.metadata_props[NORMALIZATION] = json.dumps(facts, sort_keys=True)


def fed_like(model: ir.Model, quantized: ir.Model) -> ir.Model:
    """The float model `model`, or a copy of it that takes the very samples that `quantized` takes.

    What `quantized` does at its border, its types and its normalization, `model` does as well; what it lacks
    of the inputs, or has of another type, stays.
    """
    floats = {value.name for value in _fed(model) if value.dtype == ir.DataType.FLOAT}
    floats -= set(input_types(model))
    types = {name: dtype for name, dtype in input_types(quantized).items() if name in floats}
    facts = normalization_of(quantized)
    if facts is not None and NORMALIZATION in model.metadata_props:
        facts = None
    if facts is not None and not (facts.input in floats and _fed(model)[0].name == facts.input):
        facts = None
    if not types and facts is None:
        return model
    twin = model.clone()
    if facts is not None:
        normalize(twin, facts.mean, facts.std)
        record_normalization(twin, facts.mean, facts.std)
    set_types(twin, types)
    return twin


def set_types(model: ir.Model, types: Mapping[str, str]) -> None:
    """Gives the inputs of a prepared model their types, and records them; passes over inputs that it lost."""
    kept = {value.name or "": value for value in _fed(model) if value.name in types}
    for name, value in kept.items():
        if types[name] != "float32":
            _cast(model.graph, value, ir.DataType.from_numpy(np.dtype(types[name])))
    if kept:
        recorded = known_types(model) | {name: types[name] for name in kept}
        model.metadata_props[INPUT_DTYPES] = json.dumps(recorded, sort_keys=True)


def _cast(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> None:
    if value.is_graph_output():
        raise ConfigError(
            f"{_FLAG}: input {value.name!r} is an output of the model as well, which is float32; "
            f"give None for it"
        )
    uses = value.uses()
    node = ir.Node("", "Cast", [value], num_outputs=1, name=models.fresh_name(graph, f"{value.name}_Cast"))
    node.attributes.add(ir.AttrInt64("to", int(ir.DataType.FLOAT)))
    real = node.outputs[0]
    real.name, real.shape = models.fresh_name(graph, f"{value.name}_float"), value.shape
    real.dtype = ir.DataType.FLOAT
    value.type = ir.TensorType(dtype)  # a new type: other models share the old one
    for use in uses:
        use.node.replace_input_with(use.idx, real)
    first = next(iter(graph), None)
    if first is None:
        graph.append(node)
    else:
        graph.insert_before(first, [node])


def input_types(model: ir.Model) -> dict[str, str]:
    """Input name -> the type that was asked for it; empty for models without. Raises ModelError where the
    metadata are damaged.
    """
    return dict(stated(model, INPUT_DTYPES, dict[str, _Type]) or {})


def normalization_of(model: ir.Model) -> Normalization | None:
    """How the model says that it normalizes its first input; None where it does not say. Raises ModelError
    where the metadata are damaged.
    """
    return stated(model, NORMALIZATION, Normalization)


def input_offsets(model: ir.Model) -> dict[str, list[int]]:
    """Input name -> what is subtracted from its integers (see `OFFSETS`); empty for models without. Raises
    ModelError where the metadata are damaged.
    """
    return dict(stated(model, OFFSETS, dict[str, list[int]]) or {})


def record_offsets(model: ir.Model, offsets: Mapping[str, Sequence[int]]) -> None:
    """Says in the metadata what the model subtracts, besides what is said there already."""
    found = input_offsets(model) | {name: list(numbers) for name, numbers in offsets.items()}
    model.metadata_props[OFFSETS] = json.dumps(found, sort_keys=True)


def described(model: ir.Model, types: Mapping[str, str]) -> Border:
    """The border of a model whose inputs `set_types` gave these `types`."""
    kept = {value: types[value.name or ""] for value in _fed(model) if value.name in types}
    casts = {
        node: dtype
        for value, dtype in kept.items()
        if dtype != "float32"
        for node in value.consumers()
        if node.op_type == "Cast"
    }
    offsets = input_offsets(model)
    integers, normalization, centring, whole = {}, set[str](), set[str](), {}
    for cast, dtype in casts.items():
        real, chain = cast.outputs[0], list(affine_chain(cast.outputs[0]))
        value = _centred(real, chain, offsets.get(_name_of_input(cast)))
        if value is None:
            integers[real.name or ""] = dtype
            normalization.update(node.name or "" for node in chain)
            continue
        numbers, limits = offsets[_name_of_input(cast)], np.iinfo(dtype)
        whole[value.name or ""] = (int(limits.min) - max(numbers), int(limits.max) - min(numbers))
        if value is not real:
            centring.add(chain[0].name or "")
    return Border(
        types={value.name or "": dtype for value, dtype in kept.items()},
        casts={cast.name or "": dtype for cast, dtype in casts.items()},
        integers=integers,
        normalization=frozenset(normalization),
        centring=frozenset(centring),
        whole=whole,
    )


def _name_of_input(cast: ir.Node) -> str:
    source = cast.inputs[0]
    return "" if source is None else source.name or ""


def _centred(real: ir.Value, chain: Sequence[ir.Node], offsets: Sequence[int] | None) -> ir.Value | None:
    """What the weights multiply, where nothing but `offsets` is subtracted before; None where they are not
    what `chain` computes (any more).
    """
    if not offsets:
        return None
    if not any(offsets):
        return None if chain else real
    if len(chain) != 1 or chain[0].op_type != "Sub" or chain[0].inputs[0] is not real:
        return None
    numbers = models.constant(chain[0].inputs[1])
    same = numbers is not None and np.array_equal(numbers.reshape(-1), np.asarray(offsets))
    return chain[0].outputs[0] if same else None


def affine_chain(value: ir.Value) -> Iterator[ir.Node]:
    """The operators behind `value` that only multiply by constants or add them, in order."""
    graph = value.graph
    while not value.is_graph_output():
        readers = list(value.uses())
        if len(readers) != 1 or readers[0].node.op_type not in _AFFINE or readers[0].node.domain:
            return
        node, index = readers[0].node, readers[0].idx
        if node.op_type == "Div" and index == 1:
            return
        if node.graph is not graph or not models.is_constant(node.inputs[1 - index]):
            return
        yield node
        value = node.outputs[0]
