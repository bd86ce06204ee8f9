"""Reads a target file: TOML whose keys are the fields of `Document`, with ``extends`` resolved."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec

from knight import schema
from knight.errors import ConfigError, did_you_mean, wrong_value
from knight.files import content
from knight.json_keys import check_document, decoded
from knight.schema import wants
from knight.targets._scheme import Scheme

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN_KEYS = ("extends", "description", "source", "chips")
"""What a file says of itself alone: not inherited from the family that it extends."""

DEFAULT_SCHEMES = ("w8a8",)

Texts = Annotated[
    tuple[Annotated[str, msgspec.Meta(min_length=1)], ...], wants('a list of texts such as ["a", "b"]')
]
SchemeName = Annotated[
    str,
    msgspec.Meta(pattern=r"^w(4|8|16)a(8|16)$"),
    wants("a scheme such as w8a8: the bits of weights (4, 8 or 16) and of activations (8 or 16)"),
]
Schemes = Annotated[
    tuple[SchemeName, ...], msgspec.Meta(min_length=1), wants('a list of schemes such as ["w8a8", "w16a16"]')
]
TABLE = wants("a table of keys and values")
SHIFTS = "two whole numbers [low, high], 0 <= low <= high"


class Readable(Protocol):
    """A file on disk or inside a package: what `Path` and `importlib.resources` have in common."""

    def read_bytes(self) -> bytes: ...


class _Table(schema.Table, frozen=True):
    """A table none of whose lists names anything twice."""

    def __post_init__(self) -> None:
        for key, value in msgspec.structs.asdict(self).items():
            twice = {item for item in value if value.count(item) > 1} if isinstance(value, tuple) else set()
            if twice and all(isinstance(item, str) for item in twice):
                raise ValueError(f"{key}: names {', '.join(sorted(twice))} twice")


class Model(_Table, frozen=True):
    """What the quantized model is like."""

    opset: Annotated[int, msgspec.Meta(ge=13, le=26)] = 17
    static_shapes: bool = False
    fixed_point_outputs: bool = False
    integer_normalization: bool = False


class Activation(_Table, frozen=True):
    """How activations are quantized."""

    signed: bool = True
    symmetric: bool = True


class Weight(_Table, frozen=True):
    """How weights are quantized."""

    signed: bool = True
    symmetric: bool = True
    narrow: bool = False
    per_channel: bool = True
    block_size: Annotated[int, msgspec.Meta(ge=2)] | None = None

    def __post_init__(self) -> None:
        if self.block_size is not None and not self.per_channel:
            raise ValueError(
                "block_size goes with per_channel = true, since blocks lie inside channels; "
                "set that, or leave the scheme out of schemes"
            )


class Numbers(_Table, frozen=True):
    """Activations and weights of one scheme."""

    activation: Annotated[Activation, TABLE] = Activation()
    weight: Annotated[Weight, TABLE] = Weight()


class Requantization(_Table, frozen=True):
    """How accumulators become integers again."""

    multiplier_bits: Annotated[int, msgspec.Meta(ge=0, le=31)] = 0
    shift_range: Annotated[tuple[int, int], wants(SHIFTS)] = (0, 31)

    def __post_init__(self) -> None:
        low, high = self.shift_range
        if not 0 <= low <= high:
            raise ValueError(f"shift_range: {wrong_value([low, high], SHIFTS)}")


class Operators(_Table, frozen=True):
    """Which operators run as integers, and what is peculiar to some."""

    anchors: Texts = ()
    followers: Texts = ()
    keep_scale: Texts = ()
    kept_apart: Texts = ()
    float_result: Texts = ()
    software: Texts = ()
    recognise: Texts = ()
    unify_concat: bool = False
    constant_matmul_only: bool = False


class Document(Numbers, frozen=True):
    """The whole file. `scheme` has the facts in which single schemes differ from activation and weight."""

    extends: str | None = None
    description: str = ""
    source: str = ""
    chips: Texts = ()
    schemes: Schemes = DEFAULT_SCHEMES
    runtime: Annotated[
        Literal["", "onnxruntime"], wants('"onnxruntime", or "" where the chip itself runs the model')
    ] = ""
    model: Annotated[Model, TABLE] = Model()
    scheme: Annotated[
        dict[str, Annotated[Numbers, TABLE]], wants("tables such as [scheme.w16a16.weight]")
    ] = msgspec.field(default_factory=dict)
    widths: Annotated[dict[str, Schemes], wants("a table of operators and their lists of schemes")] = (
        msgspec.field(default_factory=dict)
    )
    forms: Annotated[dict[str, str], wants("a table of operators and the names of their forms")] = (
        msgspec.field(default_factory=dict)
    )
    requantization: Annotated[Requantization, TABLE] = Requantization()
    operators: Annotated[Operators, TABLE] = Operators()


def read(file: Readable, label: str) -> dict[str, Any]:
    """The TOML of `file` (called `label` in messages), checked key by key.

    Raises ConfigError naming file and key: not TOML, unknown key, wrong type, value out of range.
    """
    before = f"target file {label}: "
    try:
        text = content(file) if isinstance(file, Path) else file.read_bytes()
        document = tomllib.loads(decoded(text, before))
    except OSError as error:
        raise ConfigError(f"{before}{error.strerror or error}") from None
    except RecursionError:
        raise ConfigError(f"{before}is nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{before}not valid TOML: {error}") from None
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError(f"{before}not valid TOML: {str(error).partition(';')[0]}") from None
    check_document(document, before)
    schema.read(document, Document, before=before)
    return document


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` states, table by table."""
    found = dict(base)
    for key, value in over.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return found


