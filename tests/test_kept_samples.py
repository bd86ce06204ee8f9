"""Which samples are kept depends on their bytes alone; they take no more room than they may."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from hypothesis import given, strategies as st

from knight.kept_samples import KeptSamples, content_hash
from tests.passes.equivalence import random

SAMPLES = [{"x": random(1, 4, seed=seed), "n": np.array(seed)} for seed in range(20)]


def kept(samples: list[dict[str, np.ndarray]], count: int, **limits: int) -> list[dict[str, np.ndarray]]:
    with KeptSamples(count, **limits) as store:
        for sample in samples:
            store.offer(sample)
        assert len(store) == len(list(store))
        return list(store)


def equal(one: list[dict[str, np.ndarray]], other: list[dict[str, np.ndarray]]) -> bool:
    return len(one) == len(other) and all(
        left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)
        for left, right in zip(one, other, strict=True)
    )


def test_the_smallest_hashes_are_kept_in_their_order() -> None:
    wanted = sorted(SAMPLES, key=content_hash)[:5]
    assert equal(kept(SAMPLES, 5), wanted)
    assert all(sample["n"].shape == () and sample["x"].dtype == np.float32 for sample in kept(SAMPLES, 5))


@given(st.permutations(range(20)), st.integers(0, 25))
def test_order_plays_no_part(order: list[int], count: int) -> None:
    assert equal(kept([SAMPLES[place] for place in order], count), kept(SAMPLES, count))


@given(st.permutations(range(12)), st.integers(1, 4000))
def test_nor_does_it_where_room_is_short(order: list[int], limit: int) -> None:
    uneven = [{"x": np.full(8 * (number % 5 + 1), number, np.float32)} for number in range(12)]
    shuffled = kept([uneven[place] for place in order], 8, limit=limit)
    assert equal(shuffled, kept(uneven, 8, limit=limit))
    size = sum(sample["x"].nbytes for sample in shuffled)
    assert size <= limit or len(shuffled) == 1


def test_the_same_sample_is_kept_once() -> None:
    assert len(kept([SAMPLES[0]] * 3 + [SAMPLES[1]], 10)) == 2


def test_name_type_shape_and_bytes_make_the_hash() -> None:
    x = np.arange(4, dtype=np.float32)
    others = [{"y": x}, {"x": x.view(np.int32)}, {"x": x.reshape(2, 2)}, {"x": x + 1}]
    assert len({content_hash(feeds) for feeds in [{"x": x}, *others]}) == 5
    digest = hashlib.sha256(repr(("x", "<f4", (4,))).encode() + x.tobytes())
    assert content_hash({"x": x[::-1][::-1]}) == digest.hexdigest()


def test_text_is_not_kept() -> None:
    assert kept([{"words": np.array(["a"], object)}], 5) == []


def test_its_folder_goes_with_it(tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # type: ignore[attr-defined]
    with KeptSamples(5) as store:
        store.offer(SAMPLES[0])
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    with KeptSamples(0) as store:
        store.offer(SAMPLES[0])
        assert not list(tmp_path.iterdir())  # nobody asked for samples
