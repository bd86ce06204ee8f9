"""Samples that are arrays in files: .npy or raw .bin, one per sample, in a folder per input of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from knight.errors import ConfigError, DataError, did_you_mean
from knight.executor import NUMPY_TYPES, Executor
from knight.tasks._arrays import load_npy, load_raw
from knight.tasks._batches import filled, groups

SUFFIXES = (".npy", ".bin")

Shape = Sequence[int | None]


@dataclass(frozen=True)
class Sample:
    """name: that of its file for the first fed input. files: its file for each fed input."""

    name: str
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Feeder:
    """How samples become what `Executor.forward` takes. constants: numbers that fill the inputs not fed."""

    names: Sequence[str]
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, np.dtype]
    batch_size: int
    constants: Mapping[str, float] = field(default_factory=dict)

    def load(self, sample: Sample) -> dict[str, np.ndarray]:
        """One sample's array for each input that is fed, with an axis for the batch."""
        return {name: self._load(name, path) for name, path in sample.files.items()}

    def _load(self, name: str, path: Path) -> np.ndarray:
        shape, dtype = self.shapes[name], self.dtypes[name]
        one = [1, *shape[1:]] if shape else []
        if path.suffix.lower() == ".bin":
            return load_raw(path, one, dtype, name)
        array = _as(dtype, load_npy(path), path, name)
        if _fits(one, array.shape) or _fits(shape, array.shape):
            return array
        if _fits(one[1:], array.shape):
            return array[None]
        wanted = " or ".join(_shown(each) for each in (one, one[1:]) if each)
        raise DataError(f"{path}: the array is {_shown(array.shape)}; input {name!r} takes {wanted}")

    def batch(self, sample: Sample) -> int:
        """Samples per forward call: as many as the model fixes, or the user asks for if all have one size."""
        shapes = [self.shapes[name] for name in sample.files]
        first = shapes[0][0] if shapes[0] else 1
        if any(array.shape[:1] != (1,) for array in self.load(sample).values()):
            return 1  # one number, or time stands first
        if first is None:
            return 1 if any(None in shape[1:] for shape in shapes) else self.batch_size
        return first

    def batches(
        self, samples: Sequence[Sample], batch: int
    ) -> Iterator[tuple[list[Sample], list[np.ndarray]]]:
        """Samples in groups, and the arrays for `forward`; the last group is filled up with its last one."""
        constant = {name: self._constant(name, batch) for name in self.constants}
        for group in groups(samples, lambda sample: (sample, self.load(sample)), batch):
            given = group[0][1]
            if batch > 1:
                given = {name: filled([arrays[name] for _, arrays in group], batch) for name in given}
            yield [sample for sample, _ in group], [{**given, **constant}[name] for name in self.names]

    def _constant(self, name: str, batch: int) -> np.ndarray:
        shape = [batch if dim is None else dim for dim in self.shapes[name]]
        return np.full(shape, self.constants[name], self.dtypes[name])


def feeder(executor: Executor, constants: Mapping[str, float], where: str) -> Feeder:
    """For the inputs of the model, of which `constants` are not fed. ConfigError for other names."""
    executor.init_shape_info()
    for name in constants:
        if name not in executor.input_nodes:
            raise ConfigError(
                f"{where}: the model has no input {name!r}: {did_you_mean(name, executor.input_nodes)}"
            )
    if len(constants) == len(executor.input_nodes):
        raise ConfigError(f"{where}: every input of the model is named there; at least one reads data")
    return Feeder(
        names=executor.input_nodes,
        shapes={name: executor.shape_dicts[name] for name in executor.input_nodes},
        dtypes={
            name: np.dtype(NUMPY_TYPES.get(executor.input_types[name], object))
            for name in executor.input_nodes
        },
        batch_size=executor.batch_size,
        constants=constants,
    )


def find_samples(folder: Path, inputs: Sequence[str]) -> list[Sample]:
    """The samples in `folder`, sorted by name: in a sub-folder for each of `inputs`; for one, also without.

    Files of one sample have the same stem. Raises DataError naming what is missing.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; data_dir names it")
    by_input = {name: _by_stem(_folder_of(folder, name, inputs)) for name in inputs}
    first = by_input[inputs[0]]
    for name, files in by_input.items():
        for stem in sorted(first.keys() ^ files.keys()):
            raise DataError(
                f"{folder}: input {name if stem in first else inputs[0]!r} has no file {stem}, which "
                f"{(first.get(stem) or files[stem]).relative_to(folder)} belongs to"
            )
    return [
        Sample(path.name, {name: by_input[name][stem] for name in inputs}) for stem, path in first.items()
    ]


def _folder_of(folder: Path, name: str, inputs: Sequence[str]) -> Path:
    if (folder / name).is_dir():
        return folder / name
    if len(inputs) > 1:
        raise DataError(
            f"{folder}: no folder {name!r} in it; the model reads {len(inputs)} inputs, each from a folder "
            f"of its name: {', '.join(inputs)} (but for those that input-configs names in zeros)"
        )
    return folder


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            if path.stem in found:
                raise DataError(f"{path}: {found[path.stem].name} has the same stem; keep one of them")
            found[path.stem] = path
    if not found:
        raise DataError(f"{folder}: no .npy or .bin file in it; data_dir names the folder of the samples")
    return found


def _as(dtype: np.dtype, array: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Floats of any width become the input's; whole numbers do where they keep their values."""
    if array.dtype == dtype or (array.dtype.kind == dtype.kind == "f"):
        return array.astype(dtype, copy=False)
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        whole = array.astype(dtype)
        if np.array_equal(whole, array):
            return whole
    raise DataError(
        f"{path}: holds {array.dtype}; input {name!r} takes {dtype}: convert it, scaled as the model wants"
    )


def _fits(wanted: Shape, got: tuple[int, ...]) -> bool:
    return len(wanted) == len(got) and all(w in (None, g) for w, g in zip(wanted, got, strict=True))


def _shown(shape: Shape) -> str:
    return "x".join("?" if dim is None else str(dim) for dim in shape) or "one number"
