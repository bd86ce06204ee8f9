"""What the CPU at hand makes of the kit's classifiers: accuracy and speed, beside exact arithmetic.

    python scripts/bench/cpus.py
    python scripts/bench/cpus.py --net resnet20 --chip onnxruntime --reduce-range

SQNR of the first output over pictures of evaluation/: by exact arithmetic, and with ONNX Runtime's own
kernels for this CPU. speed-up: float time / time with these kernels. exact / own: what exact arithmetic
costs. One thread, one picture a call, CPU seconds, the least of several rounds that take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import kit as development
import numpy as np
from accuracy import sqnr_db

import knight
from knight import model as models
from knight.coverage import optimised_coverage
from knight.host import cpu_name
from knight.outputs import dequantized, output_scales
from knight.runner import Session, saturates

CHIPS = ("onnxruntime", "onnxruntime-avx2", "TX5368AV200")


def seconds(sessions: Sequence[Session], pictures: Sequence[np.ndarray], rounds: int) -> list[float]:
    """Least CPU seconds of a pass over `pictures`, per session."""
    least = [np.inf] * len(sessions)
    for number in range(rounds + 1):
        for place, session in enumerate(sessions):
            start = time.process_time()
            for picture in pictures:
                session.run({session.inputs[0].name: picture})
            if number:  # the first round warms up
                least[place] = min(least[place], time.process_time() - start)
    return least


def main() -> None:
    """Prints one row per classifier and chip."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--net", action="append", help="only this classifier (may be repeated)")
    parser.add_argument("--chip", action="append", help="instead of the usual three (may be repeated)")
    parser.add_argument("--reduce-range", action="store_true")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{cpu_name()}: int8 kernels {'saturate (no VNNI)' if saturates() else 'are exact'}\n")
    print("| model | chip | exact SQNR dB | as this CPU runs it | float operators | speed-up | exact / own |")
    print("|---|---|---|---|---|---|---|")
    for net in development.CLASSIFIERS:
        if arguments.net and net.name not in arguments.net:
            continue
        path = arguments.kit / "onnx" / net.file
        calibration = [sample for sample, _ in development.samples(arguments.kit, net, "images", 100)]
        pictures = [
            sample for sample, _ in development.samples(arguments.kit, net, "evaluation", arguments.pictures)
        ]
        reference = Session(models.load(path))
        wanted = np.concatenate(
            [reference.run({reference.inputs[0].name: picture})[0] for picture in pictures]
        )
        for chip in arguments.chip or CHIPS:
            model = knight.quantize(
                path, calibration, target=chip, threads=2, reduce_range=arguments.reduce_range
            ).model
            names, scales = [info.name for info in reference.outputs], output_scales(model)
            exact, own = Session(model), Session(model, kernels="host")
            found = []
            for session in (exact, own):
                outputs = [session.run({session.inputs[0].name: picture}) for picture in pictures]
                got = np.concatenate([dequantized(names, output, scales)[0] for output in outputs])
                found.append(sqnr_db(wanted, got))
            taken = seconds((reference, own, exact), pictures, arguments.rounds)
            print(
                f"| {net.name} | {chip} | {found[0]:.2f} | {found[1]:.2f} "
                f"| {len(optimised_coverage(model).float_operators)} | {taken[0] / taken[1]:.2f} "
                f"| {taken[2] / taken[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
