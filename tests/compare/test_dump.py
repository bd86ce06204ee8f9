"""Dump folders as they are written: layout, names, the limit on disk use, whole or not at all."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from knight.compare import dump as dumps
from knight.compare.dump import DumpWriter, Entry, folder_name, read_index, safe_name
from knight.errors import DataError, OutputError
from knight.listener import Listener

BLOCK = 4096
PLENTY = 1 << 30
ENTRIES = [Entry("Input", "x", "x"), Entry("Conv", "conv1", "y", "y_quantized")]


class Ears(Listener):
    """Keeps what it hears, and whether the files were there already."""

    def __init__(self, folder: Path) -> None:
        self.details: list[str] = []
        self.warnings: list[str] = []
        self.seen: list[int] = []
        self._folder = folder

    def announce(self, text: str) -> None:
        self.details.append(text)
        self.seen.append(len(list(self._folder.rglob("*"))))

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.seen.append(len(list(self._folder.rglob("*"))))


def arrays(count: int = 2, shape: tuple[int, ...] = (2, 3)) -> list[np.ndarray]:
    return [np.full(shape, number, np.float32) for number in range(count)]


def write(folder: Path, entries: list[Entry] = ENTRIES, calls: int = 1, limit: int = PLENTY) -> None:
    with DumpWriter(folder, entries, limit=limit) as writer:
        writer.announce(calls, 48 * len(entries))
        for _ in range(calls):
            writer.put(arrays(len(entries)), arrays(len(entries)))


def test_layout_is_the_documented_one(tmp_path: Path) -> None:
    write(tmp_path / "dump", calls=2)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "dump/dump.json",
        *(
            f"dump/{half}/{layer}/batch_{call}.npy"
            for half in ("float", "quant")
            for layer in ("0001:Input_x", "0002:Conv_y")
            for call in (0, 1)
        ),
    ]
    assert json.loads((tmp_path / "dump" / "dump.json").read_text("utf-8")) == [
        {
            "op_type": "Input",
            "op_name": "x",
            "op_output_name": "x",
            "folder": "0001:Input_x",
            "batches": 2,
            "shape": [2, 3],
            "dtype": "float32",
        },
        {
            "op_type": "Conv",
            "op_name": "conv1",
            "op_output_name": "y",
            "quantized_output_name": "y_quantized",
            "folder": "0002:Conv_y",
            "batches": 2,
            "shape": [2, 3],
            "dtype": "float32",
        },
    ]


@pytest.mark.parametrize(
    "array",
    [
        np.asarray([np.nan, np.inf, -np.inf, 0.0], np.float32),
        np.asarray([True, False]),
        np.asarray([[-(2**63), 2**63 - 1]], np.int64),
        np.zeros((0, 3), np.float16),
        np.asarray(7, np.uint8),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
    ids=["nonfinite", "bool", "int64", "empty", "0-d", "fortran"],
)
def test_numbers_come_back_as_they_were(tmp_path: Path, array: np.ndarray) -> None:
    with DumpWriter(tmp_path / "dump", ENTRIES[:1], limit=PLENTY) as writer:
        writer.announce(1, 2 * array.nbytes)
        writer.put([array], [array])
    back = np.load(tmp_path / "dump" / "quant" / "0001:Input_x" / "batch_0.npy")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert back.shape == array.shape


def test_types_that_npy_files_do_not_know_become_float32(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.asarray([1.5, -2.0], ml_dtypes.bfloat16)
    with DumpWriter(tmp_path / "dump", ENTRIES[:1], limit=PLENTY) as writer:
        writer.announce(1, 16)
        writer.put([array], [array])
    back = np.load(tmp_path / "dump" / "float" / "0001:Input_x" / "batch_0.npy")
    assert back.dtype == np.float32 and back.tolist() == [1.5, -2.0]
    assert json.loads((tmp_path / "dump" / "dump.json").read_text("utf-8"))[0]["dtype"] == "float32"


def test_text_is_refused_by_name(tmp_path: Path) -> None:
    text = np.asarray(["a", "b"], object)
    with (
        pytest.raises(DataError, match="'x' holds object and not numbers"),
        DumpWriter(tmp_path / "dump", ENTRIES[:1], limit=PLENTY) as writer,
    ):
        writer.announce(1, 16)
        writer.put([text], [text])
    assert list(tmp_path.iterdir()) == []


def test_it_says_what_it_will_need_before_it_writes(tmp_path: Path) -> None:
    ears = Ears(tmp_path)
    with DumpWriter(tmp_path / "dump", ENTRIES, limit=PLENTY, listener=ears) as writer:
        assert writer.announce(3, 10_000_000) == 3
    assert len(ears.details) == 1
    assert "2 layers x 3 forward calls" in ears.details[0] and "30.1 MB" in ears.details[0]
    assert ears.seen[0] == 0


def test_only_the_first_calls_that_fit_are_kept(tmp_path: Path) -> None:
    ears = Ears(tmp_path)
    size = 1 << 20
    with DumpWriter(tmp_path / "dump", ENTRIES, limit=5 * size, listener=ears) as writer:
        kept = writer.announce(100, 2 * 2 * (size // 4))
        assert 1 <= kept < 5
        assert len(ears.warnings) == 1 and f"only the first {kept} are dumped" in ears.warnings[0]
        assert "--dump-limit" in ears.warnings[0] and "5.24 MB" in ears.warnings[0]
        assert ears.seen == [0, 0]
        for _ in range(100):
            writer.put(*[[np.zeros(size // 16, np.float32)] * 2] * 2)
    assert len(list((tmp_path / "dump").rglob("*.npy"))) == 4 * kept
    assert read_index(tmp_path / "dump" / "dump.json")[1].batches == kept
    assert du(tmp_path / "dump") <= 5 * size


def du(folder: Path) -> int:
    return sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in folder.rglob("*"))


def test_larger_samples_than_announced_do_not_pass_the_limit(tmp_path: Path) -> None:
    ears = Ears(tmp_path)
    with DumpWriter(tmp_path / "dump", ENTRIES[:1], limit=1 << 20, listener=ears) as writer:
        assert writer.announce(10, 100) == 10
        for _ in range(10):
            writer.put([np.zeros(1 << 16, np.float32)], [np.zeros(1 << 16, np.float32)])
    assert du(tmp_path / "dump") <= 1 << 20
    assert len(ears.warnings) == 1 and "forward call 2" in ears.warnings[0]
    assert read_index(tmp_path / "dump" / "dump.json")[0].batches == 1


def test_larger_first_sample_than_the_limit_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(
            OutputError, match=r"forward call 1 would take the dump to .* over the limit of 100 KB"
        ),
        DumpWriter(tmp_path / "dump", ENTRIES[:1], limit=100_000) as writer,
    ):
        writer.announce(1, 100)
        writer.put([np.zeros(1 << 16)], [np.zeros(1 << 16)])
    assert list(tmp_path.iterdir()) == []


def test_not_even_one_call_fits_the_limit(tmp_path: Path) -> None:
    with (
        pytest.raises(
            OutputError,
            match=r"one forward call needs about 5 GB, limit 1 MB \(--dump-limit\), free .*--save-dir",
        ),
        DumpWriter(tmp_path / "dump", ENTRIES, limit=10**6) as writer,
    ):
        writer.announce(2, 5 * 10**9)


def test_the_free_space_counts_and_some_of_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**9))
    with DumpWriter(tmp_path / "new" / "dump", ENTRIES, limit=10**12) as writer:
        assert writer.announce(100, 10**8) == 9  # 950 of 1000 MB, and the files' own overhead
        with pytest.raises(OutputError, match="free 1 GB"):
            writer.announce(100, 10**9)


def test_an_earlier_dump_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "dump", calls=3)
    write(tmp_path / "dump", ENTRIES[:1], calls=1)
    assert len(list((tmp_path / "dump").rglob("*.npy"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_dump_stays_where_the_run_fails(tmp_path: Path) -> None:
    write(tmp_path / "dump")
    before = snapshot(tmp_path)
    with (
        pytest.raises(KeyError),
        DumpWriter(tmp_path / "dump", ENTRIES, limit=PLENTY) as writer,
    ):
        writer.announce(1, 48)
        writer.put(arrays(), arrays())
        assert snapshot(tmp_path / "dump") == {
            name.removeprefix("dump/"): data for name, data in before.items()
        }
        raise KeyError
    assert snapshot(tmp_path) == before


def test_an_earlier_dump_stays_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "dump")
    before = snapshot(tmp_path)
    save, count = np.save, [0]

    def full(path: Path, array: np.ndarray, **settings: bool) -> None:
        count[0] += 1
        if count[0] > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array, **settings)

    monkeypatch.setattr(dumps.np, "save", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(tmp_path / "dump", calls=2)
    assert snapshot(tmp_path) == before


def test_an_earlier_dump_stays_where_the_system_takes_half_a_file(tmp_path: Path) -> None:
    write(tmp_path / "dump")
    before = snapshot(tmp_path)
    large = [np.zeros(1 << 18, np.float32)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limits[1]))
    try:
        with (
            pytest.raises(
                OutputError, match=r"cannot write the dump .*dump: .*; an earlier dump is as it was"
            ),
            DumpWriter(tmp_path / "dump", ENTRIES[:1], limit=PLENTY) as writer,
        ):
            writer.announce(1, 1 << 21)
            writer.put(large, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert snapshot(tmp_path) == before


def test_a_file_that_the_disk_cut_short_is_seen_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps.np, "save", lambda path, array, **_: Path(path).write_bytes(b"\x93NUMPY"))
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path / "dump")
    assert not (tmp_path / "dump").exists()


def test_an_earlier_dump_stays_where_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "dump")
    before = snapshot(tmp_path)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith("-writing"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="Input/output error"):
        write(tmp_path / "dump", calls=2)
    assert snapshot(tmp_path) == before


def test_a_run_stopped_between_the_renames_is_mended(tmp_path: Path) -> None:
    write(tmp_path / "dump")
    before = snapshot(tmp_path)
    (tmp_path / "dump").rename(tmp_path / ".dump-earlier")
    (tmp_path / ".dump-writing" / "float").mkdir(parents=True)
    with DumpWriter(tmp_path / "dump", ENTRIES, limit=PLENTY):
        pass
    assert snapshot(tmp_path) == before


def test_a_folder_that_is_no_dump_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        write(tmp_path / "dump")
    assert (tmp_path / "dump" / "thesis.tex").exists()


def test_a_link_to_another_disk_is_followed(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "dump").symlink_to(tmp_path / "big", target_is_directory=True)
    write(tmp_path / "dump")
    assert (tmp_path / "dump").is_symlink()
    assert (tmp_path / "big" / "dump.json").is_file()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dump").touch()
    with pytest.raises(OutputError, match="Not a directory"):
        write(tmp_path / "dump")


def test_without_a_call_nothing_is_written_and_that_is_said(tmp_path: Path) -> None:
    ears = Ears(tmp_path)
    with DumpWriter(tmp_path / "dump", ENTRIES, limit=PLENTY, listener=ears) as writer:
        writer.announce(0, 48)
    assert list(tmp_path.iterdir()) == []
    assert ears.warnings == [f"no forward call was made, so nothing was dumped to {tmp_path / 'dump'}"]


def test_the_order_of_calls_and_the_number_of_arrays_are_checked(tmp_path: Path) -> None:
    with DumpWriter(tmp_path / "dump", ENTRIES, limit=PLENTY) as writer:
        with pytest.raises(ValueError, match="announce"):
            writer.put(arrays(), arrays())
        writer.announce(1, 48)
        with pytest.raises(ValueError, match="2 arrays"):
            writer.put(arrays(), arrays(1))


@given(st.text())
def test_names_are_safe_for_file_systems(name: str) -> None:
    safe = safe_name(name)
    assert len(safe.encode()) <= 200
    assert not set(safe) & set("/\\\0\n\r\x1b") and not safe.startswith(".")
    assert len(folder_name(12345, name, name).encode()) <= 255


@given(st.text(alphabet="aé漢🙂", min_size=100, max_size=300), st.integers(1, 300))
def test_cut_names_stay_apart(name: str, cut: int) -> None:
    other = name[:-1] + "b"
    assert (safe_name(name) == safe_name(other)) == (name == other)


def test_plain_names_stay_as_they_are() -> None:
    assert folder_name(69, "Softmax", "softmax_1.tmp_0") == "0069:Softmax_softmax_1.tmp_0"
    assert safe_name("/model/conv:0") == "_model_conv:0"
    assert safe_name("..") == "_"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read"),
        ("[1", "cannot be read"),
        ("{}", "is not a list"),
        ("[1]", "layer 1 has no text 'op_type'"),
        ('[{"op_type": "A", "op_name": "a"}]', "layer 1 has no text 'op_output_name'"),
        ('[{"op_type": "A", "op_name": "a", "op_output_name": "b", "batches": true}]', "batches is True"),
    ],
)
def test_an_index_that_is_none_says_so(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "dump.json").write_text(text, "utf-8")
    with pytest.raises(DataError, match=complaint):
        read_index(tmp_path / "dump.json")


@pytest.mark.parametrize("planted", [".dump-writing", ".dump-earlier"])
def test_links_in_the_way_of_a_dump_are_not_followed(tmp_path: Path, planted: str) -> None:
    other = tmp_path / "other"
    (other / "float").mkdir(parents=True)
    (other / "float" / "mine").touch()
    place = tmp_path / "out"
    place.mkdir()
    (place / planted).symlink_to(other)
    if planted == ".dump-earlier":  # else it would count as an earlier dump
        write(place / "dump")
    write(place / "dump")
    assert sorted(path.name for path in other.rglob("*")) == ["float", "mine"]
    assert [path.name for path in place.iterdir()] == ["dump"] and not (place / "dump").is_symlink()
