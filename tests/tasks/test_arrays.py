"""The newer form: pictures, .npy and .bin files per input, as many as the calls take, without a metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knight.errors import ConfigError, DataError
from knight.tasks import infer_default
from knight.tasks._arrays import load_npy, load_raw
from tests.tasks import _runs


class Seen:
    """A net that keeps what it is fed."""

    def __init__(self) -> None:
        self.calls: list[list[np.ndarray]] = []

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        self.calls.append([array.copy() for array in arrays])
        return [np.zeros((1, 2), np.float32)]


def entry(folder: Path, name: str = "x", form: str = "Numpy", **values: Any) -> dict[str, Any]:
    return {"data_dir": str(folder), "input_name": name, "quant_data_format": form, **values}


def feed(
    *entries: dict[str, Any], inputs: Sequence[_runs.TensorInfo] = (_runs.info((1, 4)),), **settings: Any
) -> list[list[np.ndarray]]:
    seen = Seen()
    assert infer_default.infer(_runs.executor(seen, *entries, inputs=inputs, **settings)) is None
    return seen.calls


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Three files of four numbers, beside something else."""
    (tmp_path / "arrays").mkdir()
    for number in range(3):
        np.save(tmp_path / "arrays" / f"{number}.npy", np.full((1, 4), number, np.float32))
    (tmp_path / "arrays" / "notes.md").touch()
    return tmp_path / "arrays"


