"""Stops the commands at random moments, and says what is left of them: processes, files, broken results.

    python scripts/fuzz/kill.py FOLDER [--moments 40] [--seed 0] [--only NAME ...] [--signals TERM ...]

Each command runs once undisturbed, for its time and for the result that it makes; then again and again, into
a fresh folder or over an earlier result, and a signal meets it at a random moment of that time. After TERM,
HUP and INT nothing may be left: no process, no temporary file, and the folder of results as it was or with
all of the new result. After KILL the earlier result is whole, and the next run makes the new one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SIGNALS = (*STOPS, signal.SIGKILL)
TARGETS = ("process", "group")
_PATIENCE = 60.0
_NOT_OURS = {".ses"}
"""ONNX Runtime's own, made in the folder of temporary files when it is imported."""

Words = Sequence[object]


@dataclass(frozen=True)
class Case:
    """One command to stop. words: of `make`, given the folder of the inputs and that of the results."""

    name: str
    words: Callable[[Path, Path], Words]


@dataclass(frozen=True)
class Ending:
    """How one run ended. seconds: from the signal to the end; faults: what must not be."""

    code: int
    seconds: float
    faults: tuple[str, ...]


def net(folder: Path, seed: int, width: int = 16, blocks: int = 12) -> Path:
    """x float32[N, 3, 32, 32] -> Conv and Relu, `blocks` times -> scores[N, 4]; no two seeds alike."""
    random_numbers = np.random.default_rng(seed)
    nodes, tensors, last, channels = [], [], "x", 3
    for block in range(blocks):
        weights = random_numbers.normal(size=(width, channels, 3, 3)).astype(np.float32) / channels
        tensors.append(numpy_helper.from_array(weights, f"w{block}"))
        conv = helper.make_node("Conv", [last, f"w{block}"], [f"c{block}"], f"conv{block}", pads=[1, 1, 1, 1])
        nodes += [conv, helper.make_node("Relu", [f"c{block}"], [f"r{block}"], f"relu{block}")]
        last, channels = f"r{block}", width
    head = random_numbers.normal(size=(4, width)).astype(np.float32)
    tensors.append(numpy_helper.from_array(head, "head"))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pool"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], "flat"))
    nodes.append(helper.make_node("Gemm", ["flat", "head"], ["scores"], "gemm", transB=1))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(nodes, "net", [x], [scores], tensors)
    opsets = [helper.make_opsetid("", 17)]
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def caffe_net(folder: Path, seed: int) -> None:
    """``caffe.prototxt`` and ``caffe.caffemodel``: one convolution."""
    from knight.converters.caffe._schema import message_class

    (folder / "caffe.prototxt").write_text(
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 layer { name: "conv" type: '
        '"Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }'
    )
    weights = message_class("NetParameter")(name="caffe")
    blobs = weights.layer.add(name="conv").blobs
    for shape in ((4, 3, 3, 3), (4,)):
        blob = blobs.add()
        blob.shape.dim.extend(shape)
        blob.data.extend(np.random.default_rng(seed).normal(size=shape).ravel().tolist())
    (folder / "caffe.caffemodel").write_bytes(weights.SerializeToString())


def inputs(folder: Path, seed: int) -> Path:
    """A folder with all that the commands of `CASES` read."""
    folder.mkdir(parents=True)
    net(folder, seed)
    caffe_net(folder, seed)
    words = ("--chip", "onnxruntime", "quant", "-m", folder / "net.onnx", "-i", 3, "-du")
    subprocess.run(
        knight(*words, "--save-dir", folder / "made"),
        env=environment(folder),
        check=True,
        capture_output=True,
    )
    return folder


def run_config(folder: Path, out: Path) -> Path:
    """A run-config with all steps of build."""
    document = {
        "chip": "onnxruntime",
        "convert": {"model": str(folder / "net.onnx"), "save_dir": str(out)},
        "quant": {"iteration": 3, "save_dir": str(out)},
        "compare": {"save_dir": str(out / "compared")},
        "infer": {"iteration": 3},
    }
    path = folder / f"run-{out.name}.json"
    path.write_text(json.dumps(document))
    return path


def _quant(*words: object) -> Callable[[Path, Path], Words]:
    return lambda source, out: (
        *("--chip", "onnxruntime", "quant", "-m", source / "net.onnx", "--save-dir", out, "-i", 6, *words),
    )


def _convert(framework: str, model: str, *words: object) -> Callable[[Path, Path], Words]:
    return lambda source, out: (
        *("convert", "-f", framework, "-m", source / model, "--save-dir", out),
        *(source / str(word)[1:] if str(word).startswith("@") else word for word in words),
    )


CASES = (
    Case("quant", _quant()),
    Case("quant several", _quant("-qm", "min_max", "-qm", "mse", "-i", 3)),
    Case("quant dump", _quant("-du")),
    Case("quant optimizers", _quant("--optimize", "bias_correction")),
    Case("convert", _convert("onnx", "net.onnx")),
    Case("convert caffe", _convert("caffe", "caffe.prototxt", "-w", "@caffe.caffemodel")),
    Case(
        "compare",
        lambda source, out: (
            *("compare", "-m", source / "net.onnx", "-q", source / "made" / "net_quantize.onnx", "-i", 3),
            *("--save-dir", out, "--show-plot", "-sh", "hist"),
        ),
    ),
    Case(
        "compare dump",
        lambda source, out: ("compare", "-qd", source / "made" / "dump", "--save-dir", out),
    ),
    Case("infer", lambda source, out: ("infer", "-m", source / "net.onnx", "-i", 200)),
    Case("build", lambda source, out: ("build", "-rc", run_config(source, out))),
)


def of_the_kit(kit: Path) -> tuple[Case, ...]:
    """Conversions of the development kit's models, by frameworks that take seconds to load.

    Frozen graphs of TensorFlow become other bytes from run to run: "not whole" is said of these as well.
    """
    models = {
        "pytorch": ("pytorch/resnet20_cifar10_torchscript.pt", "-is", 1, 3, 32, 32),
        "paddle": ("paddle/resnet20_cifar10/inference.pdmodel", "-is", 1, 3, 32, 32),
        "tensorflow": ("tf/mobilenet_v1_0.25_224_frozen.pb", "-snn", "input:0", "-enn", "Identity:0"),
    }

    def words(framework: str, file: str, *others: object) -> Callable[[Path, Path], Words]:
        return lambda _, out: ("convert", "-f", framework, "-m", kit / file, *others, "--save-dir", out)

    return tuple(Case(f"convert {name}", words(name, *chosen)) for name, chosen in models.items())


def knight(*words: object) -> list[str]:
    """The command line as a user's shell starts it."""
    return [sys.executable, "-m", "knight", *map(str, words)]


def environment(private: Path) -> dict[str, str]:
    """Temporary files and settings in folders of this run alone."""
    temporary = private / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    own = {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "XDG_CONFIG_HOME": str(private / "settings")}
    return {**os.environ, **own}


def processes(private: Path) -> list[int]:
    """Those that were started with the environment of `private`, and are not over."""
    found, mark = [], os.fsencode(f"XDG_CONFIG_HOME={private}/")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has just ended, or is another user's
                continue
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path; reports without what differs from run to run."""
    if not folder.exists():
        return {}
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class Subject:
    """One case with its inputs, its time and the results it may have.

    earlier, later: what undisturbed runs on two models leave in their folders.
    """

    case: Case
    place: Path
    sources: tuple[Path, Path]
    seconds: float = 0.0
    earlier: Path = Path()
    later: Path = Path()

    def measure(self) -> None:
        """Runs it undisturbed over both inputs. Raises CalledProcessError."""
        self.earlier, self.later = self.place / "earlier", self.place / "later"
        for source, out in zip(self.sources, (self.earlier, self.later), strict=True):
            begin = time.monotonic()
            words = knight(*self.case.words(source, out))
            settings = environment(self.place / "undisturbed")
            done = subprocess.run(words, env=settings, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{self.case.name}: {done.stderr}")
            self.seconds = time.monotonic() - begin

    def strike(
        self, number: signal.Signals, moment: float, target: str, *, over: bool, twice: bool = False
    ) -> Ending:
        """One run that meets signal `number` after `moment` seconds.

        target: the process alone, or its group, as a terminal does it. over: there is an earlier result.
        twice: the same again, 50 ms later.
        """
        private = self.place / "struck"
        shutil.rmtree(private, ignore_errors=True)
        out = private / "out"
        settings = environment(private)
        if over and self.earlier.exists():
            shutil.copytree(self.earlier, out)
        before = contents(out)
        said = private / "said"  # no pipe, whose other end what is left might hold
        with said.open("w") as file:
            process = subprocess.Popen(
                knight(*self.case.words(self.sources[1], out)),
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        begin = time.monotonic()
        for _ in range(2 if twice else 1):
            _send(process, number, target)
            time.sleep(0.05 if twice else 0)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Ending(0, _PATIENCE, (f"it still runs after {_PATIENCE:.0f} s",))
        seconds = time.monotonic() - begin
        faults = [*self._processes(private, number), *_words(process.returncode, said.read_text(), number)]
        if number == signal.SIGKILL:
            faults += self._after_kill(private, out, before)
        else:
            faults += [*_temporary(private), *self._results(out, before)]
        return Ending(process.returncode, seconds, tuple(faults))

    def _processes(self, private: Path, number: signal.Signals) -> Iterator[str]:
        """After KILL the system ends the others, which takes a moment."""
        deadline = time.monotonic() + (10 if number == signal.SIGKILL else 0)
        while (left := processes(private)) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in left:
            yield f"process {pid} is left"

    def _results(self, out: Path, before: dict[str, bytes]) -> Iterator[str]:
        after, later = contents(out), contents(self.later)
        odd = [name for name in after if Path(name).name.startswith(".") and name not in {**before, **later}]
        yield from (f"{name} is left" for name in odd)
        if not before and not after and out.exists():
            yield "an empty folder is left"
        for name, content in before.items():
            if name not in after:
                yield f"{name} is lost"
            elif not same(name, after[name], content) and not same(name, after[name], later.get(name, b"")):
                yield f"{name} is neither old nor new"
        for name in after.keys() - before.keys() - set(odd):
            if name not in later:
                yield f"{name} is no file of the result"
            elif not same(name, after[name], later[name]):
                yield f"{name} is not whole"

    def _after_kill(self, private: Path, out: Path, before: dict[str, bytes]) -> Iterator[str]:
        after, later = contents(out), contents(self.later)
        for name, content in before.items():
            if name not in after:
                yield f"{name} is lost"
            elif not same(name, after[name], content) and not same(name, after[name], later.get(name, b"")):
                yield f"{name} is neither old nor new"
        words = knight(*self.case.words(self.sources[1], out))
        done = subprocess.run(words, env=environment(private), capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"the next run fails: {done.stderr.strip()}"
            return
        after = contents(out)
        for name in sorted(after.keys() - later.keys() - before.keys()):
            yield f"after the next run, {name} is left"
        for name in sorted(later.keys() - after.keys()):
            yield f"after the next run, {name} is missing"
        for name in sorted(after.keys() & later.keys()):
            if not same(name, after[name], later[name]):
                yield f"after the next run, {name} differs"
        yield from (f"after the next run, {fault}" for fault in _temporary(private))


def same(name: str, one: bytes, other: bytes) -> bool:
    """Byte for byte; reports, which hold times and paths, by being whole."""
    if name.endswith((".onnx", ".npy", ".data")):
        return one == other
    if name.endswith(".json"):
        try:
            return bool(other) and type(json.loads(one)) is type(json.loads(other))
        except ValueError:
            return False
    ending = {".html": b"</html>", ".csv": b"\n", ".png": b"IEND\xaeB`\x82"}.get(Path(name).suffix, b"")
    return one.rstrip(b" \n").endswith(ending.strip()) and bool(one) == bool(other)


def _send(process: subprocess.Popen[bytes], number: signal.Signals, target: str) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            (os.killpg if target == "group" else os.kill)(process.pid, number)


def _temporary(private: Path) -> Iterator[str]:
    for path in sorted((private / "tmp").iterdir()):
        if path.name not in _NOT_OURS:
            inside = ", ".join(sorted(each.name for each in path.rglob("*"))[:4]) if path.is_dir() else ""
            yield f"temporary {path.name} is left ({inside})"


def _words(code: int, errors: str, number: signal.Signals) -> Iterator[str]:
    lines = errors.strip().splitlines()
    if number == signal.SIGINT and lines and lines[-1] == "KeyboardInterrupt" and "in main" not in errors:
        return  # while Python itself starts, or imports us: it tells where it was
    if code not in (0, 128 + number, -number):
        yield f"code {code}: {' / '.join(lines[-2:])}"
    elif len(lines) > 1 or "Traceback" in errors:
        yield f"{len(lines)} lines: {lines[0]} ... {lines[-1]}"


def prepare(folder: Path) -> tuple[Path, Path]:
    """The inputs of the earlier and of the later results."""
    return inputs(folder / "a", 1), inputs(folder / "b", 2)


def strikes(
    subject: Subject, number: signal.Signals, moments: int, chance: random.Random
) -> Iterator[tuple[float, Ending]]:
    """(moment, ending) of so many runs, at moments drawn from `chance` over the time of the case."""
    for turn in range(moments):
        moment = chance.uniform(0, subject.seconds * 1.05)
        target = TARGETS[turn % 2]
        twice = number == signal.SIGINT and turn % 4 == 3
        yield moment, subject.strike(number, moment, target, over=turn % 3 != 0, twice=twice)


def main() -> None:
    """Prints one line per command and signal, and every fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder for inputs and results")
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of commands (default: all)")
    parser.add_argument(
        "--kit", type=Path, default=ROOT.parent / "shared" / "kit", help="where it is, if it is"
    )
    parser.add_argument("--signals", nargs="*", default=[number.name[3:] for number in SIGNALS])
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    asked.folder.mkdir(parents=True)
    sources = prepare(asked.folder / "inputs")
    chance = random.Random(asked.seed)
    print(f"{'command':<18} {'signal':<6} {'runs':>4} {'stopped':>7} {'faults':>6}  slowest end")
    for case in (*CASES, *(of_the_kit(asked.kit) if asked.kit.is_dir() else ())):
        if asked.only and case.name not in asked.only:
            continue
        subject = Subject(case, asked.folder / case.name.replace(" ", "-"), sources)
        subject.measure()
        for name in asked.signals:
            number = signal.Signals[f"SIG{name}"]
            found = list(strikes(subject, number, asked.moments, chance))
            stopped = sum(ending.code != 0 for _, ending in found)
            faults = sum(bool(ending.faults) for _, ending in found)
            slowest = max(ending.seconds for _, ending in found)
            print(
                f"{case.name:<18} {name:<6} {len(found):>4} {stopped:>7} {faults:>6}  {slowest:.2f} s",
                flush=True,
            )
            for moment, ending in found:
                for fault in ending.faults:
                    print(f"    at {moment:.3f} of {subject.seconds:.2f} s: {fault}", flush=True)


if __name__ == "__main__":
    main()
