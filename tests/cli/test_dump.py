"""``knight quant -du`` and ``-r compare``: the dump that they write, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from tests import exact, small_models

Run = Callable[..., Result]
FOLDERS = [
    "0001:Input_x",
    "0002:Conv_relu",
    "0003:GlobalAveragePool_pool",
    "0004:Flatten_flat",
    "0005:Gemm_scores",
]
FLOATS = """
random = np.random.default_rng(7)
for _ in range({calls}):
    executor.forward(random.normal(size=({batch}, 3, 8, 8)).astype(np.float32))
return 1.0
"""


def quant(run: Run, folder: Path, *words: object, body: str = small_models.FEED) -> Result:
    if not (folder / "net.onnx").exists():
        small_models.conv_net(folder)
    script = small_models.script(folder, body)
    model = () if "-m" in words else ("-m", folder / "net.onnx")
    return run("quant", *model, "-uds", script, "-if", "infer_net", "--save-dir", folder / "out", *words)


def arrays(dump: Path, half: str, output: str) -> list[np.ndarray]:
    """What is dumped of an output, call by call."""
    (folder,) = (dump / half).glob(f"*_{output}")
    names = [path.name for path in folder.iterdir()]
    assert sorted(names) == sorted(f"batch_{number}.npy" for number in range(len(names)))
    return [np.load(folder / f"batch_{number}.npy", allow_pickle=False) for number in range(len(names))]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_and_announcement(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-du", "-i", 3)
    assert result.exit_code == 0, result.output
    dump = tmp_path / "out" / "dump"
    assert {path.name for path in dump.iterdir()} == {"float", "quant", "dump.json"}
    for half in ("float", "quant"):
        assert sorted(path.name for path in (dump / half).iterdir()) == FOLDERS
    listed = json.loads((dump / "dump.json").read_text("utf-8"))
    assert [entry["op_output_name"] for entry in listed] == ["x", "relu", "pool", "flat", "scores"]
    assert all({"op_type", "op_name"} <= set(entry) for entry in listed)
    lines = result.stdout.splitlines()
    (announced,) = [
        place for place, line in enumerate(lines) if "dumping 5 layers x 3 forward calls needs" in line
    ]
    (written,) = [place for place, line in enumerate(lines) if line.startswith("Dump             : ")]
    assert announced < written and "(--dump-limit)" in lines[announced] and "free" in lines[announced]
    assert f"{dump} (5 layers x 3 forward calls, float and quantized)" in lines[written]


def test_the_announcement_comes_before_the_first_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from knight.cli._console import Console

    seen: list[bool] = []
    monkeypatch.setattr(Console, "announce", lambda self, text: seen.append(any(tmp_path.rglob("*.npy"))))
    assert quant(run, tmp_path, "-du").exit_code == 0
    assert seen == [False] and any(tmp_path.rglob("*.npy"))


def test_the_float_half_is_the_float_model_and_both_are_real_numbers(run: Run, tmp_path: Path) -> None:
    """The default chip's outputs are integers; the dump has what they stand for."""

    assert quant(run, tmp_path, "-du", "-i", 2, "--chip", "TX5368AV200").exit_code == 0
    dump, random = tmp_path / "out" / "dump", np.random.default_rng(7)
    session = exact.session(tmp_path / "net.onnx")
    chip = exact.session(tmp_path / "out" / "net_quantize.onnx")
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    for number in range(2):
        x = random.normal(size=(1, 3, 8, 8)).astype(np.float32)
        wanted = session.run(None, {"x": x})[0]
        np.testing.assert_array_equal(arrays(dump, "float", "x")[number], x)
        np.testing.assert_allclose(arrays(dump, "float", "scores")[number], wanted, rtol=1e-4, atol=1e-5)
        raw = chip.run(None, {"x": x})[0]
        got = arrays(dump, "quant", "scores")[number]
        assert np.array_equal(raw, np.round(raw)) and not np.array_equal(raw, got)
        ratio = got[raw != 0] / raw[raw != 0]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
        assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()
    assert report["samples"] == 2


