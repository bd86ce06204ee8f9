"""Bad input: one clear line, a non-zero exit, nothing half-written, an earlier good result never lost."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import onnx
import pytest
from click.testing import CliRunner, Result

from knight.cli import knight
from knight.store import LOCK, Store
from tests import small_models

Run = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, but for the lock, with what is in it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def good_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: model, script and results in one folder."""
    folder = tmp_path_factory.mktemp("good")
    small_models.conv_net(folder)
    small_models.script(folder)
    words = ["-m", folder / "net.onnx", "-uds", folder / "infer.py", "-if", "infer_net"]
    result = CliRunner().invoke(knight, ["quant", *map(str, words), "--save-dir", str(folder / "out")])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(good_result: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder of the test's own: a good model, a script and an earlier result, which must survive."""
    place = tmp_path / "work"
    shutil.copytree(good_result, place)
    before = contents(place / "out")
    yield place
    assert contents(place / "out") == before
    assert not [path.name for path in (place / "out").iterdir() if path.name.startswith(".knight-")]


@pytest.fixture
def refuse(run: Run, folder: Path) -> Callable[..., str]:
    """Runs ``knight quant`` on the good model but for `words`; gives the one line of its refusal."""

    def attempt(*words: object, code: int | None = None) -> str:
        usual = {
            "-m": folder / "net.onnx",
            "-uds": folder / "infer.py",
            "-if": "infer_net",
            "--save-dir": folder / "out",
        }
        given = [item for name, value in usual.items() if name not in words for item in (name, value)]
        result = run("quant", *given, *words)
        return one_line(result, code)

    return attempt


def one_line(result: Result, code: int | None = None) -> str:
    """The single line that a failed run printed on stderr."""
    assert result.exit_code != 0, result.output
    assert code is None or result.exit_code == code
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("knight: error: ") and "Traceback" not in result.output
    assert "unexpected" not in lines[0], "a defect of Knight's own"
    return lines[0]


# models


def test_missing_model(refuse: Callable[..., str], folder: Path) -> None:
    assert f"{folder / 'no.onnx'}: no such file" in refuse("-m", folder / "no.onnx")


def test_empty_model(refuse: Callable[..., str], folder: Path) -> None:
    (folder / "empty.onnx").touch()
    assert "empty.onnx: the file is empty" in refuse("-m", folder / "empty.onnx")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_truncated_model(refuse: Callable[..., str], folder: Path, part: float) -> None:
    whole = (folder / "net.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: int(len(whole) * part)])
    assert "cut.onnx" in refuse("-m", folder / "cut.onnx")


@pytest.mark.parametrize(
    "text", [b"hello, I am no model\n", b"\x89PNG\r\n\x1a\n" + bytes(200), b"PK\x03\x04"]
)
def test_not_an_onnx_file(refuse: Callable[..., str], folder: Path, text: bytes) -> None:
    (folder / "other.onnx").write_bytes(text)
    assert "other.onnx" in refuse("-m", folder / "other.onnx")


def test_folder_as_model(refuse: Callable[..., str], folder: Path) -> None:
    assert "is a folder" in refuse("-m", folder)


@pytest.mark.parametrize("opset", [99, 0])
def test_unknown_opset(refuse: Callable[..., str], folder: Path, opset: int) -> None:
    small_models.conv_net(folder, name="odd", opset=opset)
    assert f"opset {opset} is not known" in refuse("-m", folder / "odd.onnx")


def test_unknown_domain(refuse: Callable[..., str], folder: Path) -> None:
    line = refuse("-m", small_models.foreign_domain(folder))
    assert "Frobnicate" in line and "com.example" in line


# scripts


def test_missing_script(refuse: Callable[..., str], folder: Path) -> None:
    assert "gone.py: no such file" in refuse("-uds", folder / "gone.py")


def test_script_is_a_folder(refuse: Callable[..., str], folder: Path) -> None:
    assert "is a folder" in refuse("-uds", folder)


def test_syntax_error(refuse: Callable[..., str], folder: Path) -> None:
    script = small_models.script(folder, "x = 1\nfor for", file="bad.py")
    assert f"{script}:8: not valid Python" in refuse("-uds", script)


def test_syntax_error_in_an_imported_file(refuse: Callable[..., str], folder: Path) -> None:
    (folder / "helper_of_test.py").write_text("def f(:\n")
    (folder / "bad.py").write_text("import helper_of_test\n")
    assert f"{folder / 'helper_of_test.py'}:1" in refuse("-uds", folder / "bad.py")


def test_script_that_raises_when_loaded(refuse: Callable[..., str], folder: Path) -> None:
    (folder / "bad.py").write_text("import json\njson.loads('{')\n")
    line = refuse("-uds", folder / "bad.py")
    assert "JSONDecodeError" in line and f"{folder / 'bad.py'}:2" in line


def test_script_that_exits(refuse: Callable[..., str], folder: Path) -> None:
    (folder / "bad.py").write_text("import sys\nsys.exit(0)\n")
    assert "called sys.exit(0)" in refuse("-uds", folder / "bad.py")


def test_infer_function_that_raises(refuse: Callable[..., str], folder: Path) -> None:
    script = small_models.script(folder, "\nnp.zeros(3).reshape(2, 2)", file="bad.py")
    line = refuse("-uds", script)
    assert "'infer_net' raised ValueError: cannot reshape" in line and f"{script}:7" in line


def test_infer_function_that_exits(refuse: Callable[..., str], folder: Path) -> None:
    assert "called sys.exit(-1)" in refuse("-uds", small_models.script(folder, "sys.exit(-1)", file="bad.py"))


def test_infer_function_that_never_calls_forward(refuse: Callable[..., str], folder: Path) -> None:
    line = refuse("-uds", small_models.script(folder, "return 1", file="bad.py"))
    assert "without calling executor.forward()" in line


def test_script_that_registers_nothing(refuse: Callable[..., str], folder: Path) -> None:
    (folder / "bad.py").write_text("def infer_net(executor):\n    return 1\n")
    assert "registers nothing" in refuse("-uds", folder / "bad.py")


def test_script_that_registers_another_name(refuse: Callable[..., str], folder: Path) -> None:
    line = refuse("-uds", small_models.script(folder, name="infer_nett", file="bad.py"))
    assert "'infer_net'" in line and "did you mean 'infer_nett'?" in line


def test_script_that_registers_a_name_twice(refuse: Callable[..., str], folder: Path) -> None:
    script = small_models.script(folder, file="bad.py")
    text = script.read_text()
    script.write_text(text + text)
    assert "registered twice" in refuse("-uds", script)


# samples


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("executor.forward()", "1 input(s) (x float32[1x3x8x8]), forward() was given 0"),
        ("executor.forward(good, good)", "forward() was given 2"),
        ("executor.forward(good[:, :2])", "input 'x' wants float32[1x3x8x8], got float32[1x2x8x8]"),
        ("executor.forward(good[0])", "got float32[3x8x8]; add the batch axis"),
        ("executor.forward(good[..., :7])", "got float32[1x3x8x7]"),
        ("executor.forward(good.astype(np.float64))", "input 'x' wants float32[1x3x8x8], got float64"),
        ("executor.forward((good * 255).astype(np.uint8))", "got uint8[1x3x8x8]"),
        ("executor.forward(good.tolist())", "wants a NumPy array float32[1x3x8x8], got list"),
        ("executor.forward(None)", "got NoneType"),
    ],
)
def test_wrong_sample(refuse: Callable[..., str], folder: Path, call: str, said: str) -> None:
    body = f"good = np.ones((1, 3, 8, 8), np.float32)\nexecutor.forward(good)\n{call}\nreturn 1"
    line = refuse("-uds", small_models.script(folder, body, file="bad.py"))
    assert "sample 2: " in line and said in line


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_sample_that_is_not_finite(refuse: Callable[..., str], folder: Path, value: str) -> None:
    body = f"""
        for number in range(5):
            sample = np.ones((1, 3, 8, 8), np.float32)
            if number == 3:
                sample[0, 1, 2, 3] = float("{value}")
            executor.forward(sample)
    """
    line = refuse("-uds", small_models.script(folder, body, file="bad.py"))
    assert "sample 4: input 'x' holds " + value in line and "[0, 1, 2, 3]" in line


