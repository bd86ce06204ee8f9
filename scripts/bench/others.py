"""The kit's detectors, voice activity net and MNIST: does the quantized model say what the float one says.

    python scripts/bench/others.py --chip onnxruntime

Calibration on images/ (audio: the first third), measured on evaluation/ (audio: the rest). mAP50: mean
average precision at IoU 0.5 against the labels. agreement: share of the float model's confident detections
(score > 0.5, faces 0.7) that the quantized one has with the same class and IoU > 0.5; of speech decisions and
digits: share of equal answers.
"""

from __future__ import annotations

import argparse
import time
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import kit as development
import numpy as np
from PIL import Image

import knight
from knight import model as models
from knight.outputs import dequantized, output_scales
from knight.runner import Session

Arrays = Sequence[np.ndarray]
Boxes = np.ndarray  # [n, 6]: x1, y1, x2, y2, score, class; relative to the picture


@dataclass(frozen=True)
class Case:
    """file: below onnx/. feeds: split -> samples. detect: outputs -> boxes, None to compare answers."""

    file: str
    feeds: Callable[[Path, str], list[tuple[np.ndarray, ...]]]
    detect: Callable[[Arrays], Boxes] | None
    confident: float = 0.5


def pictures(
    folder: str, size: tuple[int, int], *, rgb: bool, mean: Sequence[float], std: Sequence[float], most: int
):  # type: ignore[no-untyped-def]
    """A function that reads a folder's pictures, squashed to (width, height), as [1, 3, height, width]."""

    def read(kit: Path, split: str) -> list[tuple[np.ndarray, ...]]:
        found = []
        for path in sorted((kit / split / folder).glob("*.jpg"))[:most]:
            array = np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BOX), np.float32)
            array = (array[:, :, :: 1 if rgb else -1] - np.array(mean, np.float32)) / np.array(
                std, np.float32
            )
            found.append((np.ascontiguousarray(array.transpose(2, 0, 1)[None], np.float32),))
        return found

    return read


def windows(kit: Path, split: str) -> list[tuple[np.ndarray, ...]]:
    """576 samples of sound each, the last 64 of the window before at its head; the state stays zero."""
    with wave.open(str(kit / "audio" / "silero_test_a.wav")) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    starts = np.arange(64, sound.size - 512, 512)
    third = len(starts) // 3
    chosen = starts[:third] if split == "images" else starts[third:]
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(16_000)
    return [(sound[None, start - 64 : start + 512].copy(), state, rate) for start in chosen]


def digits(kit: Path, split: str) -> list[tuple[np.ndarray, ...]]:
    """The example's 8x8 digits, enlarged to 28x28 and 0..255."""
    data = np.load(Path(__file__).parents[2] / "examples" / "digits" / "digits.npz")
    images = data["calibration_images" if split == "images" else "test_images"].reshape(-1, 8, 8)
    enlarged = (Image.fromarray((image * 15.9).astype(np.uint8)).resize((28, 28)) for image in images)
    return [(np.asarray(image, np.float32)[None, None],) for image in enlarged]


def fastestdet(outputs: Arrays) -> Boxes:
    """obj, tanh dx, tanh dy, sigmoid w, sigmoid h, classes; one box per cell."""
    (grid,) = outputs[0]
    rows, columns = grid.shape[1:]
    row, column = np.mgrid[:rows, :columns]
    x, y = (column + np.tanh(grid[1])) / columns, (row + np.tanh(grid[2])) / rows
    w, h = (1 / (1 + np.exp(-grid[index])) for index in (3, 4))
    score = grid[0] * grid[5:].max(axis=0)
    parts = (x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, grid[5:].argmax(axis=0))
    return np.stack([part.ravel() for part in parts], axis=1)


def faces(outputs: Arrays) -> Boxes:
    """Scores [1, n, 2] and corners [1, n, 4]."""
    scores, corners = outputs[0][0, :, 1:], outputs[1][0]
    return np.concatenate([corners, scores, np.zeros_like(scores)], axis=1)


