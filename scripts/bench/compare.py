"""What comparing two models costs, as ratios to bare passes of both with all their paired values as outputs.

    python scripts/bench/compare.py

20 pictures a net: nets of the kit and a made-up one of 60 convolutions at 56 x 56, each quantized by
Knight. *feed* is what a comparison does with the pictures: both models run, every layer runs alone, all sums
are taken; *whole* is `compare_models`, with pairing, sessions and causes. Bare passes and feeding take turns,
picture by picture; figures are medians of several rounds. *CPU* is the same ratio in seconds of processor
time, which other work on the machine disturbs less. At the end, the peak memory with 200 pictures against 20,
each in a process of its own (Linux only).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kit as development
import numpy as np
import onnx_ir as ir
from PIL import Image

import knight
from knight import model as models
from knight.compare.comparison import Comparison
from knight.compare.models import Options, compare_models, forms, real_graph
from knight.compare.pairing import pair
from knight.compare.rows import rows_of
from knight.executor import Executor, InferFunction, RunSettings
from knight.runner import Session, available_threads

Feeds = Mapping[str, np.ndarray]
CALIBRATED = 8
LAYERS = 60


@dataclass(frozen=True)
class Net:
    """file: below onnx/, "" for the made-up net. pictures: folder below images/. size: (width, height) after
    scaling. Pixels become (x - mean) / std."""

    name: str
    file: str
    pictures: str
    size: tuple[int, int]
    mean: float
    std: float
    input: str = "input"


NETS = (
    Net("resnet20", "resnet20_cifar10.onnx", "cifar10", (32, 32), 115.0, 60.0),
    Net("squeezenet", "squeezenet_v1.1.onnx", "imagenet", (227, 227), 115.0, 1.0),
    Net("mobilenet", "mobilenet_v1_0.25_224.onnx", "imagenet", (224, 224), 127.5, 127.5),
    Net("RFB-320", "version-RFB-320.onnx", "faces", (320, 240), 127.0, 128.0),
    Net("nanodet", "nanodet_m_416.onnx", "coco20", (416, 416), 110.0, 57.0, "input.1"),
    Net(f"{LAYERS} convolutions", "", "imagenet", (56, 56), 115.0, 60.0),
)


def samples(kit: Path, net: Net, count: int) -> Iterator[dict[str, np.ndarray]]:
    """`count` pictures, the kit's own over and over where there are fewer."""
    files = sorted((kit / "images" / net.pictures).glob("*.[jp][pn]*g"))
    for number in range(count):
        yield {net.input: _picture(files[number % len(files)], net)}


def _picture(path: Path, net: Net) -> np.ndarray:
    picture = Image.open(path).convert("RGB").resize(net.size, Image.Resampling.BILINEAR)
    array = (np.asarray(picture, np.float32) - np.float32(net.mean)) / np.float32(net.std)
    return np.ascontiguousarray(array.transpose(2, 0, 1)[None])


