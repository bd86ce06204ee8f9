"""What a chip or a runtime can do, as data: one TOML file per family, no code.

A family file may name another with ``extends`` and states only what differs; the file name is the
family's name. `knight.targets._file.Document` has the keys; an unknown key, a wrong type or a value out
of range is an error naming file and key. Users pass their own file with ``--chip ./my_chip.toml``;
another distribution adds a family through the entry-point group ``knight.targets``, whose entries
load to the path of a TOML file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knight.errors import ConfigError, did_you_mean
from knight.files import other_kind
from knight.registry import FileRegistry
from knight.targets import _file
from knight.targets._scheme import Scheme
from knight.types import QuantSpec

__all__ = ["DEFAULT_CHIP", "Scheme", "Target", "chip_names", "families", "load_target"]

DEFAULT_CHIP = "TX5368AV200"

targets = FileRegistry("target", __package__, "knight.targets", ".toml")


@dataclass(frozen=True)
class Target:
    """One chip family or runtime.

    name, description, source: family name, one line for people, where the facts are published.
    chip: the name that the user asked for, in the spelling of the file.
    chips: the names by which users ask for it (the family name always works).
    schemes: the widths that go together and how each quantizes, the default first. widths: operator -> the
        names of the only schemes that it runs in; the others run in all.
    forms: operator -> how it is written (see `knight.forms`), where that is not between Q/DQ.
    runtime: "onnxruntime" where ONNX Runtime itself executes the result, so integer coverage is counted
        after its own optimisation; "" where the chip does.
    opset: opset that the quantized model has at least.
    static_shapes: the result must have a fixed batch and picture size.
    fixed_point_outputs: outputs leave the model as integers held in float.
    integer_normalization: what normalizes an integer input runs as integers, where the outputs lose next to
        nothing by it.

    anchors: operators that are worth running as integers by themselves.
    followers: operators that run as integers where their inputs are integers anyway and an
        anchor needs their result; elsewhere they stay float.
    keep_scale: operators that only move or select values: output and input share one scale.
    kept_apart: operators whose weights the runtime quantizes by itself where they stay float between pairs,
        unless something stands between.
    float_result: integer operators that can hand a float result to a float reader.
    software: operators that the vendor runs on the CPU: supported, in float.
    recognise: composite operators worth recognising from their decomposed form.

    multiplier_bits, shift_range: requantization by ``(acc * multiplier) >> shift``; 0 bits where the
        runtime multiplies in float and nothing needs checking.
    unify_concat: Concat inputs must share one scale.
    constant_matmul_only: a MatMul of two activations stays float; only one with a constant weight pays.
    """

    name: str
    chip: str = ""
    description: str = ""
    source: str = ""
    chips: tuple[str, ...] = ()
    schemes: tuple[Scheme, ...] = ()
    widths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    runtime: str = ""
    opset: int = 17
    static_shapes: bool = False
    fixed_point_outputs: bool = False
    integer_normalization: bool = False

    anchors: frozenset[str] = frozenset()
    followers: frozenset[str] = frozenset()
    keep_scale: frozenset[str] = frozenset()
    kept_apart: frozenset[str] = frozenset()
    float_result: frozenset[str] = frozenset()
    software: frozenset[str] = frozenset()
    recognise: frozenset[str] = frozenset()

    multiplier_bits: int = 0
    shift_range: tuple[int, int] = (0, 31)
    unify_concat: bool = False
    constant_matmul_only: bool = False

    def scheme(self, weight_bits: int, activation_bits: int, op_type: str | None = None) -> Scheme:
        """The scheme of these widths, which the operators called `op_type` must be able to run in.

        Raises ConfigError saying what there is.
        """
        wanted = f"w{weight_bits}a{activation_bits}"
        found = {scheme.name: scheme for scheme in self.schemes}.get(wanted)
        if found is None:
            there = ", ".join(scheme.name for scheme in self.schemes)
            raise ConfigError(f"{self.name} has no {wanted}; it has {there}")
        own = self.widths.get(op_type) if op_type is not None else None
        if own is not None and wanted not in own:
            raise ConfigError(f"{self.name} has no {wanted} for {op_type}, which it runs as {', '.join(own)}")
        return found

    @property
    def bits(self) -> tuple[int, ...]:
        """The widths in which weights and activations may both be."""
        same = (one.weight_bits for one in self.schemes if one.weight_bits == one.activation_bits)
        return tuple(sorted(same))

    @property
    def weight_signed(self) -> bool:
        """Whether the default scheme's weights are."""
        return self.schemes[0].weight_signed

    def activation_spec(self, bits: int) -> QuantSpec:
        """How an activation is quantized where weights have this width too."""
        return self.scheme(bits, bits).activation_spec()

    def weight_spec(self, bits: int, axis: int | None) -> QuantSpec:
        """How a weight is quantized at this width, with `axis` its output channels."""
        width = next((width for width in self.bits if width >= bits), bits)  # --reduce-range asks for 7
        return self.scheme(width, width).weight_spec(axis, bits)

    @property
    def integer_operators(self) -> frozenset[str]:
        """Every operator that can run as integers on this target."""
        return self.anchors | self.followers | self.keep_scale