def nanodet(outputs: Arrays) -> Boxes:
    """Class scores and box distributions (8 bins a side) at strides 8, 16 and 32 of a 416 picture."""
    found = []
    for scores, sides, stride in zip(outputs[:3], outputs[3:], (8, 16, 32), strict=True):
        logits = sides[0].reshape(-1, 4, 8)
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        distance = (weights @ np.arange(8)) / weights.sum(axis=2) * stride / 416
        row, column = np.divmod(np.arange(len(distance)), 416 // stride)
        x, y = (column + 0.5) * stride / 416, (row + 0.5) * stride / 416
        best = scores[0].max(axis=1), scores[0].argmax(axis=1)
        found.append(
            np.stack(
                [x - distance[:, 0], y - distance[:, 1], x + distance[:, 2], y + distance[:, 3], *best], 1
            )
        )
    return np.concatenate(found)


CASES = {
    "fastestdet_fruits": Case(
        "fastestdet_fruits_512.onnx",
        pictures("fruits", (512, 512), rgb=False, mean=(0, 0, 0), std=(255,) * 3, most=100),
        fastestdet,
    ),
    "fastestdet_coco": Case(
        "fastestdet_352.onnx",
        pictures("coco20", (352, 352), rgb=False, mean=(0, 0, 0), std=(255,) * 3, most=10),
        fastestdet,
    ),
    "nanodet": Case(
        "nanodet_m_416.onnx",
        pictures(
            "coco20",
            (416, 416),
            rgb=False,
            mean=(103.53, 116.28, 123.675),
            std=(57.375, 57.12, 58.395),
            most=10,
        ),
        nanodet,
    ),
    "rfb_faces": Case(
        "version-RFB-320.onnx",
        pictures("faces", (320, 240), rgb=True, mean=(127,) * 3, std=(128,) * 3, most=12),
        faces,
        0.7,
    ),
    "silero_vad": Case("silero_vad_16k_op15.onnx", windows, None),
    "mnist": Case("mnist-8_onnxruntime_example.onnx", digits, None),
}


def overlap(box: np.ndarray, others: Boxes) -> np.ndarray:
    """Intersection over union of one box with each of the others."""
    size = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.maximum(size, 0), axis=1)
    return shared / (
        np.prod(box[2:4] - box[:2]) + np.prod(others[:, 2:4] - others[:, :2], axis=1) - shared + 1e-12
    )


def suppressed(boxes: Boxes, least: float) -> Boxes:
    """Greedy non-maximum suppression within each class at IoU 0.35, scores above `least`."""
    waiting, kept = boxes[boxes[:, 4] > least], []
    waiting = waiting[np.argsort(-waiting[:, 4], kind="stable")]
    while len(waiting):
        kept.append(waiting[0])
        waiting = waiting[(overlap(waiting[0], waiting) <= 0.35) | (waiting[:, 5] != waiting[0, 5])]
    return np.array(kept).reshape(-1, 6)


def run(
    session: Session, scales: dict[str, dict[str, float]], sample: tuple[np.ndarray, ...]
) -> list[np.ndarray]:
    """Outputs as real numbers."""
    feeds = dict(zip((info.name for info in session.inputs), sample, strict=True))
    return dequantized([info.name for info in session.outputs], session.run(feeds), scales)


def labels(kit: Path, most: int) -> list[Boxes]:
    """The fruits' labels as boxes, score 1."""
    found = []
    for path in sorted((kit / "evaluation" / "fruits").glob("*.jpg"))[:most]:
        rows = np.array(
            [line.split() for line in path.with_suffix(".txt").read_text().splitlines()], float
        ).reshape(-1, 5)
        centre, half = rows[:, 1:3], rows[:, 3:] / 2
        found.append(
            np.concatenate([centre - half, centre + half, np.ones((len(rows), 1)), rows[:, :1]], axis=1)
        )
    return found