def test_run_mode_compare_is_du(run: Run, tmp_path: Path) -> None:
    for name, words in (("a", ("-du",)), ("b", ("-r", "compare"))):
        result = quant(run, tmp_path, "-i", 2, *words, "--save-dir", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert contents(tmp_path / "a" / "dump") == contents(tmp_path / "b" / "dump") != {}


def test_without_du_there_is_no_dump(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path).exit_code == 0
    assert not (tmp_path / "out" / "dump").exists()


def test_a_moved_dump_is_compared_alike(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path, "-du", "-i", 2).exit_code == 0

    def figures(folder: Path) -> list[str]:
        result = run("compare", "-qd", folder)
        assert result.exit_code == 0, result.output
        return [line for line in result.stdout.splitlines() if " | " in line]

    before = figures(tmp_path / "out" / "dump")
    assert len(before) == 1 + len(FOLDERS) and figures(tmp_path / "out") == before
    shutil.move(tmp_path / "out" / "dump", tmp_path / "elsewhere")
    assert figures(tmp_path / "elsewhere") == before


def test_several_methods_give_a_dump_each(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-du", "-qm", "min_max", "kl", "-i", 1, 3)
    assert result.exit_code == 0, result.output
    for method in ("min_max", "kl"):
        for calls in (1, 3):
            dump = tmp_path / "out" / f"{method}_it_{calls}" / "dump"
            assert len(arrays(dump, "quant", "scores")) == calls
    assert not (tmp_path / "out" / "dump").exists()


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_a_file_per_forward_call_whatever_the_models_batch(
    run: Run, tmp_path: Path, batch: int | str
) -> None:
    small_models.conv_net(tmp_path, batch=batch)
    result = quant(run, tmp_path, "-du", "-i", 3, "-bs", 4)
    assert result.exit_code == 0, result.output
    dump, random = tmp_path / "out" / "dump", np.random.default_rng(7)
    wanted = [random.normal(size=(4, 3, 8, 8)).astype(np.float32) for _ in range(3)]
    for got, x in zip(arrays(dump, "float", "x"), wanted, strict=True):
        np.testing.assert_array_equal(got, x)
    for half in ("float", "quant"):
        assert [array.shape for array in arrays(dump, half, "scores")] == [(4, 4)] * 3
    compared = run("compare", "-qd", dump)
    assert compared.exit_code == 0 and "in 3 forward calls" in compared.stdout


def test_an_infer_function_of_its_own_mind(run: Run, tmp_path: Path) -> None:
    """It feeds five samples where one is asked for: all five are dumped, and announced."""
    result = quant(run, tmp_path, "-du", "-i", 1, body=FLOATS.format(calls=5, batch=1))
    assert result.exit_code == 0, result.output
    assert "dumping 5 layers x 5 forward calls" in result.stdout
    assert len(arrays(tmp_path / "out" / "dump", "quant", "relu")) == 5


def test_fewer_calls_than_asked_for(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path, "-du", "-i", 9, body=FLOATS.format(calls=2, batch=1)).exit_code == 0
    assert len(arrays(tmp_path / "out" / "dump", "quant", "relu")) == 2


# what goes wrong


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf"])
def test_a_limit_that_is_none(run: Run, tmp_path: Path, limit: str) -> None:
    result = quant(run, tmp_path, "-du", "--dump-limit", limit)
    assert result.exit_code == 2 and "Stage1" not in result.stdout
    assert "--dump-limit is " in result.stderr and "it has to be a " in result.stderr


def test_a_limit_that_takes_some_of_the_calls(run: Run, tmp_path: Path) -> None:
    result = quant(run, tmp_path, "-du", "-i", 9, "--dump-limit", 2e-4)
    assert result.exit_code == 0, result.output
    kept = len(arrays(tmp_path / "out" / "dump", "float", "x"))
    assert 0 < kept < 9 and f"only the first {kept} are dumped" in result.stdout
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "out" / "dump").rglob("*")) <= 2e5


def test_a_limit_that_takes_nothing_leaves_results_and_earlier_dump(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path, "-du", "-i", 2).exit_code == 0
    before = contents(tmp_path / "out" / "dump")
    result = quant(run, tmp_path, "-du", "-i", 4, "--dump-limit", 1e-6)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "dumping one forward call needs about" in line and "raise --dump-limit" in line
    assert contents(tmp_path / "out" / "dump") == before
    assert json.loads((tmp_path / "out" / "net_report.json").read_text())["iteration"] == 4
    assert {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")} == {
        ".knight.lock"
    }


def test_a_script_that_fails_while_the_dump_is_written(run: Run, tmp_path: Path) -> None:
    assert quant(run, tmp_path, "-du", "-i", 2).exit_code == 0
    before = contents(tmp_path / "out" / "dump")
    body = """
    for number in range(3):
        executor.forward(np.ones((1, 3, 8, 8), np.float32))
        if any(name.endswith("-writing") for name in os.listdir(executor.save_dir)):
            raise RuntimeError("unplugged")
    return 1.0
    """
    result = quant(run, tmp_path, "-du", "-i", 3, body=body)
    assert result.exit_code == 1 and "raised RuntimeError: unplugged" in result.stderr
    assert contents(tmp_path / "out" / "dump") == before
    assert not (tmp_path / "out" / ".dump-writing").exists()


def test_what_is_no_dump_is_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "dump").mkdir(parents=True)
    (tmp_path / "out" / "dump" / "thesis.txt").write_text("mine")
    result = quant(run, tmp_path, "-du")
    assert result.exit_code == 1 and "'thesis.txt', which is no part of a dump" in result.stderr
    assert (tmp_path / "out" / "dump" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "out" / "net_quantize.onnx").exists()
