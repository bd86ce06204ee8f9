"""Proves a conversion: the source framework and ONNX Runtime run side by side, and every output is compared.

The error of an output is its largest absolute difference over the range (max - min) of the reference, the
error of an integer or boolean output the fraction of its elements that differ. An output that is constant but
for rounding is measured against its magnitude.

Floor: frameworks add in different orders, so each sum of numbers of magnitude s carries a rounding of about
``eps * s``, in float32 1.2e-7 s. Where the range of an output is small, below `SMALL` of the largest input
(at least 1, the magnitude of normalized inputs and of weights), that alone may exceed the tolerance; so
differences up to `ROUNDINGS` such steps of that input pass, if they are also below `COARSE` of the range: an
operator that is converted wrongly changes more than that. They are told.

Ties: where several numbers are equal (a picture of zeros gives a detector equal scores), TopK, ArgMax and
suppression choose by the last bit. A sample on which the source's own output jumps as far, when its inputs
change by a few steps of rounding, decides nothing; others have to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from knight.converters import Conversion, Feeds
from knight.converters._shapes import OPEN, open_length
from knight.errors import KnightError, ModelError
from knight.runner import Session, TensorInfo

_SAMPLES = 3
_BATCHES = (1, 2, 5)
_NUDGES = 3
_JUMP = 1e-3  # rounding moves what is continuous by less
ROUNDINGS = 32
"""Steps of rounding that outputs may differ by, whatever the tolerance."""
SMALL = 1e-2
"""Range of an output, as a fraction of the largest input, below which rounding is looked at."""
COARSE = 1e-2
"""Largest error, as a fraction of the range, that counts as rounding."""


@dataclass
class Proof:
    """What the comparison found: the largest error and the output it is in, over how many samples.

    rounding: largest difference of the outputs whose error is above the tolerance, by no more than rounding.
    undecided: samples beside these that decide nothing.
    """

    error: float = 0.0
    output: str = ""
    samples: int = 0
    batches: list[int] = field(default_factory=list)
    rounding: dict[str, float] = field(default_factory=dict)
    undecided: int = 0


class Comparison:
    """The source framework and the converted model, run side by side.

    Raises ModelError at the first sample whose error is above `tolerance`; it names where that begins.
    """

    def __init__(self, conversion: Conversion, tolerance: float, threads: int = 1) -> None:
        if conversion.reference is None:
            raise ValueError("a conversion without a reference cannot be compared")
        self._reference = conversion.reference
        self._conversion = conversion
        self._tolerance = tolerance
        self._threads = threads
        self.session = Session(conversion.model, threads=threads)
        self.proof = Proof()

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        """The source framework's outputs, after comparing them with those of ONNX Runtime."""
        wanted = [np.asarray(array) for array in self._reference(feeds)]
        found = self.session.run(feeds)
        if len(wanted) != len(found):
            raise ModelError(f"the source gives {len(wanted)} outputs, its conversion {len(found)}")
        for number, (info, want, have) in enumerate(zip(self.session.outputs, wanted, found, strict=True)):
            error = difference(want, have)
            if not error <= self._tolerance:
                apart = _apart(want, have)
                if not is_rounding(error, apart, want, have, feeds):
                    if self._jumps(feeds, number, want, error):
                        self.proof.undecided += 1
                        return wanted
                    raise ModelError(self._explain(feeds, info.name, want, have, error))
                self.proof.rounding[info.name] = max(apart, self.proof.rounding.get(info.name, 0.0))
            if error >= self.proof.error:
                self.proof.error, self.proof.output = error, info.name
        self.proof.samples += 1
        return wanted

    def conclude(self) -> None:
        """Raises ModelError where no sample decided."""
        if not self.proof.samples:
            raise ModelError(
                f"none of {self.proof.undecided} samples shows whether the converted model is right: outputs "
                f"of the source itself jump when its inputs change in the last bits (ties in a TopK, an "
                f"ArgMax, a suppression); give real samples with -if"
            )

    def _jumps(self, feeds: Feeds, number: int, want: np.ndarray, error: float) -> bool:
        """Whether the source's own output changes about as much when its inputs change by a few roundings."""
        others = (np.asarray(self._reference(_nudged(feeds, seed))[number]) for seed in range(_NUDGES))
        return any(difference(want, other) >= max(error / 4, _JUMP) for other in others)

    def _explain(self, feeds: Feeds, name: str, want: np.ndarray, have: np.ndarray, error: float) -> str:
        if want.shape != have.shape:
            what = f"has shape {list(have.shape)} instead of {list(want.shape)}"
        else:
            what = f"differs by {error:.1e} of its range (up to {self._tolerance:.0e} is allowed)"
        where = self._first_difference(feeds)
        return f"the converted model is wrong: output {name!r} {what}; {where}"

    def _first_difference(self, feeds: Feeds) -> str:
        """The first layer, in the order of the graph, whose result differs, in words."""
        if self._conversion.probe is None:
            return "the source framework gives no values of layers, so the first wrong one is not known"
        model = self._conversion.model
        producers = {value.name: node for node in model.graph for value in node.outputs if value.name}
        known = self._conversion.probe(feeds, list(producers))
        names = [name for name in producers if name in known]
        session = Session(model, taps=names, threads=self._threads, level="none")
        found = dict(zip((info.name for info in session.outputs), session.run(feeds), strict=True))
        for name in names:
            want, have = known[name], found[name]
            error = difference(want, have)
            if not (error <= self._tolerance or is_rounding(error, _apart(want, have), want, have, feeds)):
                node = producers[name]
                return f"the first layer that differs is {node.name!r} ({node.op_type}), by {error:.1e}"
        return f"none of the {len(names)} layers that can be compared differs"