def raw(folder: Path, *contents: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for number, array in enumerate(contents):
        (folder / f"{number}.bin").write_bytes(array.tobytes())
    return folder


@pytest.mark.parametrize(("iteration", "wanted"), [(2, [0, 1]), (3, [0, 1, 2]), (5, [0, 1, 2, 0, 1])])
def test_files_are_fed_by_name_and_start_over(arrays: Path, iteration: int, wanted: list[int]) -> None:
    calls = feed(entry(arrays), iteration=iteration)
    assert [call[0][0, 0] for call in calls] == wanted


def test_inputs_are_fed_by_their_names_in_the_models_order(arrays: Path, tmp_path: Path) -> None:
    ids = raw(tmp_path / "ids", *[np.full((1, 5), 7 + n, np.int64) for n in range(2)])
    inputs = [_runs.info((1, 5), "ids", "int64"), _runs.info((1, 4), "x")]
    calls = feed(entry(arrays, "x"), entry(ids, "ids", "Bin"), inputs=inputs, iteration=3)
    assert [(call[0][0, 0], call[1][0, 0]) for call in calls] == [(7, 0), (8, 1), (7, 2)]
    assert [array.dtype for array in calls[0]] == [np.int64, np.float32]


@pytest.mark.parametrize(
    ("shape", "batch", "count", "got"),
    [
        ((1, 3, 2), 1, 6, (1, 3, 2)),
        ((None, 3, 2), 1, 6, (1, 3, 2)),
        ((None, 3, 2), 4, 24, (4, 3, 2)),
        ((1, None, 2), 1, 10, (1, 5, 2)),  # a signal of any length
    ],
)
def test_raw_numbers_take_the_shape_of_the_input(
    tmp_path: Path, shape: Sequence[int | None], batch: int, count: int, got: tuple[int, ...]
) -> None:
    numbers = np.arange(count, dtype=np.float32)
    calls = feed(
        entry(raw(tmp_path / "raw", numbers), form="bin"),
        inputs=[_runs.info(shape)],
        iteration=1,
        batch_size=batch,
    )
    np.testing.assert_array_equal(calls[0][0], numbers.reshape(got))


@pytest.mark.parametrize(
    ("shape", "content", "message"),
    [
        ((1, 4), np.zeros(5, np.float32), r"0\.bin: holds 5 numbers of float32; input 'x' takes 4"),
        ((1, 4), np.zeros(5, np.uint8), r"0\.bin: 5 bytes are no float32 numbers"),
        ((1, None, 4), np.zeros(5, np.float32), r"0\.bin: holds 5 numbers of float32"),
        ((1, None, 4), np.zeros(0, np.float32), r"0\.bin: holds 0 numbers of float32"),
        ((1, None, None), np.zeros(4, np.float32), r"0\.bin: 16 bytes are no float32 numbers"),
    ],
)
def test_raw_files_that_do_not_fit_are_named(
    tmp_path: Path, shape: Sequence[int | None], content: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        feed(entry(raw(tmp_path / "raw", content), form="Bin"), inputs=[_runs.info(shape)])


def test_damaged_and_unfitting_npy_files_are_named(arrays: Path) -> None:
    (arrays / "1.npy").write_bytes((arrays / "1.npy").read_bytes()[:100])
    with pytest.raises(DataError, match=r"1\.npy: not a whole \.npy file"):
        feed(entry(arrays))
    np.save(arrays / "1.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"1\.npy: not a whole \.npy file"):
        feed(entry(arrays))
    np.save(arrays / "1.npy", np.zeros(4, np.float32))
    with pytest.raises(DataError, match=r"sample 2: input 'x' wants .* add the batch axis"):
        feed(entry(arrays))
    np.save(arrays / "1.npy", np.zeros((1, 4)))
    with pytest.raises(DataError, match=r"sample 2: input 'x' wants float32.*astype"):
        feed(entry(arrays))


def test_missing_and_empty_folders_are_named(arrays: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        feed(entry(arrays / "nowhere"))
    with pytest.raises(DataError, match=r"arrays: no \.bin file in it"):
        feed(entry(arrays, form="Bin"))
    with pytest.raises(DataError, match=r"arrays: no picture"):
        feed(entry(arrays, form="Image"), inputs=[_runs.info()])


def test_entries_have_to_name_the_models_inputs(arrays: Path) -> None:
    with pytest.raises(ConfigError, match="name the inputs y; the model has x"):
        feed(entry(arrays, "y"))
    with pytest.raises(ConfigError, match="name the inputs x; the model has x, z"):
        feed(entry(arrays), inputs=[_runs.info((1, 4)), _runs.info((1, 4), "z")])
    with pytest.raises(ConfigError, match="name the inputs x, x; the model has x"):
        feed(entry(arrays), entry(arrays))


def test_pictures_are_letterboxed_and_batched_over_the_end(tmp_path: Path) -> None:
    for number in range(3):
        _runs.paint(tmp_path / "p" / f"{number}.png", (10, 20, 30 + number), (4, 8))
    values = {"padding_constant_value": 0, "mean": [1, 2, 3], "std": [2, 2, 2]}
    calls = feed(
        entry(tmp_path / "p", form="Image", **values), inputs=[_runs.info((2, 3, 8, 8))], iteration=2
    )
    blue = [call[0][:, 0, 4, 4].tolist() for call in calls]
    assert blue == [[14.5, 15.0], [15.5, 14.5]]  # BGR; the third, then the first again
    np.testing.assert_array_equal(calls[0][0][0, :, 0, 0], [-0.5, -1, -1.5])  # the padding, normalized


def test_pictures_keep_their_ratio_and_are_resized_as_pillow_resizes_bicubic(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (20, 37, 3)).astype(np.uint8))
    (tmp_path / "p").mkdir()
    picture.save(tmp_path / "p" / "a.png")
    calls = feed(
        entry(tmp_path / "p", form="Image", color_space="RGB", padding_constant_value=9),
        inputs=[_runs.info((1, 3, 16, 16))],
        iteration=1,
    )
    wanted = np.full((16, 16, 3), 9, np.float32)
    new_height = round(20 * 16 / 37)
    top = round((16 - new_height) / 2 - 0.1)
    wanted[top : top + new_height] = picture.resize((16, new_height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(calls[0][0][0], wanted.transpose(2, 0, 1))


def test_inputs_of_bytes_take_pixels_though_mean_and_std_are_given(tmp_path: Path) -> None:
    _runs.paint(tmp_path / "p" / "a.png", (10, 20, 30))
    values = {"mean": [1, 2, 3], "std": [2, 2, 2], "quantize_input_dtype": "uint8"}
    for dtype, wanted in (("uint8", [30, 20, 10]), ("float32", [14.5, 9, 3.5])):
        calls = feed(
            entry(tmp_path / "p", form="Image", **values), inputs=[_runs.info(dtype=dtype)], iteration=1
        )
        assert calls[0][0][0, :, 0, 0].tolist() == wanted


def test_an_early_stop_ends_the_pass(arrays: Path) -> None:
    seen = Seen()
    one = _runs.executor(seen, entry(arrays), inputs=[_runs.info((1, 4))])
    one.early_stop_flag = True
    infer_default.infer(one)
    assert len(seen.calls) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "shape", [(2**40,), (2**40, 2**40), (2**32, 2**32), (2**63, 2), (-1,), (5,), "(" * 900], ids=str
)
def test_a_head_that_does_not_fit_its_file_is_refused_before_there_is_memory(
    tmp_path: Path, shape: object
) -> None:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(16))
    with pytest.raises(DataError, match=rf"x\.npy: not a whole \.npy .* \({26 + len(head)} bytes\): \S"):
        load_npy(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.float32(2), np.asfortranarray(np.eye(3, 2))])
def test_every_whole_file_of_numbers_is_read(
    tmp_path: Path, version: tuple[int, int], array: np.ndarray
) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, np.asanyarray(array), version)
    found = load_npy(tmp_path / "x.npy")
    assert found.dtype == array.dtype and type(found) is np.ndarray
    np.testing.assert_array_equal(found, array)


def test_an_array_that_memory_does_not_hold_is_not_read(tmp_path: Path) -> None:
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}\n"
    with (tmp_path / "x.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
        file.truncate(file.tell() + (1 << 42))
    with pytest.raises(DataError, match=r"x\.npy: takes 4\.4 TB, and .* of memory are free"):
        load_npy(tmp_path / "x.npy")


def test_a_raw_file_of_another_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.bin").open("wb") as file:
        file.truncate(1 << 42)  # takes no room on the disk
    with pytest.raises(DataError, match=r"x\.bin: holds 1099511627776 numbers of float32; input 'x' takes 4"):
        load_raw(tmp_path / "x.bin", (1, 4), np.dtype("float32"), "x")
    with pytest.raises(DataError, match=r"x\.bin: takes 4\.4 TB, and .* of memory are free"):
        load_raw(tmp_path / "x.bin", (None, 4), np.dtype("float32"), "x")
