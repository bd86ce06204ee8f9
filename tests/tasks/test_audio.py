"""Accuracy and word error rates over arrays in files: layouts, labels, several inputs, bad input."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight.errors import ConfigError, DataError
from knight.tasks import tasks
from knight.tasks._transcripts import Alphabet, edit_distance, error_rates, read_vocabulary
from tests.tasks._runs import Heard, Net, executor, info

VOCABULARY = ["<pad>", "|", "a", "b", "c"]


def run(net: Net, entry: dict[str, Any], **more: Any) -> tuple[float | None, list[str]]:
    heard = Heard()
    metric = tasks.get("infer_audio")(executor(net, entry, listener=heard, **more))
    return metric, heard.lines  # type: ignore[return-value]


def same(*arrays: np.ndarray) -> list[np.ndarray]:
    """A classifier whose data are its scores."""
    return [arrays[0]]


def labels(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def scores(tmp_path: Path) -> np.ndarray:
    """Seven samples of scores for 4 classes, as .npy without the axis of the batch."""
    found = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    (tmp_path / "data").mkdir()
    for number, row in enumerate(found):
        np.save(tmp_path / "data" / f"s{number}.npy", row)
    return found


class TestAccuracy:
    @pytest.mark.parametrize(("shape", "user"), [((1, 4), 1), ((None, 4), 3), ((2, 4), 1), ((None, None), 3)])
    def test_the_fraction_of_classes_that_are_right(
        self, tmp_path: Path, scores: np.ndarray, shape: tuple[int | None, int | None], user: int
    ) -> None:
        truth = scores.argmax(1)
        truth[[1, 4]] = (truth[[1, 4]] + 1) % 4
        lines = [f"s{number}.npy {label}\n" for number, label in enumerate(truth)]
        labels(tmp_path / "data", "".join(lines) + "other.npy 77\n")
        metric, said = run(same, {"data_dir": str(tmp_path / "data")}, inputs=[info(shape)], batch_size=user)
        assert metric == pytest.approx(5 / 7)
        assert said == ["accuracy 71.43% of 7 samples"]

    def test_raw_files_and_all_layouts_of_arrays(self, tmp_path: Path, scores: np.ndarray) -> None:
        data = tmp_path / "mixed"
        labels(data, "0.bin,2\n1;2\n2.npy 2\n")
        np.array([0, 1, 9, 2], np.float32).tofile(data / "0.bin")
        np.save(data / "1.npy", np.array([[0, 1, 9, 2]], np.float64))
        np.save(data / "2.npy", np.array([0, 1, 9, 2], np.float16))
        assert run(same, {"data_dir": str(data)}, inputs=[info((1, 4))])[0] == 1.0

    def test_iterations_are_calls(self, tmp_path: Path, scores: np.ndarray) -> None:
        labels(tmp_path / "labels", "".join(f"s{n} {row.argmax()}\n" for n, row in enumerate(scores)))
        entry = {"data_dir": str(tmp_path / "data"), "label_dir": str(tmp_path / "labels")}
        _, said = run(same, entry, inputs=[info((2, 4))], iteration=2)
        assert said == ["accuracy 100.00% of 4 samples"]

    def test_names_of_classes_and_one_number_with_a_threshold(self, tmp_path: Path) -> None:
        data = labels(tmp_path / "data", "a no\nb yes\nc yes\n")
        for name, score in (("a", 0.1), ("b", 0.9), ("c", 0.4)):
            np.save(data / f"{name}.npy", np.array([score], np.float32))
        entry = {"data_dir": str(data), "names": ["no", "yes"]}
        assert run(same, {**entry, "threshold": 0.5}, inputs=[info((1, 1))])[0] == pytest.approx(2 / 3)
        assert run(same, {**entry, "threshold": 0.3}, inputs=[info((1, 1))])[0] == 1.0
        with pytest.raises(DataError, match="1x1, one number per sample; the key threshold"):
            run(same, entry, inputs=[info((1, 1))])

    def test_several_inputs_zeros_and_constants(self, tmp_path: Path) -> None:
        """Scores are left + right + rate * (0, 1, 0) + state; the state is zeros."""
        data = labels(tmp_path / "data", "a 0\nb 1\n")
        for folder, rows in (("left", ([3, 0, 1], [0, 0, 1])), ("right", ([0, 0, 1], [1, 0, 0]))):
            (data / folder).mkdir()
            for name, row in zip("ab", rows, strict=True):
                np.save(data / folder / f"{name}.npy", np.array(row, np.float32))
        inputs = [
            info((1, 3), "left"),
            info((2, None), "state"),
            info((1, 3), "right"),
            info((), "rate", "int64"),
        ]

        def net(left: np.ndarray, state: np.ndarray, right: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
            assert state.shape == (2, 1) and rate.shape == () and rate.dtype == np.int64
            return [left + right + state.sum() + rate * np.array([0, 1, 0])]

        entry = {"data_dir": str(data), "zeros": ["state"], "constants": {"rate": 2}}
        assert run(net, entry, inputs=inputs)[0] == 1.0
        assert run(net, {**entry, "constants": {"rate": 0}}, inputs=inputs)[0] == 0.5
        (data / "right" / "b.npy").rename(data / "right" / "c.npy")
        with pytest.raises(DataError, match=r"input 'right' has no file b, which left.b\.npy belongs to"):
            run(net, entry, inputs=inputs)
        with pytest.raises(DataError, match="no folder 'state' in it; the model reads 3 inputs"):
            run(net, {**entry, "zeros": []}, inputs=inputs)
        with pytest.raises(ConfigError, match=r"zeros or constants: the model has no input 'stat'.*state"):
            run(net, {**entry, "zeros": ["stat"]}, inputs=inputs)

    def test_without_labels_the_float_models_answers_are_the_labels(
        self, tmp_path: Path, scores: np.ndarray
    ) -> None:
        entry, one = {"data_dir": str(tmp_path / "data")}, {"inputs": [info((1, 4))]}
        metric, said = run(same, entry, **one)
        assert metric is None and "no labels" in said[0]
        for _ in range(2):
            assert run(same, entry, is_float=True, **one)[0] == 1.0
        assert (tmp_path / "labels" / "labels.txt").read_text().startswith(f"s0.npy\t{scores[0].argmax()}\n")
        metric, said = run(lambda x: [-x], entry, **one)
        assert metric == 0.0 and said == ["accuracy 0.00% against the float model of 7 samples"]
        assert run(same, {**entry, "calculate_acc": False}, **one) == (None, [])


def spoken(text: str, symbols: list[str], blank: int, width: int) -> np.ndarray:
    """Scores [T, width] that say `text`, each symbol twice, a blank between and at the ends."""
    listed = len(symbols) == width
    frames = [blank]
    for symbol in text:
        index = symbols.index(symbol)
        index += not listed and index >= blank
        frames += [index, index, blank]
    noise = np.random.default_rng(len(text)).uniform(0, 0.4, (len(frames), width))
    noise[np.arange(len(frames)), frames] += 0.5
    return noise.astype(np.float32)


class TestSpeech:
    @pytest.fixture
    def data(self, tmp_path: Path) -> dict[str, Any]:
        """The model says "a|bb|c", "cab" and "" where "a b c", "cab ba" and "a" were said."""
        folder = labels(tmp_path / "data", "x.npy\ta b c\ny.npy\tcab  ba\nz.npy\ta\n")
        for name, text in (("x", "a|bb|c"), ("y", "cab"), ("z", "")):
            np.save(folder / f"{name}.npy", spoken(text, VOCABULARY, 0, 5))
        return {"data_dir": str(folder), "vocabulary": VOCABULARY}

    @pytest.mark.parametrize(
        "net",
        [
            lambda x: [x],
            lambda x: [x.transpose(1, 0, 2)],
            lambda x: [x.transpose(0, 2, 1)],
            lambda x: [x[0]],
        ],
        ids=["BTV", "TBV", "BVT", "TV"],
    )
    def test_word_and_character_error_rate(self, data: dict[str, Any], net: Net) -> None:
        metric, said = run(net, data, inputs=[info((1, None, 5))])
        assert metric == pytest.approx(1 - 3 / 6)  # bb for b, ba and a left out
        # characters: "a bb c" has one too many, " ba" and "a" are left out: 5 of 5 + 6 + 1
        assert said == ["WER 50.00%, CER 41.67% of 3 samples with 6 words"]

    def test_time_first_inputs(self, data: dict[str, Any]) -> None:
        folder = Path(data["data_dir"])
        for path in folder.glob("*.npy"):
            np.save(path, np.load(path)[:, None])
        assert run(lambda x: [x], data, inputs=[info((None, 1, 5))])[0] == pytest.approx(0.5)

    @pytest.mark.parametrize("blank", [0, -1, 2])
    @pytest.mark.parametrize("listed", [True, False])
    def test_the_blank_is_where_it_is_said_to_be(self, blank: int, listed: bool) -> None:
        symbols, width = list("abcd|"), 6
        place = blank % width
        if listed:
            symbols.insert(place, "<blank>")
        alphabet = Alphabet(tuple(symbols), blank)
        frames = alphabet.frames(spoken("ab|ddcc", symbols, place, width)[None], 1)
        assert alphabet.text(frames[0]) == "ab ddcc"

    def test_without_labels_the_float_models_texts_are(self, data: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "data" / "labels.txt").unlink()
        inputs = [info((1, None, 5))]
        assert run(lambda x: [x], data, is_float=True, inputs=inputs)[0] == 1.0
        assert (tmp_path / "labels" / "labels.txt").read_text() == "x.npy\ta bb c\ny.npy\tcab\nz.npy\t\n"
        metric, said = run(lambda x: [x], data, inputs=inputs)
        assert metric == 1.0 and "against the float model" in said[0]

    def test_vocabulary_files(self, tmp_path: Path) -> None:
        (tmp_path / "v.txt").write_text("<b>\n \na\nß\n", encoding="utf-8")
        assert read_vocabulary(str(tmp_path / "v.txt"), "w") == ("<b>", " ", "a", "ß")
        (tmp_path / "v.json").write_text(json.dumps({"b": 1, "a": 0, "|": 2}))
        assert read_vocabulary(str(tmp_path / "v.json"), "w") == ("a", "b", "|")
        (tmp_path / "v.json").write_text(json.dumps(["a", "b"]))
        assert read_vocabulary(str(tmp_path / "v.json"), "w") == ("a", "b")
        for content, said in (("{", "no JSON"), ('{"a": 3}', "not 0 to 0"), ("[1, 2]", "list of symbols")):
            (tmp_path / "v.json").write_text(content)
            with pytest.raises(DataError, match=rf"v\.json: .*{said}"):
                read_vocabulary(str(tmp_path / "v.json"), "w")

    def test_what_does_not_fit_is_named(self, data: dict[str, Any], tmp_path: Path) -> None:
        inputs = [info((1, None, 5))]
        with pytest.raises(DataError, match=r"1x1x5 for 1 sample.*vocabulary has 3 symbols.*1xTx3, or 4"):
            run(lambda x: [x[:, :1]], {**data, "vocabulary": ["a", "b", "c"]}, inputs=inputs)
        with pytest.raises(ConfigError, match="blank is 9, but a frame of the output has numbers 0 to 4"):
            run(lambda x: [x], {**data, "blank": 9}, inputs=inputs)
        with pytest.raises(DataError, match=r"gone\.txt: the vocabulary cannot be read"):
            run(lambda x: [x], {**data, "vocabulary": str(tmp_path / "gone.txt")}, inputs=inputs)
        labels(tmp_path / "data", "x.npy\ta\ny.npy a b\n")
        with pytest.raises(DataError, match=r"labels\.txt, line 2: no TAB in 'y\.npy a b'"):
            run(lambda x: [x], data, inputs=inputs)
        labels(tmp_path / "data", "x.npy\ny.npy\t\nz\t \n")
        with pytest.raises(DataError, match=r"labels\.txt: no words in the texts"):
            run(lambda x: [x], data, inputs=inputs)


@settings(max_examples=60, deadline=None)
@given(st.text("ab ", max_size=7), st.text("ab ", max_size=7))
def test_edit_distance_is_levenshteins(truth: str, found: str) -> None:
    @lru_cache
    def plain(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(
            plain(i - 1, j) + 1, plain(i, j - 1) + 1, plain(i - 1, j - 1) + (truth[i - 1] != found[j - 1])
        )

    assert edit_distance(truth, found) == plain(len(truth), len(found))


def test_error_rates_are_over_all_samples_together() -> None:
    wer, cer, words = error_rates(["one two three", "four"], ["one too three", "four five"])
    assert (wer, words) == (2 / 4, 4)
    assert cer == pytest.approx((1 + 5) / (13 + 4))
    assert error_rates(["a"], ["b c d"])[0] == 3.0  # more wrong words than were said


class TestBadInput:
    def test_nan_is_no_answer(self, tmp_path: Path, scores: np.ndarray) -> None:
        with pytest.raises(DataError, match=r"s0\.npy: the output holds 4 NaN of 4 numbers"):
            run(lambda x: [x * np.nan], {"data_dir": str(tmp_path / "data")}, inputs=[info((1, 4))])

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("s0.npy\n", r"line 1: 's0\.npy' has one column"),
            (
                "".join(f"s{n} 0\n" for n in range(6)) + "\ns6 cat\n",
                r"labels\.txt, line 8: 'cat' is no class number",
            ),
            ("s0 0\ns0 1\n", r"line 2: s0\.npy is '1' here and '0' in .*line 1"),
            ("s0 0\ns1 1\n", r"labels\.txt: no label for s2\.npy \(5 of 7 have none\)"),
            ("q 0\n", r"labels\.txt: the labels are for other files"),
            ("".join(f"s{n} {n}\n" for n in range(7)), r"s4\.npy has class 4 in labels\.txt; .* 0 to 3"),
        ],
    )
    def test_labels(self, tmp_path: Path, scores: np.ndarray, text: str, said: str) -> None:
        labels(tmp_path / "data", text)
        with pytest.raises(DataError, match=said):
            run(same, {"data_dir": str(tmp_path / "data")}, inputs=[info((1, 4))])

    def test_files(self, tmp_path: Path) -> None:
        def fails(said: str, shape: tuple[int | None, ...] = (1, 4)) -> None:
            with pytest.raises(DataError, match=said):
                run(same, {"data_dir": str(tmp_path / "data")}, inputs=[info(shape)])

        fails("data: no such folder; data_dir names it")
        (tmp_path / "data").mkdir()
        fails(r"data: no \.npy or \.bin file in it")
        file = tmp_path / "data" / "a.npy"
        np.save(file, np.zeros((2, 3), np.float32))
        fails(r"a\.npy: the array is 2x3; input 'x' takes 1x4 or 4")
        np.save(file, np.zeros(4, np.int16))
        fails(r"a\.npy: holds int16; input 'x' takes float32: convert it")
        file.write_bytes(file.read_bytes()[:-3])
        fails(r"a\.npy: not a whole \.npy file")
        (tmp_path / "data" / "a.bin").write_bytes(b"1234")
        fails(r"a\.npy: a\.bin has the same stem")
        file.unlink()
        fails(r"a\.bin: holds 1 numbers of float32; input 'x' takes 4")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"vocab": "x"}, r"\[0\]\.vocab: unknown key for infer_audio.*vocabulary"),
            ({"vocabulary": 3}, r"\[0\]\.vocabulary: is 3; it has to be a list of names"),
            ({"vocabulary": ["a"]}, r"\[0\]\.vocabulary: 1 symbol"),
            ({"blank": 0.5}, r"\[0\]\.blank: is 0\.5; it has to be a whole number"),
            ({"constants": {"x": "y"}}, r"\[0\]\.constants\.x: is \"y\"; it has to be a number"),
            ({"zeros": ["x"]}, "zeros or constants: every input of the model is named there"),
            ({"output": "q"}, r"\[0\]\.output: the model has no output 'q'"),
        ],
    )
    def test_keys(self, tmp_path: Path, scores: np.ndarray, change: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            run(same, {"data_dir": str(tmp_path / "data"), **change}, inputs=[info((1, 4))])
