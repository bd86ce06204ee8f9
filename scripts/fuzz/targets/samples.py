"""Samples in .npy and .bin files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knight.tasks._samples import Feeder, find_samples
from scripts.fuzz.mutators.raw import Bytes
from scripts.fuzz.targets import Target, each, written

_SHAPES = {"x": [None, 3, 4], "ids": [1, None]}
_DTYPES = {"x": np.dtype(np.float32), "ids": np.dtype(np.int64)}


def run(data: bytes, folder: Path) -> None:
    """As either kind, for either of two inputs."""
    feeder = Feeder(tuple(_SHAPES), _SHAPES, _DTYPES, 2)
    calls = []
    for suffix in (".npy", ".bin"):
        place = folder / suffix[1:]
        for name in _SHAPES:
            (place / name).mkdir(parents=True)
            written(place / name, f"a{suffix}", data)
            calls.append(lambda suffix=place, name=name: _batches(feeder, suffix, name))
    each(*calls)


def _batches(feeder: Feeder, place: Path, name: str) -> None:
    samples = find_samples(place, [name])
    one = Feeder((name,), feeder.shapes, feeder.dtypes, 2)
    for _ in one.batches(samples, one.batch(samples[0])):
        pass


target = Target(run, Bytes())