def test_sample_that_is_not_finite_within_a_batch(refuse: Callable[..., str], folder: Path) -> None:
    small_models.conv_net(folder, batch="N", name="dynamic")
    body = """
        sample = np.ones((4, 3, 8, 8), np.float32)
        executor.forward(sample)
        sample[2] = np.nan
        executor.forward(sample)
    """
    words = ("-m", folder / "dynamic.onnx", "-uds", small_models.script(folder, body, file="bad.py"))
    assert "sample 7: input 'x' holds nan" in refuse(*words, "-bs", 4)


# options


def test_unknown_chip(refuse: Callable[..., str]) -> None:
    assert "unknown chip 'TX5368AV20'" in refuse("--chip", "TX5368AV20")
    assert "did you mean 'TX5368AV200'" in refuse("--chip", "TX5368AV20")


def test_unknown_method(refuse: Callable[..., str]) -> None:
    assert "unknown value 'minmax': did you mean 'min_max'?" in refuse("-qm", "kl", "minmax")


@pytest.mark.parametrize("bits", [4, 7, 32])
def test_unknown_bit_width(refuse: Callable[..., str], bits: int) -> None:
    assert f"-b/--bit-width: unknown value '{bits}': known: 16, 8" in refuse("-b", bits)


def test_bit_width_that_is_no_number(refuse: Callable[..., str]) -> None:
    assert "'eight'" in refuse("-b", "eight", code=2)