def difference(want: np.ndarray, have: np.ndarray) -> float:
    """The error of `have` against `want`; infinite for another shape, and where only one has NaN."""
    want, have = np.asarray(want), np.asarray(have)
    if want.shape != have.shape:
        return float("inf")
    if not want.size:
        return 0.0
    if want.dtype.kind not in "fc":
        return float(np.mean(want != have))
    same = (want == have) | (np.isnan(want) & np.isnan(have))  # infinities too
    if np.all(same):
        return 0.0
    eps = _eps(want, have)
    want, have = want.astype(np.float64), have.astype(np.float64)
    finite = np.isfinite(want)
    if not np.all(np.isfinite(have[~same])) or not np.all(finite[~same]):
        return float("inf")
    span, size = float(np.ptp(want[finite])), float(np.max(np.abs(want[finite])))
    if span <= ROUNDINGS * eps * size:
        span = size
    return float(np.max(np.abs(want[~same] - have[~same]))) / (span or 1.0)


def is_rounding(error: float, apart: float, want: np.ndarray, have: np.ndarray, feeds: Feeds) -> bool:
    """Whether a difference of `apart`, `error` of the range, is no more than rounding makes of `feeds`."""
    if want.dtype.kind not in "fc" or not np.isfinite(error):
        return False
    floats = [array for array in feeds.values() if array.dtype.kind == "f" and array.size]
    largest = max(
        (float(np.max(np.abs(array), where=np.isfinite(array), initial=1)) for array in floats), default=1
    )
    small = apart < error * SMALL * largest  # the range is the quotient of the two
    return small and error <= COARSE and apart <= ROUNDINGS * _eps(want, have) * largest


def _nudged(feeds: Feeds, seed: int) -> dict[str, np.ndarray]:
    """The floats of `feeds`, moved by a few steps of rounding of the largest (at least of 1)."""
    generator = np.random.default_rng(seed)
    moved = dict(feeds)
    for name, array in feeds.items():
        if array.dtype.kind == "f":
            step = 8 * np.finfo(array.dtype).eps * np.max(np.abs(array), where=np.isfinite(array), initial=1)
            moved[name] = (array + step * generator.standard_normal(array.shape)).astype(array.dtype)
    return moved


def _apart(want: np.ndarray, have: np.ndarray) -> float:
    """The largest difference of numbers that both have."""
    if np.shape(want) != np.shape(have) or want.dtype.kind not in "fc":
        return float("inf")
    with np.errstate(invalid="ignore"):
        found = np.abs(want.astype(np.float64) - have.astype(np.float64))
    return float(np.max(found, where=np.isfinite(found), initial=0))


