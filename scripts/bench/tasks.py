"""The ready-made tasks by JSON alone: accuracy beside a careful script's, and the time that pictures cost.

    python scripts/bench/tasks.py

Classifiers: top-1 of the float and of the quantized model (kl, 100 pictures of images/) over the 700 labelled
pictures of evaluation/, by ``infer_default`` and by the preprocessing that the kit's MANIFEST states.
Detector: mAP50 and mAP50-95 of the fruit net. Time: 300 pictures loaded and run, over the slower of loading
alone and of the model's passes alone, in one run; the model has `--cpus`, loading needs one beside them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import kit as development
import numpy as np
import onnx_ir as ir

import knight
from knight import model as models
from knight.executor import Executor, RunSettings
from knight.inferring import run_infer
from knight.listener import Listener
from knight.tasks import tasks

PRESETS = {
    "resnet20": ({"preset": "cifar10"}, "cifar10"),
    "squeezenet11": ({"preset": "imagenet-caffe"}, "imagenet"),
    "mobilenetv1_025": ({"preset": "imagenet-tf"}, "imagenet"),
    "vit": ({"preset": "cifar10"}, "cifar10"),
}
CALIBRATION, EVALUATION = 100, 700


class Lines(Listener):
    """Keeps what a task says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def announce(self, text: str) -> None:
        self.lines.append(text)


def settings(entry: dict[str, Any], iteration: int, mode: str = "infer") -> RunSettings:
    return RunSettings(iteration=iteration, run_mode=mode, input_configs_dict=(entry,))


def by_json(model: ir.Model, entry: dict[str, Any], count: int) -> tuple[float, str]:
    """The metric of infer_default, and what it said last."""
    listener = Lines()
    result = run_infer(
        model, tasks.get("infer_default"), settings(entry, count), threads=2, listener=listener
    )
    return float(result.metric or 0.0), listener.lines[-1]  # type: ignore[arg-type]


def by_script(model: ir.Model, pictures: Iterable[tuple[np.ndarray, int]]) -> float:
    """Top-1 of pictures that are prepared already."""
    right = []

    def feed(executor: Executor) -> None:
        right.extend(int(np.argmax(executor.forward(picture)[0])) == label for picture, label in pictures)

    run_infer(model, feed, RunSettings(run_mode="infer"), threads=2)
    return float(np.mean(right))


def quantized(model: Path, entry: dict[str, Any], count: int) -> ir.Model:
    """The model quantized for ONNX Runtime on the pictures of `entry`."""
    feed: Callable[[Executor], object] = tasks.get("infer_default")

    def calibrate(executor: Executor) -> object:
        executor.input_configs_dict = (entry,)
        return feed(executor)

    return knight.quantize(model, calibrate, target="onnxruntime", method="kl", iterations=count).model


def labels(kit: Path, split: str, folder: str, place: Path) -> str:
    """labels.txt of two columns, made of the kit's; gives its folder."""
    target = place / f"{split}_{folder}"
    target.mkdir()
    lines = (kit / split / f"{folder}_labels.txt").read_text().split("\n")
    text = "".join(" ".join(line.split()[:2]) + "\n" for line in lines if line.strip())
    (target / "labels.txt").write_text(text)
    return str(target)


def classifiers(kit: Path, place: Path) -> None:
    print(f"{'net':<16} {'model':<10} {'JSON':>8} {'script':>8}   top-1 over {EVALUATION} pictures")
    for net in development.CLASSIFIERS:
        preset, folder = PRESETS[net.name]
        path = kit / "onnx" / net.file
        entry = {
            split: {
                **preset,
                "data_dir": str(kit / split / folder),
                "label_dir": labels(kit, split, folder, place / net.name),
            }
            for split in ("images", "evaluation")
        }
        count = len([line for line in (kit / "evaluation" / f"{folder}_labels.txt").open() if line.strip()])
        for name, model in (
            ("float", models.load(path)),
            ("quantized", quantized(path, entry["images"], CALIBRATION)),
        ):
            json, _ = by_json(model, entry["evaluation"], count)
            script = by_script(model, development.samples(kit, net, "evaluation", count))
            print(f"{net.name:<16} {name:<10} {json:>8.2%} {script:>8.2%}")


def detector(kit: Path) -> None:
    path = kit / "onnx" / "fastestdet_fruits_512.onnx"
    entry = {"preset": "fastestdet", "nc": 5}
    places = {split: str(kit / split / "fruits") for split in ("images", "evaluation")}
    entries = {split: {**entry, "data_dir": place, "label_dir": place} for split, place in places.items()}
    for name, model in (
        ("float", models.load(path)),
        ("quantized", quantized(path, entries["images"], CALIBRATION)),
    ):
        for split, one in entries.items():
            print(f"fruits {name:<10} {split:<11} {by_json(model, one, 10**6)[1]}")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speed(kit: Path, net: development.Classifier, preset: dict[str, Any], count: int, cpus: int) -> None:
    """Loading alone, the model alone, and both by infer_default."""
    folder = kit / "images" / net.pictures
    entry = {**preset, "data_dir": str(folder), "calculate_acc": False}
    model = models.load(kit / "onnx" / net.file)
    one = next(iter(development.samples(kit, net, "images", 1)))[0]

    def load(executor: Executor) -> None:
        from knight.tasks._batches import picture_input, prepare
        from knight.tasks._config import read_configs
        from knight.tasks._pictures import find_pictures

        executor.init_shape_info()
        wanted, how = picture_input(executor), read_configs([entry])[0].preparation
        for path in islice(find_pictures(folder), count):
            prepare(path, wanted, how)
        executor.forward(one)

    def run(executor: Executor) -> None:
        for _ in range(count):
            executor.forward(one)

    def measure(feed: Callable[[Executor], object]) -> float:
        given = replace(settings(entry, count), run_mode="infer")
        return seconds(lambda: run_infer(model, feed, given, threads=cpus))

    measure(run)  # the first pass warms up
    loading, running, both = (measure(feed) for feed in (load, run, tasks.get("infer_default")))
    ratio = both / max(loading, running)
    print(
        f"{net.name:<16} {count} pictures: loading {loading:.2f} s, model {running:.2f} s, "
        f"both {both:.2f} s, ratio {ratio:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--only", choices=("accuracy", "speed"))
    parser.add_argument("--cpus", type=int, default=1, help="for the model, in the timing")
    arguments = parser.parse_args()
    if arguments.only != "speed":
        with tempfile.TemporaryDirectory() as place:
            for net in development.CLASSIFIERS:
                Path(place, net.name).mkdir()
            classifiers(arguments.kit, Path(place))
        detector(arguments.kit)
    if arguments.only != "accuracy":
        for net in development.CLASSIFIERS:
            speed(arguments.kit, net, PRESETS[net.name][0], 300, arguments.cpus)


if __name__ == "__main__":
    main()
