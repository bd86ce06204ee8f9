"""Every flag of ``knight compare``, as data; names and meanings are the vendor's where it has them.

Which metrics can be switched on and off is said by the metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from knight.cli._flags import AVAILABLE, DETAIL, DUMPS, GATES, MODEL, RESULT, TABLE, Flag
from knight.errors import ConfigError

_SHARED = ("user_defined_script", "infer_func", "input_configs", "data", "iteration", "batch_size")

_BEFORE = (
    Flag(("-m", "--model"), MODEL, "the float model", metavar="FILE"),
    Flag(
        ("-q", "--quantized"),
        MODEL,
        "the quantized model: Knight's, or another tool's (QDQ or integer operators)",
        metavar="FILE",
    ),
    Flag(("--mean",), MODEL, "the normalization that was put into the quantized model", float, several=True),
    Flag(("--std",), MODEL, "its standard deviations, together with --mean", float, several=True),
    Flag(
        ("-qd", "--quant-dump"),
        DUMPS,
        "a folder that -du wrote: its float half is compared with its quantized half",
        metavar="FOLDER",
    ),
    Flag(
        ("-sd", "--second-dump"),
        DUMPS,
        "folders to compare with instead, such as a simulator's, one after the other; separated by ':'",
        metavar="FOLDER[:FOLDER]",
    ),
    *(flag for flag in AVAILABLE if flag.key in _SHARED),
    Flag(("--op-type",), TABLE, "rows of these operators only, such as Conv,Gemm", metavar="NAME,..."),
    Flag(("--index-range",), TABLE, "rows of these indices only, such as 0-7,17-19", metavar="A-B,..."),
    Flag(("--sort",), TABLE, "sort by this field, worst first: mre, cos, own_sqnr ...", metavar="FIELD"),
)

_BEHIND = (
    Flag(("-on", "--output-name"), DETAIL, "show this output's figures and elements", metavar="NAME"),
    Flag(
        ("-sl", "--show-level"),
        DETAIL,
        "elements of this band of relative error: 1 (0-1 %) to 5 (above 100 %); 0 all, 6 the largest errors",
        int,
        6,
        choices=(0, 1, 2, 3, 4, 5, 6),
    ),
    Flag(("-sn", "--show-number"), DETAIL, "how many elements", int, 10, least=1),
    Flag(("-si", "--show-index"), DETAIL, "from this element on", int, 0, least=0),
    Flag(
        ("-sh", "--show"),
        DETAIL,
        "hist: draw the histograms of output and weight, float and quantized (PNG)",
        choices=("hist",),
        metavar="hist",
    ),
    Flag(
        ("-s", "--save-dir"),
        RESULT,
        "folder for the report: HTML, JSON, CSV, a file for -mc, plots",
        metavar="FOLDER",
    ),
    Flag(("--show-plot",), RESULT, "draw plot_result.png and write plot_out_name_idx.txt", bool, False),
    Flag(("--html",), RESULT, "write the report to this file", metavar="FILE"),
    Flag(("--json",), RESULT, "write all figures to this file", metavar="FILE"),
    Flag(("--csv",), RESULT, "write the table to this file", metavar="FILE"),
    Flag(("--junit",), RESULT, "write the thresholds and layers as test results", metavar="FILE"),
    Flag(
        ("--fail-under-cos",),
        GATES,
        "exit with 3 where a layer's cosine (0 to 1, or percent) is lower",
        float,
    ),
    Flag(
        ("--fail-over-loss",), GATES, "exit with 3 where the metric loses more than this, in percent", float
    ),
    Flag(("--fail-under-sqnr",), GATES, "exit with 3 where the outputs' SQNR (dB) is lower", float),
    *(flag for flag in AVAILABLE if flag.key in ("run_config", "cpu_num", "log_level")),
)


@cache
def compare_flags() -> tuple[Flag, ...]:
    """All of them; each metric that has a switch adds it. Raises ConfigError for a switch of a taken name."""
    from knight.compare.metrics import metrics

    taken = {flag.key for flag in (*_BEFORE, *_BEHIND)}
    switches = {name: _switch(name) for name in _switched()}
    for name, flag in switches.items():
        if flag.key in taken:
            raise ConfigError(
                f"metric {name!r} ({metrics.origin(name)}): its switch {flag.label} is another flag of "
                f"knight compare; the metric has to have another name"
            )
    return (*_BEFORE, *switches.values(), *_BEHIND)


def shown_metrics(values: Mapping[str, Any]) -> dict[str, bool]:
    """Metric -> whether the table shall have it, of those that have a switch."""
    from knight.compare.metrics import metrics

    return {name: values[_switch(name).key] != metrics.get(name).shown for name in _switched()}


def _switched() -> list[str]:
    from knight.compare.metrics import metrics

    return [name for name in metrics.ranked() if metrics.get(name).title]


def _switch(name: str) -> Flag:
    from knight.compare.metrics import metrics

    metric, long = metrics.get(name), name.replace("_", "-")
    if metric.shown:
        return Flag((f"--no-{long}",), TABLE, f"leave out the {metric.title}", bool, False)
    return Flag((f"--{long}",), TABLE, f"add the {metric.title}", bool, False)