def _eps(want: np.ndarray, have: np.ndarray) -> float:
    """The step of the coarser of two types of numbers."""
    return max(float(np.finfo(array.dtype).eps) for array in (want, have) if array.dtype.kind in "fc")


def prove(
    conversion: Conversion, tolerance: float, shapes: Sequence[Sequence[int]] = (), threads: int = 1
) -> Comparison:
    """Compares on the conversion's own examples and on random inputs, over several sizes of an open batch.

    shapes: one per input, for dimensions that are open beside the batch. Raises ModelError.
    """
    comparison = Comparison(conversion, tolerance, threads)
    for feeds in (*conversion.examples, *_random_feeds(conversion, comparison.session.inputs, shapes)):
        try:
            comparison.run(feeds)
        except KnightError as error:
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise type(error)(f"{error} (inputs of the proof: {sizes})") from error
        batch = next((array.shape[0] for array in feeds.values() if array.ndim), 1)
        if batch not in comparison.proof.batches:
            comparison.proof.batches.append(batch)
    return comparison


def _random_feeds(
    conversion: Conversion, inputs: Sequence[TensorInfo], shapes: Sequence[Sequence[int]]
) -> Iterator[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    names = {value.name: value for value in conversion.model.graph.inputs}
    sizes = _known_sizes(conversion, names, inputs, shapes)
    open_batch = any(info.shape and info.shape[0] is None for info in inputs)
    for batch in _BATCHES if open_batch else (None,) * _SAMPLES:
        feeds = {}
        for info in inputs:
            shape = _shape(info, names[info.name], sizes, batch)
            example = conversion.examples[0].get(info.name) if conversion.examples else None
            feeds[info.name] = _draw(generator, info, shape, example)
        yield feeds


def _known_sizes(
    conversion: Conversion,
    names: dict[str | None, ir.Value],
    inputs: Sequence[TensorInfo],
    shapes: Sequence[Sequence[int]],
) -> dict[object, int]:
    """Sizes of open dimensions, by the dimension's name where it has one, else by input and position."""
    sizes: dict[object, int] = {}
    given = {info.name: tuple(shape) for info, shape in zip(inputs, shapes, strict=False)}
    for example in conversion.examples:
        given = {**{name: array.shape for name, array in example.items()}, **given}
    for info in inputs:
        for axis, size in enumerate(given.get(info.name, ())):
            if size != OPEN:
                sizes.setdefault(_dimension(names[info.name], axis), size)
    return sizes


def _dimension(value: ir.Value, axis: int) -> object:
    dim = value.shape[axis] if value.shape is not None and axis < len(value.shape) else None
    name = dim.value if isinstance(dim, ir.SymbolicDim) else None
    return name or (value.name, axis)


def _shape(info: TensorInfo, value: ir.Value, sizes: dict[object, int], batch: int | None) -> tuple[int, ...]:
    lengths = open_length(len(info.shape))
    first = _dimension(value, 0)
    shape = []
    for axis, dim in enumerate(info.shape):
        if dim is not None:
            shape.append(dim)
        elif batch is not None and _dimension(value, axis) == first:
            shape.append(batch)
        else:
            shape.append(sizes.get(_dimension(value, axis), lengths))
    return tuple(shape)


def _draw(
    generator: np.random.Generator, info: TensorInfo, shape: tuple[int, ...], example: np.ndarray | None
) -> np.ndarray:
    """Random numbers of the input's type; integers stay within those of the example (else below 5)."""
    if info.dtype is None or info.dtype.kind == "O":
        raise ModelError(f"input {info.name!r} is a {info.kind}; Knight takes tensors of numbers")
    if info.dtype.kind == "f":
        return generator.standard_normal(shape).astype(info.dtype)
    if info.dtype.kind == "b":
        return generator.random(shape) < 0.5
    low, high = (0, 4) if example is None or not example.size else (int(example.min()), int(example.max()))
    return generator.integers(low, high, shape, endpoint=True).astype(info.dtype)