def test_unknown_output_name(refuse: Callable[..., str]) -> None:
    line = refuse("-on", "score")
    assert "'score'" in line and "did you mean 'scores'?" in line


def test_unknown_framework(refuse: Callable[..., str]) -> None:
    assert "did you mean 'tensorflow'?" in refuse("-f", "tensorflo")


def test_unknown_option(refuse: Callable[..., str]) -> None:
    assert "--savedir" in refuse("--savedir", "x", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mean", 0.5), "--mean is given without --std"),
        (("--std", 0.5), "--std is given without --mean"),
        (("--mean", 1, 2, "--std", 1, 2), "channel"),
        (("--mean", 1, 2, 3, "--std", 1, 2), "as many"),
        (("--mean", 0, "--std", 0), "zero"),
        (("--mean", "nan", "--std", 1), "finite"),
        (("--mean", "a", "--std", 1), "'a'"),
    ],
)
def test_mean_and_std(refuse: Callable[..., str], words: tuple[object, ...], said: str) -> None:
    assert said in refuse(*words)


def test_ir_batch_on_a_static_model(refuse: Callable[..., str]) -> None:
    assert "-ib" in refuse("-ib", 4)


@pytest.mark.parametrize("words", [("-i", 0), ("-i", -3), ("-bs", 0), ("-ib", 0), ("-per", 0.2), ("-per", 2)])
def test_numbers_out_of_range(refuse: Callable[..., str], words: tuple[object, ...]) -> None:
    assert str(words[0]) in refuse(*words)


def test_strict_refuses_what_the_chip_lacks(refuse: Callable[..., str], folder: Path) -> None:
    model = onnx.load(folder / "net.onnx")
    model.graph.node[1].op_type = "Softsign"
    onnx.save(model, folder / "odd.onnx")
    line = refuse("-m", folder / "odd.onnx", "--strict")
    assert "Softsign" in line


# where results go


@pytest.mark.parametrize("place", ["net.onnx", "net.onnx/below"])
def test_save_dir_that_is_no_folder(refuse: Callable[..., str], folder: Path, place: str) -> None:
    line = refuse("--save-dir", folder / place)
    assert str(folder / place) in line and "--save-dir" in line


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write to")
def test_save_dir_not_writable(refuse: Callable[..., str]) -> None:
    assert "cannot write to /proc/knight" in refuse("--save-dir", "/proc/knight")