def made_up() -> ir.Model:
    """`LAYERS` convolutions of 3 x 3 with a Relu each, 64 channels of 56 x 56."""
    random = np.random.default_rng(0)
    value = data = ir.Value(
        name="input", shape=ir.Shape([1, 3, 56, 56]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    nodes, initializers = [], []
    for layer in range(LAYERS):
        channels = 3 if layer == 0 else 64
        array = random.normal(0, (2 / (9 * channels)) ** 0.5, (64, channels, 3, 3)).astype(np.float32)
        weight = ir.Value(name=f"weight{layer}", const_value=ir.tensor(array, name=f"weight{layer}"))
        weight.shape, weight.dtype = ir.Shape(array.shape), ir.DataType.FLOAT
        initializers.append(weight)
        pads = ir.AttrInt64s("pads", [1, 1, 1, 1])
        nodes.append(ir.Node("", "Conv", [value, weight], [pads], name=f"conv{layer}"))
        nodes.append(ir.Node("", "Relu", [nodes[-1].outputs[0]], name=f"relu{layer}"))
        nodes[-2].outputs[0].name, nodes[-1].outputs[0].name = f"sum{layer}", f"value{layer}"
        value = nodes[-1].outputs[0]
    value.shape, value.dtype = ir.Shape([1, 64, 56, 56]), ir.DataType.FLOAT
    graph = ir.Graph(
        [data], [value], nodes=nodes, initializers=initializers, opset_imports={"": 17}, name="net"
    )
    return ir.Model(graph, ir_version=9)


def both(kit: Path, net: Net, folder: Path) -> tuple[Path, Path]:
    """The net and its quantization, as files."""
    source = kit / "onnx" / net.file if net.file else folder / "float.onnx"
    if not net.file:
        models.save(made_up(), source)
    some = list(samples(kit, net, CALIBRATED))
    result = knight.quantize(source, some, target="onnxruntime", method="min_max", iterations=len(some))
    target = folder / f"{net.name.replace(' ', '_')}_quantized.onnx"
    result.save(target)
    return source, target


def bare_pass(source: ir.Model, result: ir.Model) -> Callable[[Feeds], None]:
    """One pass of both models with all their paired values as outputs, and nothing done to them."""
    threads = available_threads(Options().threads)
    pairing = pair(forms(source), real_graph(result))
    rows = rows_of(pairing, result)
    given = {value.name for graph in (source.graph, result.graph) for value in graph.inputs}
    wanted = [name for row in rows if (name := row.twin.name or "") not in given]
    got = [name for row in rows if (name := row.tapped) not in given]
    sessions = (
        Session(pairing.reference.model, taps=list(dict.fromkeys(wanted)), threads=threads),
        Session(result, taps=list(dict.fromkeys(got)), threads=threads),
    )

    def run(feeds: Feeds) -> None:
        for session in sessions:
            session.run_in_place(feeds)

    return run


@dataclass
class Round:
    """Seconds of one comparison and of the bare passes made between its samples. whole: without those.
    bare_cpu, feeding_cpu: of processor time.
    """

    bare: float = 0.0
    feeding: float = 0.0
    bare_cpu: float = 0.0
    feeding_cpu: float = 0.0
    whole: float = 0.0
    rows: int = 0


def one_round(paths: tuple[Path, Path], pictures: Sequence[dict[str, np.ndarray]]) -> Round:
    """A comparison over the pictures; each is run bare too, in turns, so that both meet the same machine."""
    found = Round()
    bare = bare_pass(*(models.load(path) for path in paths))

    def feed(executor: Executor) -> None:
        bare(pictures[0])
        executor.forward(*pictures[0].values())  # the first call makes the sessions
        for feeds in pictures:
            taken, cpu = _seconds(bare, feeds)
            found.bare, found.bare_cpu = found.bare + taken, found.bare_cpu + cpu
            taken, cpu = _seconds(executor.forward, *feeds.values())
            found.feeding, found.feeding_cpu = found.feeding + taken, found.feeding_cpu + cpu

    start = time.perf_counter()
    comparison = compare(paths, feed, len(pictures) + 1)
    found.whole = time.perf_counter() - start - found.bare
    found.rows = len(comparison.layers)
    return found


def compare(paths: tuple[Path, Path], feed: InferFunction, count: int) -> Comparison:
    """The two models side by side, without trying out remedies."""
    source, result = (models.load(path) for path in paths)
    return compare_models(source, result, feed, RunSettings(count), options=Options(remedies=False))


def peak_memory(paths: tuple[Path, Path], kit: Path, net: Net, count: int) -> float:
    """MB that a process of its own needs at most to compare with `count` pictures."""
    arguments = [*map(str, paths), "--kit", str(kit), "--net", net.name, "--alone", str(count)]
    command = [sys.executable, __file__, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(output.stdout.split()[-1])


def compare_alone(paths: tuple[Path, Path], kit: Path, net: Net, count: int) -> None:
    """The child's part: compares and prints its peak memory in MB."""

    def feed(executor: Executor) -> None:
        for feeds in samples(kit, net, count):
            executor.forward(*feeds.values())

    compare(paths, feed, count)
    # Not ru_maxrss: that of a child starts with its parent's.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024)


def _seconds(action: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """On the clock, and of processor time."""
    start, cpu = time.perf_counter(), time.process_time()
    action(*arguments)
    return time.perf_counter() - start, time.process_time() - cpu


def measure(kit: Path, net: Net, folder: Path, rounds: int, count: int) -> tuple[Path, Path]:
    """Prints one line of the table."""
    paths = both(kit, net, folder)
    pictures = list(samples(kit, net, count))
    found = [one_round(paths, pictures) for _ in range(rounds)]
    bare, feeding, whole = (
        statistics.median(getattr(each, part) for each in found) for part in ("bare", "feeding", "whole")
    )
    ratio, cpu = (
        statistics.median(getattr(each, f"feeding{kind}") / getattr(each, f"bare{kind}") for each in found)
        for kind in ("", "_cpu")
    )
    print(
        f"{net.name:17}{found[0].rows:6}{bare:9.2f}{feeding:9.2f}{ratio:8.2f}{cpu:8.2f}"
        f"{whole:9.2f}{whole / bare:8.2f}",
        flush=True,
    )
    return paths


def main() -> None:
    """Prints a table, a line per net, and the peak memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20, help="pictures")
    parser.add_argument("--net", choices=[net.name for net in NETS], help="only this one")
    parser.add_argument("--alone", type=int, metavar="COUNT", help=argparse.SUPPRESS)
    parser.add_argument("models", nargs="*", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    nets = [net for net in NETS if arguments.net in (None, net.name)]
    if arguments.alone:
        compare_alone(tuple(arguments.models), arguments.kit, nets[0], arguments.alone)
        return
    print(f"{'net':17}{'rows':>6}{'bare s':>9}{'feed s':>9}{'ratio':>8}{'CPU':>8}{'whole s':>9}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = [
            (net, measure(arguments.kit, net, folder, arguments.rounds, arguments.count)) for net in nets
        ]
        few, many = arguments.count, 10 * arguments.count
        for net, paths in measured:
            less, more = (peak_memory(paths, arguments.kit, net, count) for count in (few, many))
            print(
                f"{net.name}: at most {more:.0f} MB with {many} pictures, {less:.0f} MB with {few}: "
                f"{more / less:.3f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
