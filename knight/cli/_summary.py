"""The end of a run in words: metrics, losses, coverage, files; and the table of several runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knight.conversion import Converted
    from knight.explaining import Explained
    from knight.host import HostFigures
    from knight.inferring import InferResult
    from knight.pipeline import Outcome
    from knight.planning import Variant

_NAMED = 10
"""Operators left in float that are named on the screen; the report has all."""


def arguments(values: Mapping[str, Any]) -> Iterator[str]:
    """One line per argument."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        yield f"  {name:<{width}}  {'-' if shown in (None, '') else shown}"


def conversion(converted: Converted, verb: str) -> Iterator[str]:
    """The vendor's line of success, and the proof behind it."""
    yield f"{verb} Convert To ONNX Succeed."
    if converted.error is None:
        yield f"Largest error    : not known: {converted.unproven}"
    else:
        tried = "1 sample" if converted.samples == 1 else f"{converted.samples} samples"
        batches = (
            f", batch sizes {' '.join(map(str, converted.batches))}" if len(converted.batches) > 1 else ""
        )
        where = f"the range of output {converted.output}" if converted.error else "the range"
        yield f"Largest error    : {converted.error:.1e} of {where} ({tried}{batches})"
    yield f"Operators        : {len(converted.model.graph)}, opset {converted.model.opset_imports['']}"


def plan(explained: Explained) -> Iterator[str]:
    """What will be quantized and how, and what stays float, by reason."""
    left = sum(map(len, explained.left.values()))
    quantized = explained.quantized
    yield f"Quantized        : {len(quantized)} of {len(quantized) + left} operators"
    if quantized:
        rows = [("Operator", "Type", "Weights", "Activations", "Method")]
        rows += [
            (one.name, one.op_type, one.weights or "-", one.activations, one.method) for one in quantized
        ]
        yield from aligned(rows)
    for reason, names in explained.left.items():
        yield f"Float, {len(names)}: {reason}"
        yield from aligned(names, head=False)
    if explained.rest:
        yield f"Neither          : {explained.rest} operators on shapes, indices and integers"


def normalization(whole: Variant | str) -> Iterator[str]:
    """How an integer input will be normalized, as far as can be said before any data are seen."""
    from knight.normalizing import LOSS_DB

    if not isinstance(whole, str):
        yield f"Normalization    : as integers, if the outputs lose less than {LOSS_DB} dB"
    elif whole:
        yield f"Normalization    : in float: {whole}"


def result_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What a quantized model is worth, from its report."""
    yield f"Float metric     : {_number(report['metric_float'])}"
    yield f"Quantized metric : {_number(report['metric_quantized'])}"
    yield f"Quantization Loss: {_loss(report)}"
    if report["sqnr_db"] is None:
        yield "SQNR, cosine     : none (there was no float output to compare)"
    else:
        yield f"SQNR             : {report['sqnr_db']:.2f} dB on the calibration samples"
        yield f"Cosine           : {report['cosine']:.6f} on the calibration samples"
        yield from _host(report)
    if report["normalization"]:
        yield f"Normalization    : {_form(report['normalization'])}"
    for verdict in report["optimizers"]:
        yield f"Optimizer        : {_verdict(verdict)}"
    yield f"Integer operators: {_coverage(report)}"
    yield from scales({one["name"]: one for one in report["outputs"] if one["scale"] is not None})
    yield f"Peak memory      : {report['peak_memory_mb']:.0f} MB"
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report["times"].items())
    yield f"Times            : {times}"


def scales(outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What outputs that are fixed-point numbers have to be multiplied by: name -> {"scale", "zero_point"}."""
    for name, output in outputs.items():
        offset = f", zero point {output['zero_point']}" if output["zero_point"] else ""
        yield f"Dequantization scale of output {name}: {output['scale']:.9g}{offset}"


def _verdict(found: Mapping[str, Any]) -> str:
    from knight.optimizing import Verdict

    return str(Verdict(**{key: value for key, value in found.items() if key != "accepted"}))


def _form(found: Mapping[str, Any]) -> str:
    from knight.normalizing import Form

    return str(Form(**found))


