"""The folder of results; what a killed process leaves behind is tested through the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from knight import model as models
from knight.errors import OutputError
from knight.store import LOCK, Store
from tests import small_models


@dataclass
class Result:
    model: ir.Model | None
    steps: Mapping[str, ir.Model] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@pytest.fixture
def result(tmp_path: Path) -> Result:
    model = models.load(small_models.conv_net(tmp_path))
    return Result(model, {"stage1": model, "stage2": model}, {"text": "größer", "number": 1.5})


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_where(tmp_path: Path, result: Result) -> None:
    with Store(tmp_path / "deep" / "out") as store:
        path = store.publish(result, "net")
        below = store.publish(result, "net", "kl_it_5")
    out = tmp_path / "deep" / "out"
    files = {"net_quantize.onnx", "net_report.json", "steps/stage1.onnx", "steps/stage2.onnx"}
    assert names(out) == files | {f"kl_it_5/{name}" for name in files} | {LOCK}
    assert path == out / "net_quantize.onnx" and below == out / "kl_it_5" / "net_quantize.onnx"
    onnx.checker.check_model(path)
    assert json.loads((out / "net_report.json").read_text("utf-8")) == result.report


def test_what_the_format_writes_beside_the_model(tmp_path: Path, result: Result) -> None:
    result.files = {"scales.txt": b"1 2", "vendor/net.bin": bytes(range(256))}
    with Store(tmp_path / "out") as store:
        store.publish(result, "net", "kl_it_5")
    place = tmp_path / "out" / "kl_it_5"
    assert (place / "net_scales.txt").read_bytes() == b"1 2"
    assert (place / "net_vendor" / "net.bin").read_bytes() == bytes(range(256))


def test_publishing_again_replaces(tmp_path: Path, result: Result) -> None:
    for number in (1, 2):
        result.report = {"number": number}
        with Store(tmp_path / "out") as store:
            store.publish(result, "net")
    assert json.loads((tmp_path / "out" / "net_report.json").read_text()) == {"number": 2}


def test_weight_files_follow_their_model(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "PROTOBUF_LIMIT", 0)  # as if the weights were above 2 GB
    out = tmp_path / "out"
    bystander = out / "net_quantize-notes.data"
    with Store(out) as store:
        bystander.touch()
        store.publish(result, "net")
        (first,) = (
            name for name in names(out) if name.startswith("net_quantize-") and name != bystander.name
        )
        assert result.model is not None
        weight = result.model.graph.initializers["w"]
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() + 1, name="w")
        store.publish(result, "net")
    (second,) = (name for name in names(out) if name.startswith("net_quantize-") and name != bystander.name)
    assert first != second and bystander.exists()
    onnx.checker.check_model(out / "net_quantize.onnx", full_check=True)
    assert onnx.load(out / "net_quantize.onnx").graph.initializer[0].raw_data


@pytest.mark.parametrize("report", [{"bad": float("nan")}, {"bad": object()}])
def test_a_report_that_is_no_json_stops_before_anything_is_replaced(
    tmp_path: Path, result: Result, report: dict[str, Any]
) -> None:
    with Store(tmp_path / "out") as store:
        path = store.publish(result, "net")
        before = path.stat().st_mtime_ns
        result.report = report
        with pytest.raises((ValueError, TypeError)):
            store.publish(result, "net")
    assert path.stat().st_mtime_ns == before
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".knight-")]


def test_a_refusal_of_the_system_leaves_the_earlier_result(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    with Store(tmp_path / "out") as store:
        path = store.publish(result, "net")
        before = path.stat().st_mtime_ns
        monkeypatch.setattr(models, "save", full)
        with pytest.raises(OutputError, match=r"No space left on device; free some space .* --save-dir"):
            store.publish(result, "net")
    assert path.stat().st_mtime_ns == before
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".knight-")]


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path / "out"):
        with pytest.raises(OutputError, match=r"out is in use by another run .* --save-dir"):
            Store(tmp_path / "out")
        with Store(tmp_path / "other"):
            pass
    with Store(tmp_path / "out"):
        pass


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with Store(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with Store(tmp_path / "mine"), Store(tmp_path / "new"):
        (tmp_path / "new" / "notes.txt").touch()
    assert (tmp_path / "mine").is_dir() and names(tmp_path / "new") == {"notes.txt"}


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_no_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write to .*file.*: Not a directory; .* --save-dir"):
        Store(tmp_path / place)


def test_a_result_without_a_model(tmp_path: Path) -> None:
    with Store(tmp_path / "out") as store, pytest.raises(ValueError, match="without a model"):
        store.publish(Result(None), "net")


# what strangers may have put into the folder

OURS = (LOCK, ".knight-writing", ".knight-committed")


def everything(folder: Path) -> dict[str, str | None]:
    """Every path below `folder`, with what is in it."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder of somebody else, which has to stay as it is."""
    folder = tmp_path / "other"
    (folder / "steps").mkdir(parents=True)
    (folder / "net_quantize.onnx").write_text("mine")
    (folder / "steps" / "stage1.onnx").write_text("mine too")
    return folder


