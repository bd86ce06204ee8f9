"""What quantizing costs in time and memory, as ratios to bare passes of the same model in the same run.

    python scripts/bench/cost.py

Five methods at once over 100 pictures of SqueezeNet: everything but the fixed-point passes against a bare
float pass; each fixed-point pass against a bare pass of the quantized model; peak memory with 200 pictures
against 20; the start of the command line against bare Python. Each figure is the median of several rounds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import kit as development
import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.calibration import methods
from knight.config import QuantConfig
from knight.executor import Executor, RunSettings
from knight.pipeline import quantize
from knight.runner import Session
from knight.targets import load_target

NET = next(net for net in development.CLASSIFIERS if net.name == "squeezenet11")


def bare_pass(model: ir.Model, samples: Sequence[np.ndarray]) -> float:
    """Seconds for one pass over the samples, the session already there."""
    session = Session(model, threads=2)
    session.run({"input": samples[0]})
    start = time.perf_counter()
    for sample in samples:
        session.run({"input": sample})
    return time.perf_counter() - start


def one_round(path: Path, samples: Sequence[np.ndarray]) -> dict[str, float]:
    """Seconds of the parts of one run of five methods, and of the bare passes beside it."""

    def feed(executor: Executor) -> None:
        for sample in samples[: executor.iteration]:
            executor.forward(sample)

    config = QuantConfig(methods=methods(), iterations=(len(samples),), threads=2)
    source = models.load(path)
    start = time.perf_counter()
    outcomes = list(quantize(source, feed, load_target("onnxruntime"), config, RunSettings(), name=NET.name))
    total = time.perf_counter() - start
    passes = [float(outcome.report["times"]["stage4"]) for outcome in outcomes]
    quantized = [outcome.model for outcome in outcomes if outcome.model is not None]
    bare = [bare_pass(model, samples) for model in quantized]
    return {
        "total": total,
        "rest": total - sum(passes),
        "float pass": bare_pass(source, samples),
        "fixed-point / bare": statistics.median(taken / own for taken, own in zip(passes, bare, strict=True)),
    }


def peak_memory(kit: Path, count: int) -> float:
    """MB that a process needs at most to quantize with `count` pictures."""
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import kit as development, knight
from pathlib import Path
net = next(net for net in development.CLASSIFIERS if net.name == {NET.name!r})
def feed(executor):
    for sample, _ in development.samples(Path({str(kit)!r}), net, "images", {count}):
        executor.forward(sample)
model = Path({str(kit)!r}) / "onnx" / net.file
done = knight.quantize(model, feed, target="onnxruntime", iterations={count}, threads=2)
print(done.report["peak_memory_mb"])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(output.stdout.split()[-1])


def start_up(command: Sequence[str], rounds: int) -> float:
    """Median seconds of a command that prints and ends."""
    return statistics.median(
        _seconds(lambda: subprocess.run(command, capture_output=True, check=True)) for _ in range(rounds)
    )


def cpu_seconds(commands: Sequence[Sequence[str]], rounds: int) -> list[float]:
    """Median CPU seconds, of the process and the system, of each command; they take turns."""
    taken: list[list[float]] = [[] for _ in commands]
    for _ in range(rounds):
        for command, times in zip(commands, taken, strict=True):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return [statistics.median(times) for times in taken]


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    """Prints the figures, one a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    path = arguments.kit / "onnx" / NET.file
    samples = [sample for sample, _ in development.samples(arguments.kit, NET, "images", 100)]
    rounds = [one_round(path, samples) for _ in range(arguments.rounds)]
    figures = {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
    budget = 2.5 * figures["float pass"] + 5
    rest, bare = figures["rest"], figures["float pass"]
    print(f"five methods, 100 pictures of {NET.name}: {figures['total']:.2f} s")
    print(f"  without the fixed-point passes: {rest:.2f} s, budget 2.5 x {bare:.2f} s + 5 s = {budget:.2f} s")
    ratio = figures["fixed-point / bare"]
    print(f"  a fixed-point pass, integer operators counted: {ratio:.2f} times a bare pass of its model")
    few, many = peak_memory(arguments.kit, 20), peak_memory(arguments.kit, 200)
    print(f"peak memory: {many:.0f} MB with 200 pictures, {few:.0f} MB with 20: {many / few:.3f} times")
    knight = [sys.executable, "-m", "knight"]
    bare = start_up([sys.executable, "-c", ""], 7)
    print(f"knight --help: {start_up([*knight, '--help'], 7) - bare:.2f} s above bare Python ({bare:.2f} s)")
    click, help = cpu_seconds([[sys.executable, "-c", "import click"], [*knight, "--help"]], 20)
    print(f"knight --help: {help / click:.2f} times the CPU time of importing click alone")
    mnist = arguments.kit / "onnx" / "mnist-8_onnxruntime_example.onnx"
    with tempfile.TemporaryDirectory() as folder:
        quant = [
            *knight,
            "--chip",
            "onnxruntime",
            "quant",
            "-m",
            str(mnist),
            "-i",
            "10",
            "--save-dir",
            folder,
        ]
        print(f"knight quant of MNIST: {start_up(quant, 3):.2f} s")


if __name__ == "__main__":
    main()
