"""What the form of a result (--format) costs and wins, on the kit's classifiers.

    python scripts/bench/formats_of_result.py
    python scripts/bench/formats_of_result.py --net vit --chip TX5368AV200

Ratios of the format to qdq, both in this run: file size, seconds to load, seconds to run as ONNX Runtime
optimises the file, and with its optimisations off. Below 1 is better. SQNR of the first output over pictures
that did not calibrate, by exact arithmetic. One thread, one picture a call, CPU seconds, the least of several
rounds that take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import kit as development
import numpy as np
import onnx_ir as ir
from accuracy import sqnr_db
from cpus import seconds

import knight
from knight import model as models
from knight.coverage import optimised_coverage
from knight.exporters import export, exporters
from knight.host import cpu_name
from knight.outputs import dequantized, output_scales
from knight.runner import Level, Session, saturates


def sqnr(model: ir.Model, wanted: Sequence[np.ndarray], pictures: Sequence[np.ndarray]) -> float:
    """Of the first output, in dB."""
    session, scales = Session(model), output_scales(model)
    names, feed = [info.name for info in session.outputs], session.inputs[0].name
    got = [dequantized(names, session.run({feed: picture}), scales)[0] for picture in pictures]
    return sqnr_db(np.concatenate(wanted), np.concatenate(got))


def loading(written: Sequence[ir.Model], rounds: int) -> list[float]:
    """Least CPU seconds until a session is there, per model."""
    least = [np.inf] * len(written)
    for _ in range(rounds):
        for place, model in enumerate(written):
            start = time.process_time()
            Session(model, kernels="host")
            least[place] = min(least[place], time.process_time() - start)
    return least


def running(
    written: Sequence[ir.Model], pictures: Sequence[np.ndarray], rounds: int, level: Level
) -> list[float]:
    """Least CPU seconds of a pass over the pictures, per model."""
    return seconds([Session(model, kernels="host", level=level) for model in written], pictures, rounds)


def main() -> None:
    """Prints one row per classifier and format."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--net", action="append", help="only this classifier (may be repeated)")
    parser.add_argument("--chip", default="onnxruntime")
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{cpu_name()}: int8 kernels {'saturate (no VNNI)' if saturates() else 'are exact'}\n")
    print("| model | format | float operators | SQNR dB (qdq) | size | load | run | run unoptimised |")
    print("|---|---|---|---|---|---|---|---|")
    for net in development.CLASSIFIERS:
        if arguments.net and net.name not in arguments.net:
            continue
        path = arguments.kit / "onnx" / net.file
        calibration, pictures = (
            [sample for sample, _ in development.samples(arguments.kit, net, split, arguments.pictures)]
            for split in ("images", "evaluation")
        )
        reference = Session(models.load(path))
        wanted = [reference.run({reference.inputs[0].name: picture})[0] for picture in pictures]
        qdq = knight.quantize(path, calibration, target=arguments.chip, threads=2).model
        for name in exporters.names():
            if name == "qdq":
                continue
            both = (qdq, export(name, qdq).model)
            figures = [
                [len(models.to_bytes(model)) for model in both],
                loading(both, arguments.rounds),
                running(both, pictures, arguments.rounds, "all"),
                running(both, pictures, arguments.rounds, "none"),
            ]
            exact = [sqnr(model, wanted, pictures) for model in both]
            ratios = " | ".join(f"{right / left:.2f}" for left, right in figures)
            floats = len(optimised_coverage(both[1]).float_operators)
            print(
                f"| {net.name} | {name} | {floats} | {exact[1]:.2f} ({exact[0]:.2f}) | {ratios} |", flush=True
            )


if __name__ == "__main__":
    main()
