"""Samples as an infer function: what the Python API takes instead of one.

A list is gone through again for every pass. A generator can be gone through once: its samples are kept on
disk for the passes after the first, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from knight.errors import DataError
from knight.executor import Executor, InferFunction
from knight.files import output_errors
from knight.temporary import TemporaryFolder

Sample = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]
"""One forward call's worth of data: an array, one array per input in order, or arrays by input name."""


def feed(data: InferFunction | Iterable[Sample]) -> InferFunction:
    """An infer function that feeds `data`, at most as many samples as forward calls are asked for.

    A function is given back as it is. Raises DataError for data without samples.
    """
    return counted(data)[0]


def counted(data: InferFunction | Iterable[Sample]) -> tuple[InferFunction, int | None]:
    """As `feed`; and the number of samples, None for a function."""
    if callable(data):
        return data, None
    samples: Sequence[Sample] | _OnDisk
    samples = data if isinstance(data, Sequence) and not isinstance(data, np.ndarray) else _OnDisk(data)
    if not len(samples):
        raise DataError("the data is empty; give at least one sample")

    def infer(executor: Executor) -> None:
        for number, sample in enumerate(samples):
            if number == executor.iteration or executor.early_stop_flag:
                break
            executor.forward(*_arrays(executor, sample))

    return infer, len(samples)


class _OnDisk:
    """The samples of an iterable that can be gone through once, in files that go with this object."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._folder = TemporaryFolder()
        self._kinds: list[type] = []
        with output_errors(Path(self._folder.name)):
            for sample in samples:
                self._keep(sample)

    def _keep(self, sample: Sample) -> None:
        path = Path(self._folder.name, f"{len(self._kinds)}.npz")
        if isinstance(sample, np.ndarray):
            np.savez(path, sample)
        elif isinstance(sample, Mapping):
            np.savez(path, np.array(list(sample)), *sample.values())
        else:
            np.savez(path, *sample)
        kinds = (np.ndarray, Mapping)
        self._kinds.append(next((kind for kind in kinds if isinstance(sample, kind)), list))

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[Sample]:
        for number, kind in enumerate(self._kinds):
            # Text is kept pickled; the file is our own, in a folder of our own.
            with np.load(Path(self._folder.name, f"{number}.npz"), allow_pickle=True) as stored:
                arrays = [stored[f"arr_{place}"] for place in range(len(stored.files))]
            if kind is np.ndarray:
                yield arrays[0]
            elif kind is Mapping:
                yield dict(zip(map(str, arrays[0]), arrays[1:], strict=True))
            else:
                yield arrays


def _arrays(executor: Executor, sample: Sample) -> Sequence[np.ndarray]:
    if isinstance(sample, np.ndarray):
        return (sample,)
    if isinstance(sample, Mapping):
        missing = [name for name in executor.input_nodes if name not in sample]
        if missing:
            raise DataError(f"sample {executor.samples + 1}: no array for input {missing[0]!r}")
        return [sample[name] for name in executor.input_nodes]
    return sample