def _host(report: Mapping[str, Any]) -> Iterator[str]:
    from knight.host import HostFigures

    if report["host"] and report["host"]["replay"]:
        yield from on_this_cpu(HostFigures(**report["host"]["replay"]))


def on_this_cpu(host: HostFigures | None) -> Iterator[str]:
    """What this CPU's own kernels make of a quantized model, where that is worth a word; and what helps."""
    if host is not None and host.worth_a_word:
        yield f"On this CPU      : {host}"
        yield f"What helps       : {host.remedy}"


def speed(result: InferResult) -> Iterator[str]:
    """How fast the model is as this CPU runs it; the metric is by exact arithmetic, which may be slower."""
    seconds = result.host_seconds
    rate = result.samples / seconds if seconds > 0 else float("inf")
    yield (
        f"{result.samples} samples in {result.calls} forward calls and {seconds:.2f} s "
        f"(the infer function included): {rate:.1f} samples per second"
    )
    if result.host is not None:
        yield (
            f"The speed is that of this CPU's own kernels, from {result.host.samples} samples run again; the "
            f"metric is by exact arithmetic, which took {result.seconds:.2f} s"
        )
    yield from on_this_cpu(result.host)


def _number(value: float | None) -> str:
    return "none (the infer function returned no number)" if value is None else f"{value:.6g}"


def _loss(report: Mapping[str, Any]) -> str:
    if report["loss"] is not None:
        return f"{report['loss']:.4f} %"
    if report["metric_float"] is None or report["metric_quantized"] is None:
        return "none (the infer function returned no number, so there is no loss)"
    return "none (the float metric is zero)"


def _coverage(report: Mapping[str, Any]) -> str:
    integer, left = report["integer_operators"], report["float_operators"]
    text = f"{integer} of {integer + left}"
    names = report["float_operator_names"]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text += f"; left in float: {', '.join(names[:_NAMED])}{more}"
    return text


def ranked(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Best first: by loss, then by SQNR; those without a loss after those with one; failures last."""

    def rank(outcome: Outcome) -> tuple[bool, bool, float, float]:
        loss, sqnr = outcome.report.get("loss"), outcome.report.get("sqnr_db")
        return (
            outcome.failure is not None,
            loss is None,
            loss if loss is not None else 0.0,
            -sqnr if sqnr is not None else float("inf"),
        )

    return sorted(outcomes, key=rank)


def table(model: str, outcomes: Sequence[Outcome], folders: Mapping[str, Path]) -> Iterator[str]:
    """The vendor's table of several runs, and the reasons of those that failed."""
    rows = [("Model", "Quant Mode", "Iteration", "Quantization Loss", "SQNR", "Subdirectory")]
    for outcome in outcomes:
        loss, sqnr = outcome.report.get("loss"), outcome.report.get("sqnr_db")
        rows.append(
            (
                model,
                outcome.method,
                str(outcome.iteration),
                "Fail" if outcome.failure else "none" if loss is None else f"{loss:.4f} %",
                "-" if outcome.failure or sqnr is None else f"{sqnr:.2f} dB",
                str(folders.get(outcome.label, "-")),
            )
        )
    yield from aligned(rows)
    for outcome in outcomes:
        if outcome.failure:
            yield f"Fail: {outcome.label}: {outcome.failure}"


def side_by_side(model: str, result: InferResult, other: str, reference: InferResult) -> Iterator[str]:
    """The metrics of two models over the same data, and what `model` loses against `other`."""
    from knight.evaluation import quantization_loss

    rows = [("Model", "Metric", "Samples", "Samples per second")]
    for name, found in ((other, reference), (model, result)):
        speed = f"{found.samples / found.host_seconds:.1f}" if found.host_seconds > 0 else "-"
        rows.append((name, str(found.metric), str(found.samples), speed))
    yield from aligned(rows)
    loss = quantization_loss(reference.metric, result.metric)
    yield f"Quantization Loss: {'none (it needs two finite metrics)' if loss is None else f'{loss:.4f} %'}"


def aligned(rows: Sequence[Sequence[str]], *, head: bool = True) -> Iterator[str]:
    """The rows of a table, columns padded to their widest cell; a head is underlined, rows without one are
    indented.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        text = " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        yield text if head else f"  {text}"
        if head and number == 0:
            yield "-+-".join("-" * width for width in widths)