def test_default_save_dir_not_writable(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_to_make(store: Store) -> None:
        raise PermissionError(13, "Permission denied", str(store.folder))

    monkeypatch.setattr(Store, "_make_folder", refuse_to_make)
    line = one_line(run("quant", "-m", folder / "net.onnx"))
    assert "cannot write to /TS-KnightOutput/QuantOnnx: Permission denied" in line and "--save-dir" in line


def test_a_failed_run_leaves_no_new_folder(refuse: Callable[..., str], folder: Path) -> None:
    script = small_models.script(folder, "raise ValueError('no')", file="bad.py")
    refuse("--save-dir", folder / "new" / "deep", "-uds", script)
    assert not (folder / "new").exists()


def test_save_dir_in_use(refuse: Callable[..., str], folder: Path) -> None:
    with Store(folder / "out"):
        line = refuse()
    assert f"{folder / 'out'} is in use by another run" in line and "--save-dir" in line


# a process that is stopped; these run the real command in a process of its own


def command(folder: Path, script: Path, *words: object) -> list[str]:
    line = ("quant", "-m", folder / "net.onnx", "-uds", script, "-if", "infer_net", *words)
    return [sys.executable, "-c", START, *map(str, line), "--save-dir", str(folder / "out")]


START = """
import sys
from knight.cli import main
main()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A folder for temporary files that is empty before and must be empty after."""
    (tmp_path / "tmp").mkdir()
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


STOPS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP",
}


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("pass_number", [1, 2])
def test_interrupt(
    folder: Path,
    tmp_path: Path,
    environment: dict[str, str],
    refuse: Callable[..., str],
    pass_number: int,
    number: signal.Signals,
) -> None:
    count, marker = tmp_path / "count", tmp_path / "marker"
    body = f"""
        executor.forward(np.ones((1, 3, 8, 8), np.float32))
        with open({str(count)!r}, "a") as file:
            file.write("x")
        if len(open({str(count)!r}).read()) == {pass_number}:
            open({str(marker)!r}, "w").close()
            time.sleep(60)
    """
    script = small_models.script(folder, body, file="slow.py")
    process = subprocess.Popen(
        command(folder, script), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(marker, process)
    assert "is in use by another run" in refuse()  # two processes on one save-dir
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors.strip() == f"knight: error: {STOPS[number]}; earlier results are as they were"
    left = {path.name for path in (tmp_path / "tmp").iterdir()}
    assert left <= {".ses"}  # ONNX Runtime's own, made when it is imported


def test_disk_full(folder: Path, environment: dict[str, str]) -> None:
    """No file may grow beyond 1.5 kB: the model is larger, everything before it is not."""
    assert (folder / "out" / "net_quantize.onnx").stat().st_size > 1536
    process = subprocess.run(
        command(folder, folder / "infer.py"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1536, 1536)),
        check=False,
    )
    assert process.returncode == 1
    (line,) = process.stderr.strip().splitlines()
    assert f"cannot write to {folder / 'out'}: File too large; free some space" in line


KILLED = """
import os, signal, sys
from pathlib import Path
moment, number = sys.argv.pop(1), int(sys.argv.pop(1))

def deadly(function):
    calls = 0
    def wrapper(*args, **settings):
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **settings)
    return wrapper

if moment == "forward":
    from knight.executor import Executor
    Executor.forward = deadly(Executor.forward)
elif moment == "save":
    from knight import model
    model.save = deadly(model.save)
elif moment == "flush":
    os.fsync = deadly(os.fsync)
elif moment == "commit":
    Path.rename = deadly(Path.rename)
elif moment == "move":
    Path.replace = deadly(Path.replace)
from knight.cli import main
main()
"""

BEFORE_COMMIT = [("forward", 1), ("forward", 2), ("save", 1), ("save", 3), ("flush", 2), ("commit", 1)]
AFTER_COMMIT = [("move", 1), ("move", 3), ("move", 5)]


def kill(folder: Path, environment: dict[str, str], moment: str, number: int) -> None:
    words = command(folder, folder / "infer.py", "-i", 9)
    words[2:3] = [KILLED, moment, str(number)]
    process = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize(("moment", "number"), BEFORE_COMMIT)
def test_kill_before_the_commit(folder: Path, environment: dict[str, str], moment: str, number: int) -> None:
    before = contents(folder / "out")
    kill(folder, environment, moment, number)
    after = contents(folder / "out")
    assert {name: after[name] for name in before} == before
    with Store(folder / "out"):  # the next run removes what was left
        pass


@pytest.mark.parametrize(("moment", "number"), AFTER_COMMIT)
def test_kill_after_the_commit(
    good_result: Path, tmp_path: Path, environment: dict[str, str], moment: str, number: int
) -> None:
    """The new result is complete once the folder is opened again; every file is old or new at any time."""
    folder, fresh = tmp_path / "work", tmp_path / "fresh"
    for place in (folder, fresh):
        shutil.copytree(good_result, place)
    old = contents(folder / "out")
    subprocess.run(command(fresh, fresh / "infer.py", "-i", 9), env=environment, check=True, timeout=60)
    new = contents(fresh / "out")
    kill(folder, environment, moment, number)
    for name, data in old.items():
        assert (
            (folder / "out" / name).read_bytes() == data
            or name.endswith(".json")
            or (folder / "out" / name).read_bytes() == new[name]
        )
    with Store(folder / "out"):
        pass
    after = contents(folder / "out")
    assert after.keys() == new.keys()
    assert all(after[name] == new[name] for name in new if name.endswith(".onnx"))
    assert new["net_quantize.onnx"] != old["net_quantize.onnx"]


