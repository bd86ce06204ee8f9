"""Accuracy and speed on the kit's classifiers, beside onnxruntime.quantization in the same run.

    python scripts/bench/accuracy.py --chip onnxruntime
    python scripts/bench/accuracy.py --chip TX5368AV200

100 calibration pictures of images/, 700 of evaluation/. SQNR: 10 log10 (energy of the float outputs /
energy of the difference), all outputs together. agree: same first class as the float model. float compute:
Conv, Gemm and MatMul with constant weights left in float after ONNX Runtime's own optimisation; Q/DQ:
conversions left there. speed-up: float latency / quantized latency, one thread, one sample, median of
interleaved runs, with the kernels of the CPU at hand; all other figures are by exact arithmetic.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import kit as development
import numpy as np
import onnx_ir as ir
from onnxruntime import quantization as peer
from onnxruntime.quantization.shape_inference import quant_pre_process

from knight import model as models
from knight.calibration import methods
from knight.config import QuantConfig
from knight.coverage import optimised_coverage
from knight.executor import Executor, RunSettings
from knight.outputs import dequantized, output_scales
from knight.pipeline import quantize
from knight.runner import Session
from knight.targets import Target, load_target

PEERS = {
    "MinMax": peer.CalibrationMethod.MinMax,
    "Entropy": peer.CalibrationMethod.Entropy,
    "Percentile": peer.CalibrationMethod.Percentile,
}


def knight_models(
    path: Path, samples: Sequence[np.ndarray], target: Target
) -> Iterator[tuple[str, ir.Model]]:
    """(method, quantized model) of the five methods, from one pass over the samples."""

    def feed(executor: Executor) -> None:
        for sample in samples[: executor.iteration]:
            executor.forward(sample)

    config = QuantConfig(methods=methods(), iterations=(len(samples),), threads=2)
    source = models.load(path)
    for outcome in quantize(source, feed, target, config, RunSettings(), name=path.stem):
        if outcome.model is None:
            print(f"{path.stem} {outcome.method}: Fail: {outcome.failure}")
        else:
            yield f"knight {outcome.method}", outcome.model


class _Reader(peer.CalibrationDataReader):
    def __init__(self, name: str, samples: Sequence[np.ndarray]) -> None:
        self._feeds = iter([{name: sample} for sample in samples])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def peer_models(
    path: Path, samples: Sequence[np.ndarray], *, symmetric: bool, folder: Path
) -> Iterator[tuple[str, ir.Model]]:
    """(method, model) of `quantize_static` with its own settings, activations uint8 or symmetric int8."""
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(path), str(prepared))
    name = models.load(path).graph.inputs[0].name or ""
    for method, calibration in PEERS.items():
        output = folder / f"{path.stem}_{method}.onnx"
        extra: dict[str, object] = {"ActivationSymmetric": True} if symmetric else {}
        if method == "Percentile":
            extra["CalibPercentile"] = 99.999
        peer.quantize_static(
            str(prepared),
            str(output),
            _Reader(name, samples),
            quant_format=peer.QuantFormat.QDQ,
            per_channel=True,
            activation_type=peer.QuantType.QInt8 if symmetric else peer.QuantType.QUInt8,
            weight_type=peer.QuantType.QInt8,
            calibrate_method=calibration,
            extra_options=extra,
        )
        yield f"onnxruntime {method}", ir.load(output)


def outputs(model: ir.Model, samples: Sequence[np.ndarray]) -> np.ndarray:
    """The first output over all samples, as real numbers."""
    session = Session(model, threads=2)
    names, scales = [info.name for info in session.outputs], output_scales(model)
    (name,) = (info.name for info in session.inputs)
    return np.concatenate([dequantized(names, session.run({name: sample}), scales)[0] for sample in samples])


def sqnr_db(reference: np.ndarray, got: np.ndarray) -> float:
    """Signal-to-noise ratio in dB over all numbers together."""
    signal = np.square(reference, dtype=np.float64).sum()
    return float(10 * np.log10(signal / np.square(reference - got, dtype=np.float64).sum()))


def latencies(candidates: Sequence[ir.Model], sample: np.ndarray, runs: int) -> list[float]:
    """Median seconds of each model at one thread, measured in turn."""
    sessions = [Session(model, threads=1, kernels="host") for model in candidates]
    times: list[list[float]] = [[] for _ in sessions]
    for number in range(runs + 3):
        for session, taken in zip(sessions, times, strict=True):
            feeds = {session.inputs[0].name: sample}
            start = time.perf_counter()
            session.run(feeds)
            if number >= 3:  # warm by then
                taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) for taken in times]


def main() -> None:
    """Prints one table per classifier."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", default="onnxruntime")
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--net", action="append", help="only this classifier (may be repeated)")
    parser.add_argument("--pictures", type=int, default=700)
    parser.add_argument("--runs", type=int, default=40, help="latency measurements per model")
    arguments = parser.parse_args()
    target = load_target(arguments.chip)
    print("| model | tool and method | SQNR dB | agree | top-1 | float compute | Q/DQ | speed-up |")
    print("|---|---|---|---|---|---|---|---|")
    for net in development.CLASSIFIERS:
        if arguments.net and net.name not in arguments.net:
            continue
        path = arguments.kit / "onnx" / net.file
        samples = [sample for sample, _ in development.samples(arguments.kit, net, "images", 100)]
        pairs = list(development.samples(arguments.kit, net, "evaluation", arguments.pictures))
        pictures, labels = [sample for sample, _ in pairs], np.array([label for _, label in pairs])
        reference = outputs(models.load(path), pictures)
        with tempfile.TemporaryDirectory() as folder:
            found = [*knight_models(path, samples, target)]
            symmetric = target.schemes[0].activation_symmetric
            found += peer_models(path, samples, symmetric=symmetric, folder=Path(folder))
            taken = latencies(
                [models.load(path), *(model for _, model in found)], pictures[0], arguments.runs
            )
        top = f"{np.mean(reference.argmax(1) == labels):.3f}"
        print(f"| {net.name} | float | | | {top} | | | 1.00 |")
        for (label, model), seconds in zip(found, taken[1:], strict=True):
            got, cover = outputs(model, pictures), optimised_coverage(model)
            agree = np.mean(got.argmax(1) == reference.argmax(1))
            compute = constant_weight(cover.float_compute, model)
            print(
                f"| {net.name} | {label} | {sqnr_db(reference, got):.2f} | {agree:.3f} "
                f"| {np.mean(got.argmax(1) == labels):.3f} | {compute} | {cover.conversions} "
                f"| {taken[0] / seconds:.2f} |",
                flush=True,
            )


def constant_weight(names: Sequence[str], model: ir.Model) -> int:
    """How many of the float Conv, Gemm and MatMul have weights: products of two activations are not
    counted.
    """
    products = {
        node.name
        for node in model.graph
        if node.op_type == "MatMul" and not any(_is_weight(value) for value in node.inputs)
    }
    return sum(not any(product and product in name for product in products) for name in names)


def _is_weight(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    source = producer.inputs[0] if producer is not None and producer.op_type == "DequantizeLinear" else value
    return models.is_constant(source)


if __name__ == "__main__":
    main()