def average_precision(found: Sequence[Boxes], truth: Sequence[Boxes]) -> float:
    """Mean over the classes of the area under precision over recall (all points), at IoU 0.5."""
    areas = []
    for kind in sorted({row[5] for boxes in truth for row in boxes}):
        hits, total = [], sum(int((boxes[:, 5] == kind).sum()) for boxes in truth)
        for boxes, wanted in zip(found, truth, strict=True):
            free = wanted[wanted[:, 5] == kind]
            for box in boxes[boxes[:, 5] == kind]:
                matches = overlap(box, free) if len(free) else np.zeros(1)
                hits.append((box[4], matches.max() >= 0.5))
                if matches.max() >= 0.5:
                    free = np.delete(free, matches.argmax(), axis=0)
        right = np.array([hit for _, hit in sorted(hits, key=lambda hit: -hit[0])], float)
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        areas.append(float((best * right).sum() / total))
    return float(np.mean(areas))


def agreement(case: Case, wanted: Sequence[Arrays], got: Sequence[Arrays]) -> float:
    """Share of the float model's answers that the quantized model repeats."""
    if case.detect is None:
        if wanted[0][0].shape[-1] == 1:  # a probability of speech
            return float(np.mean([(f[0] > 0.5) == (q[0] > 0.5) for f, q in zip(wanted, got, strict=True)]))
        return float(np.mean([f[0].argmax() == q[0].argmax() for f, q in zip(wanted, got, strict=True)]))
    kept, total = 0, 0
    for f, q in zip(wanted, got, strict=True):
        ours = suppressed(case.detect(q), case.confident * 0.7)
        for box in suppressed(case.detect(f), case.confident):
            same = ours[ours[:, 5] == box[5]]
            kept += bool(len(same) and overlap(box, same).max() > 0.5)
            total += 1
    return kept / max(total, 1)


def sqnr_db(wanted: Sequence[Arrays], got: Sequence[Arrays]) -> float:
    """Mean noise-to-signal ratio of the outputs over all samples, in dB."""
    ratios = []
    for index in range(len(wanted[0])):
        pairs = [
            (np.asarray(f[index], np.float64), np.asarray(q[index], np.float64))
            for f, q in zip(wanted, got, strict=True)
        ]
        ratios.append(
            sum(np.square(f - q).sum() for f, q in pairs) / sum(np.square(f).sum() for f, _ in pairs)
        )
    return float(-10 * np.log10(np.mean(ratios)))


def main() -> None:
    """Prints one row per model and method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", default="onnxruntime")
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--method", action="append")
    arguments = parser.parse_args()
    print(
        "| model | method | mAP50 float | mAP50 | agreement | SQNR dB | integer/float operators | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, case in CASES.items():
        path = arguments.kit / "onnx" / case.file
        data, test = case.feeds(arguments.kit, "images"), case.feeds(arguments.kit, "evaluation")
        wanted = [
            run(session, {}, sample) for session in [Session(models.load(path), threads=2)] for sample in test
        ]
        for method in arguments.method or ("min_max", "mse", "kl", "kl_v2"):
            start = time.perf_counter()
            try:
                done = knight.quantize(path, data, target=arguments.chip, method=method, threads=2)
            except knight.KnightError as error:
                print(f"| {name} | {method} | Fail: {error} |")
                break
            seconds = time.perf_counter() - start
            session, scales = Session(done.model, threads=2), output_scales(done.model)
            got = [run(session, scales, sample) for sample in test]
            figures = ("", "")
            if name == "fastestdet_fruits" and case.detect is not None:
                truth = labels(arguments.kit, len(test))
                figures = tuple(  # type: ignore[assignment]
                    f"{average_precision([suppressed(case.detect(o), 0.01) for o in outputs], truth):.3f}"
                    for outputs in (wanted, got)
                )
            report = done.report
            print(
                f"| {name} | {method} | {figures[0]} | {figures[1]} | {agreement(case, wanted, got):.3f} "
                f"| {sqnr_db(wanted, got):.1f} | {report['integer_operators']}/{report['float_operators']} "
                f"| {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
