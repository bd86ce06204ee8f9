"""Two dump folders compared: numbers, pairing by name, and what is said of dumps that are not whole."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight.compare.comparison import Comparison, Layer
from knight.compare.dump import DumpWriter, Entry
from knight.compare.folders import OWN_MISSING, compare_folders, elements, halves, pair, read_places
from knight.errors import DataError

NAMES = [Entry("Input", "x", "x"), Entry("Conv", "conv1", "a/b", "a/b_q"), Entry("Relu", "relu", "y")]
Calls = list[list[np.ndarray]]


def values(entries: int = 3, calls: int = 2, seed: int = 0) -> Calls:
    rng = np.random.default_rng(seed)
    return [
        [rng.standard_normal((2, 3 + n)).astype(np.float32) for n in range(entries)] for _ in range(calls)
    ]


def rounded(calls: Calls) -> Calls:
    return [[np.round(array * 8) / 8 for array in arrays] for arrays in calls]


def write(folder: Path, reference: Calls, result: Calls, entries: list[Entry] = NAMES) -> Path:
    with DumpWriter(folder, entries, limit=1 << 30) as writer:
        writer.announce(len(reference), 0)
        for left, right in zip(reference, result, strict=True):
            writer.put(left, right)
    return folder


def plain(half: Path, layers: dict[str, list[np.ndarray]]) -> Path:
    """A half as other tools leave it: folders and files only."""
    for name, batches in layers.items():
        (half / name).mkdir(parents=True)
        for number, array in enumerate(batches):
            np.save(half / name / f"batch_{number}.npy", array)
    return half


def compared(dump: Path) -> Comparison:
    return compare_folders(*halves(dump))


def one(tmp_path: Path, reference: Any, result: Any) -> Layer:
    """The comparison of a single layer."""
    dump = write(tmp_path / "dump", [[np.asarray(reference)]], [[np.asarray(result)]], NAMES[:1])
    return compared(dump).layers[0]


def test_the_figures_are_those_of_the_formulas(tmp_path: Path) -> None:
    reference = values(calls=3)
    result = rounded(reference)
    found = compared(write(tmp_path / "dump", reference, result))
    assert [layer.index for layer in found.layers] == [0, 1, 2]
    assert (found.calls, list(found.unpaired)) == (3, [])
    for layer in found.layers:
        left = np.concatenate([call[layer.index].ravel() for call in reference]).astype(np.float64)
        right = np.concatenate([call[layer.index].ravel() for call in result]).astype(np.float64)
        error = np.abs(right - left)
        cosine = left @ right / (np.linalg.norm(left) * np.linalg.norm(right))
        assert layer.figures["mre"] == pytest.approx(error.sum() / np.abs(left).sum(), abs=1e-9)
        assert layer.figures["cos"] == pytest.approx(0.5 + 0.5 * cosine, abs=1e-9)
        assert layer.sqnr == pytest.approx(10 * np.log10((left**2).sum() / (error**2).sum()), abs=1e-6)
        assert layer.figures["band_1_10"] == pytest.approx(
            np.mean((error / np.abs(left) >= 0.01) & (error / np.abs(left) < 0.1))
        )
        assert (layer.minimum, layer.maximum) == (left.min(), left.max())
        assert layer.shape == (2, 3 + layer.index)


def test_a_layer_carries_the_names_of_both_models(tmp_path: Path) -> None:
    found = compared(write(tmp_path / "dump", values(), values()))
    assert [(layer.op_type, layer.name, layer.output, layer.quantized_output) for layer in found.layers] == [
        ("Input", "x", "x", "x"),
        ("Conv", "conv1", "a/b", "a/b_q"),
        ("Relu", "relu", "y", "y"),
    ]
    assert {(layer.own_sqnr, layer.own_missing) for layer in found.layers} == {(None, OWN_MISSING)}
    assert found.output_sqnr is None


def test_outputs_of_the_model_are_judged_together(tmp_path: Path) -> None:
    entries = [NAMES[0], *(Entry("Conv", name, name, model_output=True) for name in "ab")]
    reference = [[np.ones(4), np.full(4, 10.0), np.full(4, 10.0)]]
    result = [[np.zeros(4), np.full(4, 11.0), np.full(4, 13.0)]]
    found = compared(write(tmp_path / "dump", reference, result, entries))
    assert found.output_sqnr == pytest.approx(-10 * math.log10((0.01 + 0.09) / 2))


def test_the_inputs_come_first(tmp_path: Path) -> None:
    layers = {"0001:Conv_a": [np.ones(2)], "0002:Input_x": [np.ones(2)], "0003:Relu_b": [np.ones(2)]}
    found = compare_folders(plain(tmp_path / "one", layers), plain(tmp_path / "two", layers))
    assert [(layer.index, layer.output) for layer in found.layers] == [(0, "x"), (1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("reference", "result", "broken", "bounds"),
    [
        ([1.0, np.nan, np.inf, 3.0], [1.0, np.nan, np.inf, 3.0], 0, (1.0, 3.0)),
        ([1.0, 2.0, -np.inf], [np.nan, 2.0, 5.0], 2, (1.0, 2.0)),
        ([np.nan, np.nan], [1.0, 2.0], 2, (None, None)),
    ],
    ids=["equal", "broken", "nothing"],
)
def test_values_that_are_not_finite(
    tmp_path: Path, reference: Any, result: Any, broken: int, bounds: tuple[float | None, float | None]
) -> None:
    layer = one(tmp_path, reference, result)
    assert layer.broken == broken
    assert (layer.minimum, layer.maximum) == bounds
    assert layer.histogram is None or layer.histogram.reference.sum() == np.isfinite(reference).sum()


@pytest.mark.filterwarnings("error")
def test_a_shape_that_no_memory_holds_is_an_error_alone(tmp_path: Path) -> None:
    for half in ("one", "two"):
        (tmp_path / half / "0001:Relu_y").mkdir(parents=True)
        with (tmp_path / half / "0001:Relu_y" / "batch_0.npy").open("wb") as file:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 40)}
            np.lib.format.write_array_header_1_0(file, shape)
    with pytest.raises(DataError, match=r"batch_0\.npy is cut short or no array of numbers"):
        compare_folders(tmp_path / "one", tmp_path / "two")


def test_booleans_are_numbers(tmp_path: Path) -> None:
    layer = one(tmp_path, [True, True, False, True], [True, False, False, True])
    assert layer.figures["mre"] == pytest.approx(1 / 3)
    assert layer.histogram is not None
    assert layer.histogram.edges.tolist() == [-0.5, 0.5, 1.5]
    assert (layer.histogram.reference.tolist(), layer.histogram.result.tolist()) == ([1, 3], [2, 2])


def test_whole_numbers_beside_reals(tmp_path: Path) -> None:
    layer = one(tmp_path, np.asarray([100, -50, 3], np.int32), np.asarray([99.0, -50.0, 3.5]))
    assert layer.figures["mre"] == pytest.approx(1.5 / 153)
    assert (layer.minimum, layer.maximum) == (-50.0, 100.0)


def test_empty_tensors_have_no_figures(tmp_path: Path) -> None:
    layer = one(tmp_path, np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32))
    assert (layer.shape, layer.figures["cos"], layer.figures["mre"]) == ((2, 0), None, None)
    assert (layer.minimum, layer.histogram) == (None, None)


def test_scalars(tmp_path: Path) -> None:
    layer = one(tmp_path, np.float32(4), np.float32(5))
    assert (layer.shape, layer.figures["mre"]) == ((), 0.25)


@pytest.mark.parametrize(
    ("reference", "result"),
    [
        (np.full(5, 3.0), np.full(5, 3.0)),
        (np.zeros(5), np.zeros(5)),
        (np.full(5, 1e16), np.full(5, np.nextafter(1e16, 2e16))),
        (np.full(5, 5e-324), np.zeros(5)),
        (np.full(5, -1e300), np.full(5, 1e300)),
        (np.asarray([2**62], np.int64), np.asarray([2**62 + 512], np.int64)),
    ],
)
def test_histograms_of_odd_ranges_hold_every_element(tmp_path: Path, reference: Any, result: Any) -> None:
    histogram = one(tmp_path, reference, result).histogram
    assert histogram is not None
    assert 1 <= histogram.reference.size == histogram.result.size == histogram.edges.size - 1 <= 64
    assert histogram.reference.sum() == histogram.result.sum() == len(reference)
    assert (np.diff(histogram.edges) > 0).all()


def test_a_range_beyond_floats_has_no_histogram(tmp_path: Path) -> None:
    assert one(tmp_path, np.asarray([-1.7e308]), np.asarray([1.7e308])).histogram is None


def test_the_histogram_of_a_large_layer_is_a_fair_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    channels = rng.standard_normal((4, 50_000)).astype(np.float32) + np.arange(4)[:, None] * 20
    calls = [[np.ascontiguousarray(channels.T)]] * 3
    layer = compared(write(tmp_path / "dump", calls, calls, NAMES[:1])).layers[0]
    assert layer.histogram is not None
    counts = layer.histogram.reference
    assert 60_000 <= counts.sum() <= 1 << 16
    wanted = np.histogram(channels, layer.histogram.edges)[0] / channels.size
    np.testing.assert_allclose(counts / counts.sum(), wanted, atol=0.01)


def test_a_dump_of_another_machine_in_another_folder(tmp_path: Path) -> None:
    reference = values()
    dump = write(tmp_path / "dump", reference, rounded(reference))
    before = compared(dump)
    for path in (dump / "quant").rglob("*.npy"):
        np.save(path, np.asfortranarray(np.load(path).astype(">f4")))
    shutil.copytree(dump, tmp_path / "else" / "where")
    shutil.rmtree(dump)
    after = compared(tmp_path / "else" / "where")
    assert [layer.figures for layer in after.layers] == [layer.figures for layer in before.layers]


@pytest.mark.parametrize("colon", ["_", "\uf03a"])
def test_a_copy_without_colons_still_has_its_names(tmp_path: Path, colon: str) -> None:
    dump = write(tmp_path / "dump", values(), values())
    for folder in [*(dump / "float").iterdir(), *(dump / "quant").iterdir()]:
        folder.rename(folder.with_name(folder.name.replace(":", colon)))
    assert [layer.output for layer in compared(dump).layers] == ["x", "a/b", "y"]


def test_an_index_of_another_dump_names_no_layers(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", values(), values())
    plain(tmp_path / "dump" / "mine", {"0001:Input_x": [np.ones(1)], "0002:Gemm_z": [np.ones(1)]})
    with pytest.raises(DataError, match=r"layer 'a/b': .*0002:Conv_a_b is missing"):
        read_places(dump / "mine")


def test_a_half_can_be_moved_with_its_index_inside(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", values(), values())
    shutil.copytree(dump / "quant", tmp_path / "other")
    shutil.copy(dump / "dump.json", tmp_path / "other")
    found = compare_folders(dump / "float", tmp_path / "other")
    assert [layer.quantized_output for layer in found.layers] == ["x", "a/b_q", "y"]


def test_halves_are_found_in_the_result_folder_too(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", values(), values())
    assert halves(tmp_path) == halves(dump) == (dump / "float", dump / "quant")


def test_missing_halves_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither"):
        halves(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        halves(tmp_path / "nowhere")
    dump = write(tmp_path / "dump", values(), values())
    with pytest.raises(DataError, match=r"no folder like 0001:Input_x.*halves are compared by -qd"):
        compare_folders(dump, dump / "quant")
    shutil.rmtree(dump / "quant")
    with pytest.raises(DataError, match="holds float/ but no quant/"):
        halves(tmp_path)


def test_folders_of_other_tools(tmp_path: Path) -> None:
    ones, twos = [np.ones(2)], [np.full(2, 2.0)]
    reference = plain(
        tmp_path / "one", {"0001:Input_x": ones, "0002:Conv_a_b": ones, "0004:Add_sum": ones, "notes": []}
    )
    result = plain(
        tmp_path / "two", {"0001_Input_x": ones, "0005_QLinearConv_a_b": twos, "0007_Mul_other": ones}
    )
    found = compare_folders(reference, result)
    assert [(layer.op_type, layer.output, layer.figures["mre"]) for layer in found.layers] == [
        ("Input", "x", 0.0),
        ("Conv", "a_b", 1.0),
    ]
    assert [(lost.side, lost.op_type, lost.output) for lost in found.unpaired] == [
        ("float", "Add", "sum"),
        ("quantized", "Mul", "other"),
    ]
    assert str(result) in found.unpaired[0].reason


def test_a_list_of_another_tool_gives_the_real_names(tmp_path: Path) -> None:
    ones = [np.ones(2)]
    plain(tmp_path / "float", {"0003:Conv_a_b": ones, "0002:Add_odd": ones})
    plain(tmp_path / "quant", {"0003:Conv_a_b": ones, "0002:Add_odd": ones})
    listed = [("Conv", "a/b"), ("Add", "weird"), ("Relu", "not dumped")]
    fields = [{"op_type": kind, "op_name": "", "op_output_name": name} for kind, name in listed]
    (tmp_path / "dump.json").write_text(json.dumps(fields), "utf-8")
    assert [layer.output for layer in compared(tmp_path).layers] == ["weird", "a/b"]


def test_among_equal_names_type_and_number_decide(tmp_path: Path) -> None:
    def half(folder: str, names: list[str]) -> list[Any]:
        return read_places(plain(tmp_path / folder, {name: [np.ones(1)] for name in names}))

    left = half("one", ["0001:Conv_a", "0002:Relu_a", "0003:Relu_a", "0004:Add_a"])
    right = half("two", ["0001:Relu_a", "0003:Relu_a", "0005:Conv_a", "0006:Mul_a", "0007:Mul_a"])
    pairs, (_, alone) = pair(left, right)
    assert [(one.folder.name, other.folder.name) for one, other in pairs] == [
        ("0001:Conv_a", "0005:Conv_a"),
        ("0002:Relu_a", "0001:Relu_a"),
        ("0003:Relu_a", "0003:Relu_a"),
        ("0004:Add_a", "0006:Mul_a"),
    ]
    assert [place.folder.name for place in alone] == ["0007:Mul_a"]


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    reference = plain(tmp_path / "one", {"0001:Conv_a": [np.ones(1)]})
    result = plain(tmp_path / "two", {"0001:Conv_b": [np.ones(1)]})
    with pytest.raises(DataError, match=r"no layer of .* has a twin"):
        compare_folders(reference, result)


def damaged(dump: Path, how: str) -> None:
    folder = dump / "quant" / "0002:Conv_a_b"
    last = folder / "batch_1.npy"
    if how == "half a file":
        last.write_bytes(last.read_bytes()[:-4])
    elif how == "half a header":
        last.write_bytes(last.read_bytes()[:40])
    elif how == "nothing in it":
        last.write_bytes(b"")
    elif how == "other bytes":
        last.write_bytes(b"PK\3\4 no array")
    elif how == "a folder":
        last.unlink()
        last.mkdir()
    elif how == "pickled":
        np.save(last, np.asarray([{"a": 1}], object), allow_pickle=True)
    elif how == "text":
        np.save(last, np.asarray(["a"]))
    elif how == "shape":
        np.save(last, np.ones((4, 2)))
    elif how == "file gone":
        last.unlink()
    elif how == "first file gone":
        (folder / "batch_0.npy").unlink()
    elif how == "file more":
        np.save(folder / "batch_2.npy", np.ones((2, 4)))
    elif how == "empty folder":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "folder gone":
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("half a file", r"batch_1\.npy is cut short"),
        ("half a header", r"batch_1\.npy is cut short"),
        ("nothing in it", r"batch_1\.npy is cut short"),
        ("other bytes", r"batch_1\.npy is cut short or no array"),
        ("a folder", r"batch_1\.npy is cut short or no array"),
        ("pickled", r"batch_1\.npy is cut short or no array of numbers .*[Pp]ython objects"),
        ("text", r"batch_1\.npy holds <U1 and not numbers"),
        ("shape", r"batch_1\.npy has shape \[2, 4\], but .*batch_1\.npy \[4, 2\]"),
        ("file gone", r"batch_1\.npy is missing"),
        ("first file gone", r"batch_0\.npy is missing"),
        ("file more", "holds 3 files, not 2"),
        ("empty folder", r"batch_0\.npy is missing"),
        ("folder gone", "0002:Conv_a_b is missing"),
    ],
)
def test_a_dump_that_is_not_whole_names_layer_and_file(tmp_path: Path, how: str, complaint: str) -> None:
    dump = write(tmp_path / "dump", values(), values())
    damaged(dump, how)
    with pytest.raises(DataError, match=complaint) as caught:
        compared(dump)
    text = str(caught.value)
    assert "'a/b'" in text and "0002:Conv_a_b" in text and "\n" not in text
    assert "dump" in text.rpartition(";")[2]


def test_halves_of_different_length(tmp_path: Path) -> None:
    reference = plain(tmp_path / "one", {"0001:Conv_a": [np.ones(1)] * 3})
    result = plain(tmp_path / "two", {"0001:Conv_a": [np.ones(1)] * 2})
    with pytest.raises(DataError, match=r"layer 'a': 3 files in .*one.* but 2 in .*two"):
        compare_folders(reference, result)


def test_an_empty_half(tmp_path: Path) -> None:
    (tmp_path / "float").mkdir()
    (tmp_path / "quant").mkdir()
    with pytest.raises(DataError, match="holds no folder like"):
        compared(tmp_path)


@pytest.mark.parametrize("called", ["a/b", "a/b_q", "0002:Conv_a_b"])
def test_the_elements_of_one_layer(tmp_path: Path, called: str) -> None:
    reference = values()
    result = rounded(reference)
    found = list(elements(*halves(write(tmp_path / "dump", reference, result)), called))
    assert len(found) == 2
    for call, (left, right) in enumerate(found):
        np.testing.assert_array_equal(left, reference[call][1])
        np.testing.assert_array_equal(right, result[call][1])


def test_an_unknown_layer_has_no_elements(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", values(), values())
    with pytest.raises(DataError, match="no common layer 'a/c'; did you mean 'a/b'"):
        elements(*halves(dump), "a/c")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=300)), min_size=1, max_size=6))
def test_any_names_written_are_paired_one_to_one(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]
) -> None:
    entries = [Entry(kind, name, f"{name}{n}") for n, (kind, name) in enumerate(names)]
    arrays = [np.full(2, n + 1.0) for n in range(len(names))]
    dump = tmp_path_factory.mktemp("names") / "dump"
    found = compared(write(dump, [arrays], [arrays], entries))
    assert not found.unpaired
    assert {layer.output: layer.minimum for layer in found.layers} == {
        entry.output: n + 1.0 for n, entry in enumerate(entries)
    }
    assert all(layer.figures["mre"] == 0.0 for layer in found.layers)
    (dump / "dump.json").unlink()  # the folders alone pair them as well
    bare = compared(dump)
    assert not bare.unpaired
    assert all(layer.figures["mre"] == 0.0 for layer in bare.layers)
    shutil.rmtree(dump.parent)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_to_a_file_is_an_error_or_numbers(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    dump = tmp_path_factory.getbasetemp() / "damage" / "dump"
    if not dump.exists():
        write(dump, values(1, 1), values(1, 1), NAMES[:1])
    path = dump / "quant" / "0001:Input_x" / "batch_0.npy"
    whole = path.read_bytes()
    changed = bytearray(whole)
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4)
    ):
        changed[place] = byte
    path.write_bytes(changed[: data.draw(st.integers(0, len(changed)))])
    try:
        assert len(compared(dump).layers) == 1
    except DataError as error:
        assert "'x'" in str(error)
    finally:
        path.write_bytes(whole)