def families() -> tuple[str, ...]:
    """Names of all families, sorted; reads no file."""
    return tuple(sorted(_sources()))


def chip_names() -> tuple[str, ...]:
    """Every name that `load_target` takes, families and chips, sorted."""
    names: set[str] = set()
    for family, source in _sources().items():
        names.add(family)
        names.update(_file.read(source, family).get("chips", ()))
    return tuple(sorted(names))


def load_target(name_or_path: str) -> Target:
    """The target called `name_or_path`: a family or a chip in any case, or the path of a TOML file.

    Raises ConfigError for an unknown name (with near misses) and for a file that cannot be used.
    """
    if not name_or_path.lower().endswith(".toml"):
        found = _find(name_or_path)
        if found is not None:
            family, chip = found
            return _build(_sources()[family], family, chip, folder=None)
        if not Path(name_or_path).is_file() and other_kind(name_or_path) is None:
            known = did_you_mean(name_or_path, chip_names())
            raise ConfigError(f"unknown chip {name_or_path!r}: {known}")
    path = Path(name_or_path)
    if not path.exists():
        raise ConfigError(f"target file {path}: no such file")
    return _build(path, path.stem, path.stem, folder=path.parent)


def _sources() -> dict[str, _file.Readable]:
    """Family name -> its file, found when it is read: ours, then those of other distributions."""
    names = sorted(targets.names(), key=lambda name: (name not in targets.built_in, name))
    return {name: _Entry(name) for name in names}


@dataclass(frozen=True)
class _Entry:
    """The file of one family."""

    name: str

    def read_bytes(self) -> bytes:
        return targets.get(self.name).read_bytes()


def _find(name: str) -> tuple[str, str] | None:
    """Family and properly spelt name of `name` (a family or a chip, in any case); None if unknown."""
    wanted = name.lower()
    sources = _sources()
    for family in sources:
        if family.lower() == wanted:
            return family, family
    for family, source in sources.items():
        for chip in _file.read(source, family).get("chips", ()):
            if chip.lower() == wanted:
                return family, chip
    return None


def _build(file: _file.Readable, name: str, chip: str, folder: Path | None) -> Target:
    label = name if folder is None else str(file)
    stated = _resolve(file, label, folder, ())
    return Target(name=name, chip=chip, **_file.fields(stated, label))


def _resolve(file: _file.Readable, label: str, folder: Path | None, above: tuple[str, ...]) -> dict[str, Any]:
    """What `file` states over what the family states that it extends; `above` are the files that led here."""
    if label in above:
        raise ConfigError(f"target file {label}: extends itself: {' -> '.join((*above, label))}")
    stated = _file.read(file, label)
    base = stated.pop("extends", None)
    found = stated
    if base is not None:
        inherited = _base(base, label, folder, (*above, label))
        kept = {key: value for key, value in inherited.items() if key not in _file.OWN_KEYS}
        found = _file.merged(kept, stated)
    listed = found.get("schemes", _file.DEFAULT_SCHEMES)
    for name in stated.get("scheme", {}):
        _file.check_listed([name], listed, f"target file {label}: scheme.{name}")
    return found


def _base(base: str, label: str, folder: Path | None, above: tuple[str, ...]) -> dict[str, Any]:
    """What the family or file `base` states that the file called `label` in `folder` extends."""
    if folder is not None and base.lower().endswith(".toml"):
        path = folder / base
        return _resolve(path, str(path), path.parent, above)
    found = _find(base)
    if found is None:
        raise ConfigError(
            f"target file {label}: extends {base!r}, which is not known: {did_you_mean(base, chip_names())}"
        )
    return _resolve(_sources()[found[0]], found[0], None, above)
