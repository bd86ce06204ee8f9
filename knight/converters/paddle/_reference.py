"""The source beside its conversion: Paddle's own executor on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from knight.converters import Feeds
from knight.converters.paddle._framework import Loaded


def make_reference(loaded: Loaded) -> Callable[[Feeds], Sequence[np.ndarray]]:
    """A function from feeds to the program's outputs."""
    return loaded.run


def make_probe(
    loaded: Loaded, values: Mapping[str, int]
) -> Callable[[Feeds, Sequence[str]], Mapping[str, np.ndarray]]:
    """A function from feeds and names to those intermediate values; `values` has the number of each name."""

    def probe(feeds: Feeds, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        known = [name for name in names if name in values]
        arrays = loaded.fetch([values[name] for name in known], feeds) if known else []
        return dict(zip(known, arrays, strict=True))

    return probe
