"""What the demo made, in one table: accuracy, size, speed, integer coverage, files.

Usage: python scripts/_demo_summary.py FLOAT.onnx QUANTIZED.onnx PICTURES.npz
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from knight.host import HostFigures, cpu_name
from knight.runner import Session

ROUNDS = 300
"""Timed calls of each model, taking turns so that both see the same state of the machine."""


def accuracy(model: Session, pictures: np.ndarray, labels: np.ndarray) -> float:
    """Percent of `pictures` whose largest output is the label."""
    (logits,) = model.run({model.inputs[0].name: pictures})
    return 100 * float((logits.argmax(1) == labels).mean())


def latencies(models: list[Session], pictures: np.ndarray) -> list[float]:
    """Median milliseconds of one call with `pictures`, per model."""
    times: list[list[float]] = [[] for _ in models]
    for _ in range(ROUNDS):
        for model, taken in zip(models, times, strict=True):
            start = time.perf_counter()
            model.run({model.inputs[0].name: pictures})
            taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def row(label: str, pair: list[float], unit: str, digits: int, remark: str = "") -> None:
    """One line of the table: the float model's figure, the quantized model's, a remark."""
    print(
        f"{label:34}"
        + "".join(f"{f'{value:.{digits}f}{unit}':>12}" for value in pair)
        + f"   {remark}".rstrip()
    )


def main(float_model: Path, quantized_model: Path, data: Path) -> None:
    report_path = quantized_model.with_name(f"{float_model.stem}_report.json")
    report = json.loads(report_path.read_text("utf-8"))
    archive = np.load(data)
    pictures = archive["test_images"].astype(np.float32) / 16
    files = (float_model, quantized_model)
    exact = [accuracy(Session(file), pictures, archive["test_labels"]) for file in files]
    here = [Session(file, kernels="host") for file in files]
    sizes = [path.stat().st_size / 1024 for path in files]
    one = latencies(here, pictures[:1])
    integer, left = report["integer_operators"], report["float_operators"]
    names = ", ".join(report["float_operator_names"])

    print(f"\n{'':34}{'float':>12}{'quantized':>12}")
    row(f"accuracy, {len(pictures)} test pictures", exact, "%", 1)
    row("size", sizes, " kB", 0, f"{sizes[0] / sizes[1]:.1f} times smaller")
    row("time of one picture, 1 thread", one, " ms", 3, f"{one[0] / one[1]:.1f} times as fast on this CPU")
    in_float = f"; left in float: {names}" if left else ""
    print(f"\nIntegers: {integer} of {integer + left} operators{in_float}")
    print(f"SQNR on the calibration pictures: {report['sqnr_db']:.1f} dB")
    print(f"This CPU: {cpu_name()}")
    if report["host"]["replay"]:
        found = [accuracy(model, pictures, archive["test_labels"]) for model in here]
        figures = HostFigures(**report["host"]["replay"])
        print(f"  {figures}; accuracy {found[1]:.1f}%")
        print(f"  What helps: {figures.remedy}")
    print(f"Quantized model: {quantized_model}")
    print(f"Report:          {report_path}")
    print(f"Each stage:      {quantized_model.parent / 'steps'}/")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
