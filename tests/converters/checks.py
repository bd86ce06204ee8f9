"""What the tests of every converter ask: does ONNX Runtime compute what the source framework computes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from knight import model as models
from knight.converters import Conversion
from knight.runner import Session


def random_feeds(session: Session, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal numbers for floats, small ones for integers; open dimensions are `batch`."""
    generator = np.random.default_rng(seed)
    feeds = {}
    for info in session.inputs:
        assert info.dtype is not None
        shape = tuple(batch if dim is None else dim for dim in info.shape)
        if info.dtype.kind == "f":
            feeds[info.name] = generator.standard_normal(shape).astype(info.dtype)
        elif info.dtype.kind == "b":
            feeds[info.name] = generator.random(shape) < 0.5
        else:
            feeds[info.name] = generator.integers(0, 5, shape).astype(info.dtype)
    return feeds


def assert_same(
    conversion: Conversion,
    feeds: Mapping[str, np.ndarray] | None = None,
    *,
    tolerance: float = 1e-4,
    batches: Sequence[int] = (1, 3),
) -> None:
    """Every output within `tolerance` of the reference's range; equal for integers and booleans.

    feeds: what to run (default: random numbers, once per batch where a dimension is open, twice otherwise).
    """
    assert models.opset(conversion.model) >= 17
    assert all(node.domain in ("", "ai.onnx") for node in conversion.model.graph.all_nodes())
    session = Session(conversion.model, level="basic")
    assert conversion.reference is not None, conversion.unproven
    samples = [feeds] if feeds else [random_feeds(session, batch, batch) for batch in batches]
    for sample in samples:
        wanted = conversion.reference(sample)
        got = session.run(sample)
        assert len(wanted) == len(got)
        for info, want, have in zip(session.outputs, wanted, got, strict=True):
            assert have.shape == np.shape(want), f"{info.name}: {have.shape} instead of {np.shape(want)}"
            if have.dtype.kind != "f":
                np.testing.assert_array_equal(have, want, err_msg=info.name)
                continue
            span = float(np.ptp(want)) or float(np.max(np.abs(want), initial=0)) or 1.0
            error = float(np.max(np.abs(have.astype(np.float64) - want), initial=0)) / span
            assert error < tolerance, f"{info.name}: error {error:.2e} of the range"