# models with unusual inputs: they run, or the reason is told


def quant_odd(run: Run, folder: Path, model: Path, body: str) -> Result:
    script = small_models.script(folder, dedent(body) + "\nreturn 1", file="odd.py")
    words = ("-m", model, "-uds", script, "-if", "infer_net", "--save-dir", folder / "odd")
    return run("quant", *words, "--chip", "onnxruntime")


def test_integer_input(run: Run, folder: Path) -> None:
    body = "executor.forward(np.arange(5, dtype=np.int64)[None])"
    result = quant_odd(run, folder, small_models.integer_input(folder), body)
    assert result.exit_code == 0, result.stderr
    assert onnx.load(folder / "odd" / "ids_quantize.onnx").graph.input[0].type.tensor_type.elem_type == 7


def test_string_input(run: Run, folder: Path) -> None:
    body = 'executor.forward(np.array([["a", "b"]], dtype=object), np.ones((1, 4), np.float32))'
    result = quant_odd(run, folder, small_models.string_input(folder), body)
    assert result.exit_code == 0, result.stderr


def test_sequence_input(run: Run, folder: Path) -> None:
    body = "executor.forward([np.ones((1, 4), np.float32)])"
    result = quant_odd(run, folder, small_models.sequence_input(folder), body)
    assert result.exit_code == 0, result.stderr


def test_no_input(run: Run, folder: Path) -> None:
    result = quant_odd(run, folder, small_models.no_input(folder), "executor.forward()")
    assert result.exit_code == 0, result.stderr


def test_zero_sized_input(run: Run, folder: Path) -> None:
    body = "executor.forward(np.ones((1, 4), np.float32), np.ones((1, 0), np.float32))"
    result = quant_odd(run, folder, small_models.zero_sized(folder), body)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("build", [small_models.string_input, small_models.sequence_input])
def test_random_data_cannot_be_made_for_every_type(
    refuse: Callable[..., str], folder: Path, build: Callable[[Path], Path]
) -> None:
    line = refuse("-m", build(folder), "-if", "infer_auto", "--chip", "onnxruntime")
    assert "infer_auto makes no random data for input" in line


def test_wrong_sample_of_the_second_input_is_named(refuse: Callable[..., str], folder: Path) -> None:
    body = "executor.forward(np.ones((1, 4), np.float32), np.ones((1, 4), np.float32))"
    script = small_models.script(folder, body, file="bad.py")
    line = refuse("-m", small_models.two_inputs(folder), "-uds", script)
    assert "sample 1: input 'right' wants float32[1x6], got float32[1x4]" in line


def test_the_good_model_and_script_work(refuse: Callable[..., str], folder: Path) -> None:
    """The guard of this file: what `refuse` starts from is refused for its one fault only."""
    with pytest.raises(AssertionError, match="Quant complete"):
        refuse("--save-dir", folder / "other")
    assert contents(folder / "other").keys() == contents(folder / "out").keys()


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("quant -m {}.onnx", "-m/--model"),
        ("quant -m net.onnx --save-dir {}", "-s/--save-dir"),
        ("quant -m net.onnx -uds {}.py -if f", "-uds/--user-defined-script"),
        ("convert -f tensorflow -m {}", "-m/--model"),
        ("convert -f caffe -m a.prototxt -w {}", "-w/--weight"),
        ("compare -qd {}", "-qd/--quant-dump"),
        ("compare -m net.onnx -q {}.onnx", "-q/--quantized"),
    ],
)
def test_names_that_no_file_can_have(run: Run, words: str, flag: str) -> None:
    ran = run(*words.format("n" * 300).split())
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert ran.stderr.startswith(f"knight: error: {flag} ") and "longer than a name" in ran.stderr
    shorter = run(*words.format("n" * 200).split())
    assert "longer than a name" not in shorter.stderr


def test_a_build_names_the_key_of_a_name_that_no_file_can_have(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(f'{{"quant": {{"model": "{"n" * 5000}.onnx"}}}}', "utf-8")
    ran = run("build", "--run-config", tmp_path / "net.json")
    assert ran.exit_code == 2 and ran.stderr.count("\n") == 1
    assert "-m/--model nnnn" in ran.stderr and "longer than a name" in ran.stderr