@pytest.mark.parametrize("mark", OURS[1:])
@pytest.mark.parametrize("place", ["", "net_quantize.onnx", "nothing"])
def test_links_in_place_of_our_folders_are_removed_and_not_followed(
    tmp_path: Path, result: Result, other: Path, mark: str, place: str
) -> None:
    before = everything(other)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / mark).symlink_to(other / place)
    with Store(tmp_path / "out") as store:
        store.publish(result, "net")
    assert everything(other) == before
    assert {"net_quantize.onnx", "net_report.json", "steps/stage1.onnx"} <= names(tmp_path / "out")
    assert not {*OURS[1:]} & {*os.listdir(tmp_path / "out")}


@pytest.mark.parametrize("place", ["net_quantize.onnx", "nothing", ""])
def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path, other: Path, place: str) -> None:
    before = everything(other)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(other / place)
    with pytest.raises(OutputError, match=r"\.knight\.lock is no file of knight's own; remove it"):
        Store(tmp_path / "out")
    assert everything(other) == before


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_other_things_in_place_of_the_lock_are_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / LOCK)
    with pytest.raises(OutputError, match=r"\.knight\.lock is no file of knight's own; remove it"):
        Store(tmp_path)
    assert os.listdir(tmp_path) == [LOCK]


@pytest.mark.parametrize("mark", OURS[1:])
@pytest.mark.parametrize("make", [os.mkfifo, Path.touch])
def test_files_in_place_of_our_folders_are_removed(
    tmp_path: Path, result: Result, mark: str, make: Any
) -> None:
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / mark)
    with Store(tmp_path / "out") as store:
        assert store.publish(result, "net").is_file()
    assert mark not in os.listdir(tmp_path / "out")


def test_what_is_committed_moves_no_links_and_through_none(tmp_path: Path, other: Path) -> None:
    before, out = everything(other), tmp_path / "out"
    (out / ".knight-committed" / "steps").mkdir(parents=True)
    (out / ".knight-committed" / "net_quantize.onnx").symlink_to(other / "net_quantize.onnx")
    (out / ".knight-committed" / "linked").symlink_to(other)
    (out / ".knight-committed" / "steps" / "stage1.onnx").write_text("whole")
    (out / "steps").symlink_to(other / "steps")
    with pytest.raises(OutputError, match=r"cannot write to .*stage1.onnx: .*steps is no folder of its own"):
        Store(out)
    (out / "steps").unlink()
    with Store(out):
        assert names(out) == {LOCK, "steps/stage1.onnx"}
    assert everything(other) == before


@pytest.mark.parametrize("file", ["net_quantize.onnx", "net_report.json", "steps/stage2.onnx"])
def test_a_folder_where_a_file_should_go_is_named(tmp_path: Path, result: Result, file: str) -> None:
    out = tmp_path / "out"
    (out / file).mkdir(parents=True)
    for _ in range(2):  # nor does the first refusal stand in the way of the next run
        with (
            Store(out) as store,
            pytest.raises(OutputError, match=f"cannot write to .*{file}: it is a folder"),
        ):
            store.publish(result, "net")
        assert names(out) == {LOCK} and (out / file).is_dir()


@pytest.mark.parametrize("folder", ["steps", "kl_it_1"])
def test_a_link_where_a_folder_should_be_is_not_followed(
    tmp_path: Path, result: Result, other: Path, folder: str
) -> None:
    before, out = everything(other), tmp_path / "out"
    out.mkdir()
    (out / folder).symlink_to(other)
    subdirectory = folder if folder != "steps" else None
    with Store(out) as store, pytest.raises(OutputError, match=f"{folder} is no folder of its own; move it"):
        store.publish(result, "net", subdirectory)
    assert everything(other) == before


def test_a_link_where_a_file_should_go_is_replaced(tmp_path: Path, result: Result, other: Path) -> None:
    before, out = everything(other), tmp_path / "out"
    out.mkdir()
    (out / "net_quantize.onnx").symlink_to(other / "net_quantize.onnx")
    with Store(out) as store:
        assert not store.publish(result, "net").is_symlink()
    assert everything(other) == before


def test_the_folder_itself_may_be_a_link(tmp_path: Path, result: Result) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with Store(tmp_path / "out") as store:
        store.publish(result, "net")
    assert "net_quantize.onnx" in names(tmp_path / "real")