def fields(stated: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The fields of `Target`, of all that a file and those that it extends state. Raises ConfigError."""
    document = schema.read(stated, Document, before=f"target file {label}: ")
    _check_together(document, label)
    operators = msgspec.structs.asdict(document.operators)
    return {
        **{
            key: getattr(document, key)
            for key in ("description", "source", "chips", "runtime", "widths", "forms")
        },
        **msgspec.structs.asdict(document.model),
        **msgspec.structs.asdict(document.requantization),
        **{key: frozenset(value) if isinstance(value, tuple) else value for key, value in operators.items()},
        "schemes": tuple(_scheme(stated, name, label) for name in document.schemes),
    }


def _scheme(stated: Mapping[str, Any], name: str, label: str) -> Scheme:
    """A scheme with the facts of its own over those of the whole file."""
    common = {key: stated[key] for key in ("activation", "weight") if key in stated}
    facts = merged(common, stated.get("scheme", {}).get(name, {}))
    numbers = schema.read(facts, Numbers, before=f"target file {label}: ", path=f"scheme.{name}")
    weight_bits, activation_bits = name[1:].split("a")
    return Scheme(
        name,
        int(weight_bits),
        int(activation_bits),
        **{f"activation_{key}": value for key, value in msgspec.structs.asdict(numbers.activation).items()},
        **{f"weight_{key}": value for key, value in msgspec.structs.asdict(numbers.weight).items()},
    )


def _check_together(document: Document, label: str) -> None:
    """What one key alone cannot tell, with ``extends`` resolved. Raises ConfigError."""
    operators = document.operators
    places = {key: {*getattr(operators, key)} for key in ("anchors", "followers", "keep_scale", "software")}
    for one, other in combinations(places, 2):
        if both := places[one] & places[other]:
            raise ConfigError(
                f"target file {label}: {', '.join(sorted(both))} stands in operators.{one} and in "
                f"operators.{other}; an operator has one place"
            )
    if loose := {*operators.float_result} - places["anchors"] - places["followers"]:
        raise ConfigError(
            f"target file {label}: operators.float_result names {', '.join(sorted(loose))}, which is "
            f"neither an anchor nor a follower"
        )
    if not places["anchors"]:
        raise ConfigError(f"target file {label}: operators.anchors is empty, nothing would run as integers")
    integer = places["anchors"] | places["followers"] | places["keep_scale"]
    for operator, limits in document.widths.items():
        if operator not in integer:
            known = did_you_mean(operator, integer)
            raise ConfigError(f"target file {label}: widths.{operator}: does not run as integers: {known}")
        check_listed(limits, document.schemes, f"target file {label}: widths.{operator}")


def check_listed(names: Iterable[str], schemes: Sequence[str], where: str) -> None:
    """Raises ConfigError for a name that is not among the `schemes` of the file."""
    for name in names:
        if name not in schemes:
            raise ConfigError(f"{where}: {name} is not among schemes ({', '.join(schemes)}); list it there")
