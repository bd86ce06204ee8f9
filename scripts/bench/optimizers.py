"""What the optimizers win on the kit's nets, and what they cost.

    python scripts/bench/optimizers.py
    python scripts/bench/optimizers.py --net mobilenetv1_025 --optimize bias_correction --method mse

100 calibration pictures of images/, `--pictures` of evaluation/. SQNR: of all outputs together against the
float model's, by exact arithmetic. held back: likewise on the samples that judge, without and with the
optimizer. cost: CPU seconds at one thread, as a multiple of those of a bare pass: the float model in ONNX
Runtime over the same 100 pictures, in the same run; the least of several rounds that take turns. all: of the
whole quantization, from the file to the report; more: what the optimizers add to that. Detectors without
enough pictures of their own see those of the classifiers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import kit as development
import numpy as np
from PIL import Image

import knight
from knight import model as models
from knight.host import cpu_name
from knight.judge import Judge
from knight.runner import Session

CALIBRATION = 100
CHAINS = ((), ("bias_correction",), ("equalization",), ("equalization", "bias_correction"))


@dataclass(frozen=True)
class Detector:
    """file: below onnx/. pictures: folder below images/ and evaluation/. size: height, width."""

    name: str
    file: str
    pictures: str
    size: tuple[int, int]
    bgr: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_PLAIN = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
DETECTORS = (
    Detector("fastestdet", "fastestdet_352.onnx", "imagenet", (352, 352), True, *_PLAIN),
    Detector("fastestdet fruits", "fastestdet_fruits_512.onnx", "fruits", (512, 512), True, *_PLAIN),
    Detector(
        "nanodet",
        "nanodet_m_416.onnx",
        "imagenet",
        (416, 416),
        True,
        (103.53, 116.28, 123.675),
        (57.375, 57.12, 58.395),
    ),
    Detector(
        "version-RFB", "version-RFB-320.onnx", "imagenet", (240, 320), False, (127.0,) * 3, (128.0,) * 3
    ),
)
Net = development.Classifier | Detector


def pictures(kit: Path, net: Net, split: str, count: int) -> list[np.ndarray]:
    """`count` pictures, a spread over the classes or over the folder."""
    if isinstance(net, development.Classifier):
        return [picture for picture, _ in development.samples(kit, net, split, count)]
    files = sorted(path for path in (kit / split / net.pictures).iterdir() if path.suffix != ".txt")
    chosen = files[:: max(1, len(files) // count)][:count]
    return [_squashed(path, net) for path in chosen]


def _squashed(path: Path, net: Detector) -> np.ndarray:
    height, width = net.size
    picture = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.float32)[:, :, :: -1 if net.bgr else 1]
    array = (array - np.array(net.mean, np.float32)) / np.array(net.std, np.float32)
    return np.ascontiguousarray(array.transpose(2, 0, 1)[None], np.float32)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


class Case:
    """One net, quantized in several ways, and what each costs."""

    def __init__(self, kit: Path, net: Net, method: str, chip: str, rounds: int) -> None:
        self.path = kit / "onnx" / net.file
        self.method, self.chip, self.rounds = method, chip, rounds
        self.samples = pictures(kit, net, "images", CALIBRATION)

    def quantize(self, chain: Sequence[str]) -> knight.QuantizedModel:
        return knight.quantize(
            self.path, self.samples, target=self.chip, method=self.method, optimizers=chain, threads=1
        )

    def costs(self, chains: Sequence[Sequence[str]]) -> list[float]:
        """Of each chain, in bare passes."""
        session = Session(models.load(self.path), threads=1)
        (name,) = (info.name for info in session.inputs)

        def bare() -> None:
            for sample in self.samples:
                session.run({name: sample})

        bare()  # warm
        works: list[Callable[[], object]] = [bare]
        works += [lambda chain=chain: self.quantize(chain) for chain in chains]  # type: ignore[misc]
        least = [float("inf")] * len(works)
        for _ in range(self.rounds):
            least = [min(known, cpu_seconds(work)) for known, work in zip(least, works, strict=True)]
        return [seconds / least[0] for seconds in least[1:]]


def main() -> None:
    """Prints one table."""
    nets: tuple[Net, ...] = (*development.CLASSIFIERS, *DETECTORS)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", default="onnxruntime")
    parser.add_argument("--method", default="kl")
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--net", action="append", choices=[net.name for net in nets], help="only this one")
    parser.add_argument("--optimize", action="append", help="only this chain of names, such as a,b")
    parser.add_argument("--pictures", type=int, default=700, help="of evaluation/")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each cost; 0 for none")
    arguments = parser.parse_args()
    chains = CHAINS
    if arguments.optimize:
        chains = ((), *(tuple(text.split(",")) for text in arguments.optimize))
    print(f"{cpu_name()}; {arguments.chip}, {arguments.method}, {CALIBRATION} calibration pictures\n")
    print("| net | optimizers | held back dB | SQNR dB | cost all | more |")
    print("|---|---|---|---|---|---|")
    for net in nets:
        if arguments.net and net.name not in arguments.net:
            continue
        case = Case(arguments.kit, net, arguments.method, arguments.chip, arguments.rounds)
        float_model = models.load(case.path)
        (name,) = (info.name for info in Session(float_model).inputs)
        evaluation = pictures(arguments.kit, net, "evaluation", arguments.pictures)
        judge = Judge(float_model, [{name: picture} for picture in evaluation], threads=2)
        costs = case.costs(chains) if arguments.rounds else [float("nan")] * len(chains)
        for chain, cost in zip(chains, costs, strict=True):
            done = case.quantize(chain)
            found = judge.closeness(done.model).sqnr_db
            told = "; ".join(_told(verdict) for verdict in done.report["optimizers"])
            print(
                f"| {net.name} | {', '.join(chain) or '-'} | {told or '-'} | {found:.2f} "
                f"| {cost:.1f} | {cost - costs[0]:.1f} |",
                flush=True,
            )


def _told(verdict: dict[str, object]) -> str:
    if verdict["before_db"] is None:
        return "nothing to change"
    end = "" if verdict["accepted"] else " refused"
    return f"{verdict['before_db']:.2f} to {verdict['after_db']:.2f}{end}"


if __name__ == "__main__":
    main()
