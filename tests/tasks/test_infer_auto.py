"""Random data as the vendor documents it."""

from __future__ import annotations

import numpy as np
import pytest

from knight.errors import DataError
from knight.executor import Executor, RunSettings
from knight.runner import TensorInfo
from knight.tasks import tasks


def record(
    *inputs: tuple[str, str | None, tuple[int | None, ...]], **settings: int
) -> list[dict[str, np.ndarray]]:
    """What infer_auto feeds to a model with these inputs."""
    seen: list[dict[str, np.ndarray]] = []

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        seen.append(feeds)
        return []

    infos = [
        TensorInfo(name, None if kind is None else np.dtype(kind), shape, str(kind))
        for name, kind, shape in inputs
    ]
    result = tasks.get("infer_auto")(Executor(forward, infos, [], RunSettings(**settings)))
    assert result is None
    return seen


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floats_are_normal_with_seed_123(kind: str) -> None:
    (feeds,) = record(("x", kind, (2, 5)))
    np.random.seed(123)
    np.testing.assert_array_equal(feeds["x"], np.random.randn(2, 5).astype(kind))
    assert feeds["x"].dtype == kind


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers(kind: str) -> None:
    (feeds,) = record(("x", kind, (2, 50)))
    np.random.seed(123)
    low = -10 if kind.startswith("i") else 1
    np.testing.assert_array_equal(feeds["x"], np.random.randint(low, 10, size=(2, 50)))
    assert feeds["x"].dtype == kind


def test_dimensions_that_vary_become_the_batch_size() -> None:
    (feeds,) = record(("x", "float32", (None, 3, None)), ("y", "int64", (4,)), batch_size=6)
    assert feeds["x"].shape == (6, 3, 6) and feeds["y"].shape == (4,)


def test_iteration_calls_with_the_same_sample() -> None:
    seen = record(("x", "float32", (1, 4)), iteration=3)
    assert len(seen) == 3
    assert all(np.array_equal(feeds["x"], seen[0]["x"]) for feeds in seen)


def test_it_leaves_the_global_generator_alone() -> None:
    np.random.seed(5)
    wanted = np.random.rand()
    np.random.seed(5)
    record(("x", "float32", (1, 4)))
    assert np.random.rand() == wanted


@pytest.mark.parametrize(("kind", "said"), [("bool", "bool"), ("object", "string"), (None, "sequence")])
def test_other_types_are_refused_by_name(kind: str | None, said: str) -> None:
    with pytest.raises(DataError, match=rf"input 'flag' \(.*{said}.*-uds"):
        record(("flag", kind, (1, 4)))


def test_no_inputs() -> None:
    assert record(iteration=2) == [{}, {}]
