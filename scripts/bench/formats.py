"""Every kit model of every framework: the error of its conversion, and its quantization beside its twin's.

    python scripts/bench/formats.py

error: largest difference from the source framework, as a fraction of the outputs' range, over random inputs
of several batch sizes. SQNR: of the logits (what the last Softmax reads) on
700 evaluation pictures, quantized for onnxruntime with 100 pictures of images/, kl; twin: the same of the
kit's ONNX file of the same net.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import kit as development
import numpy as np
import onnx_ir as ir
from accuracy import outputs, sqnr_db

from knight import model as models
from knight.config import QuantConfig
from knight.conversion import convert
from knight.converters import Source
from knight.executor import Executor, RunSettings
from knight.passes import PassOptions, prepare
from knight.pipeline import quantize
from knight.targets import load_target

RESNET = Path(__file__).resolve().parents[2] / "tests" / "converters" / "pytorch" / "resnet20.py"


@dataclass(frozen=True)
class Case:
    """One kit file. net: the classifier it is, None where the kit has no twin of it."""

    framework: str
    file: str
    net: str | None
    options: dict[str, object] = field(default_factory=dict)
    nhwc: bool = False


FROZEN = {"start_nodes": ("input:0",), "end_nodes": ("Identity:0",)}
CASES = (
    Case("pytorch", "pytorch/resnet20_cifar10_state_dict.th", "resnet20", {"script": str(RESNET)}),
    Case(
        "pytorch", "pytorch/resnet20_cifar10_torchscript.pt", "resnet20", {"input_shapes": ((1, 3, 32, 32),)}
    ),
    Case("pytorch", "pytorch/resnet20_cifar10_exported.pt2", "resnet20"),
    Case("paddle", "paddle/resnet20_cifar10/inference.pdmodel", "resnet20"),
    Case(
        "pytorch",
        "pytorch/mobilenet_v1_0.25_224_torchscript.pt",
        "mobilenetv1_025",
        {"input_shapes": ((1, 3, 224, 224),)},
    ),
    Case("pytorch", "pytorch/mobilenet_v1_0.25_224_exported.pt2", "mobilenetv1_025"),
    Case("paddle", "paddle/mobilenet_v1_0.25_224/inference.pdmodel", "mobilenetv1_025"),
    Case("tensorflow", "tf/mobilenet_v1_0.25_224_frozen.pb", "mobilenetv1_025", FROZEN, nhwc=True),
    Case("tensorflow", "tf/mobilenet_v1_0.25_224_frozen.pb", "mobilenetv1_025", {**FROZEN, "nchw": True}),
    Case("tensorflow", "tf/mobilenet_v1_0.25_224_saved_model", "mobilenetv1_025", {"nchw": True}),
    Case(
        "caffe",
        "caffe/squeezenet_v1.1_deploy.prototxt",
        "squeezenet11",
        {"weights": "caffe/squeezenet_v1.1.caffemodel"},
    ),
    Case("caffe", "caffe/slim-320.prototxt", None, {"weights": "caffe/slim-320.caffemodel"}),
)


def source_of(kit: Path, case: Case) -> Source:
    """The case as a user names it."""
    options = dict(case.options)
    path = str(kit / case.file)
    if "weights" in options:
        options["weights"] = str(kit / str(options["weights"]))
    if "script" in options:
        return Source("resnet20", weights=path, script=str(options["script"]))
    return Source(path, **options)  # type: ignore[arg-type]


def logits_of(model: ir.Model) -> tuple[str, ...]:
    """What the Softmax before the output reads, looking through reshaping; nothing where there is none."""
    value: ir.Value | None = model.graph.outputs[0]
    for _ in range(3):
        node = value.producer() if value is not None else None
        if node is None or node.op_type not in ("Softmax", "Reshape", "Flatten", "Squeeze", "Identity"):
            return ()
        value = node.inputs[0]
        if node.op_type == "Softmax" and value is not None:
            return (value.name or "",)
    return ()


def quantized_sqnr(model: ir.Model, samples: list[np.ndarray], pictures: list[np.ndarray]) -> float:
    """SQNR in dB of the logits of the quantized model."""

    def feed(executor: Executor) -> None:
        for sample in samples[: executor.iteration]:
            executor.forward(sample)

    names = logits_of(model)
    config = QuantConfig(methods=("kl",), iterations=(len(samples),), threads=2, output_names=names)
    (outcome,) = quantize(model, feed, load_target("onnxruntime"), config, RunSettings(), name="net")
    assert outcome.model is not None
    reference = outputs(prepare(model, PassOptions(output_names=names)), pictures)
    return sqnr_db(reference, outputs(outcome.model, pictures))


@cache
def data(kit: Path, name: str, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """100 calibration pictures and `count` evaluation pictures."""
    net = next(net for net in development.CLASSIFIERS if net.name == name)
    return (
        [sample for sample, _ in development.samples(kit, net, "images", 100)],
        [sample for sample, _ in development.samples(kit, net, "evaluation", count)],
    )


@cache
def twin_sqnr(kit: Path, name: str, count: int) -> float:
    """SQNR of the kit's ONNX file."""
    net = next(net for net in development.CLASSIFIERS if net.name == name)
    return quantized_sqnr(models.load(kit / "onnx" / net.file), *data(kit, name, count))


def main() -> None:
    """Prints one row per kit file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    parser.add_argument("--pictures", type=int, default=700)
    arguments = parser.parse_args()
    print("| framework | file | error | operators | SQNR dB | twin | difference |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        converted = convert(case.framework, source_of(arguments.kit, case), threads=2)
        row = f"| {case.framework} | {case.file} | {converted.error:.1e} | {len(converted.model.graph)} "
        if case.net is None:
            print(f"{row}| | | |", flush=True)
            continue
        samples, pictures = data(arguments.kit, case.net, arguments.pictures)
        if case.nhwc:
            samples, pictures = (
                [x.transpose(0, 2, 3, 1).copy() for x in part] for part in (samples, pictures)
            )
        found = quantized_sqnr(converted.model, samples, pictures)
        twin = twin_sqnr(arguments.kit, case.net, arguments.pictures)
        print(f"{row}| {found:.2f} | {twin:.2f} | {found - twin:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
