"""Every flag of ``knight quant`` and its relatives, as data.

The click options, the groups of --help and the refusal of what is not available yet all come from this
table. Names, defaults and ranges are those of the vendor's quantization guide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from knight.registry import names

SAVE_DIR = "/TS-KnightOutput/QuantOnnx/"
RUN_MODES = ("quant", "infer", "convert", "compare")

MODEL, DATA, METHOD, NUMBERS, RESULT, RUN = (
    "Model",
    "Data",
    "Calibration",
    "Integers",
    "Result",
    "Run",
)
DUMPS, TABLE, DETAIL, GATES = ("Dump folders", "Table", "One output", "Thresholds")
GROUPS = (MODEL, DUMPS, DATA, METHOD, NUMBERS, TABLE, DETAIL, RESULT, GATES, RUN)


@dataclass(frozen=True)
class Flag:
    """One flag.

    names: short and long forms.
    group: title under which --help lists it.
    help: what it is for; ``{choices}`` in it becomes the list of them.
    kind: type of a value; bool is a switch.
    several: takes one or more values, separated by spaces.
    grouped: these belong together, and the flag may be repeated.
    choices: the values there are, or what tells them: a registry is asked when they are needed.
    works: the values that do something today; None for all, empty where the flag is refused whenever it is
        given.
    commands: of a flag that another distribution adds: the subcommands that take it.
    least, most: of a number; None where there is no bound. Infinity and NaN are refused for all.
    """

    names: tuple[str, ...]
    group: str
    help: str
    kind: type = str
    default: Any = None
    several: bool = False
    grouped: bool = False
    required: bool = False
    choices: tuple[Any, ...] | Callable[[], tuple[Any, ...]] = ()
    works: tuple[Any, ...] | None = None
    metavar: str | None = None
    commands: tuple[str, ...] = ("quant",)
    least: float | None = None
    most: float | None = None

    @property
    def key(self) -> str:
        """Name of the parameter: the long form in Python's spelling."""
        return self.names[-1].lstrip("-").replace("-", "_")

    @property
    def label(self) -> str:
        """How messages name the flag."""
        return "/".join(self.names)

    @property
    def known(self) -> tuple[Any, ...]:
        """The values there are; empty where any will do."""
        return self.choices() if callable(self.choices) else self.choices

    @property
    def text(self) -> str:
        """What --help says of it."""
        return self.help.replace("{choices}", " ".join(map(str, self.known)))


def frameworks() -> tuple[str, ...]:
    """What -f may name."""
    return names("knight.converters", "knight.converters")


def formats() -> tuple[str, ...]:
    """What --format may name."""
    return names("knight.exporters", "knight.exporters")


def optimizers() -> tuple[str, ...]:
    """What --optimize may name."""
    return names("knight.optimizers", "knight.optimizers")


def methods() -> tuple[str, ...]:
    """What -qm may name."""
    return (*names("knight.calibration", "knight.calibrations"), "all")


MOST_CALLS = 2**31 - 1
MOST_SAMPLES = 1 << 16
"""In one forward call: what is more is a slip of the hand, and no machine holds it."""
MOST_THREADS = 1024

LATER: tuple[Any, ...] = ()
"""`Flag.works` of a flag whose work is still to come."""

AVAILABLE = (
    Flag(
        ("-m", "--model"),
        MODEL,
        "the float model: a file, or the name of a PyTorch model that the script registers",
        required=True,
        metavar="FILE|NAME",
    ),
    Flag(
        ("-f", "--framework"),
        MODEL,
        "framework that the model comes from: {choices}",
        default="onnx",
        choices=frameworks,
    ),
    Flag(
        ("-w", "--weight"), MODEL, "its weights (.pth, .caffemodel, .pdiparams), where apart", metavar="FILE"
    ),
    Flag(("-snn", "--start-node-names"), MODEL, "TensorFlow: names of the inputs", several=True),
    Flag(("-enn", "--end-node-names"), MODEL, "TensorFlow: names of the outputs", several=True),
    Flag(("-c2chw", "--convert2chw"), MODEL, "TensorFlow: turn NHWC inputs to NCHW", bool, False),
    Flag(
        ("-is", "--input-shapes"),
        MODEL,
        "shape of an input whose dimensions are open, such as 1 3 224 224; once per input; -1 leaves open",
        int,
        (),
        several=True,
        grouped=True,
        metavar="N...",
    ),
    Flag(
        ("--allow-pickle",),
        MODEL,
        "PyTorch: let a weight file run code while it is loaded; only for files that you trust",
        bool,
        False,
    ),
    Flag(
        ("--tolerance",),
        MODEL,
        "largest error of a converted model, as a fraction of its outputs' range",
        float,
        1e-3,
    ),
    Flag(("-on", "--output-name"), MODEL, "crop the graph at these outputs", several=True, metavar="NAME..."),
    Flag(("--mean",), MODEL, "normalize the first input: means, one or one per channel", float, several=True),
    Flag(("--std",), MODEL, "its standard deviations, together with --mean", float, several=True),
    Flag(
        ("-uds", "--user-defined-script"), DATA, "Python script with your infer function", metavar="FILE.py"
    ),
    Flag(
        ("-if", "--infer-func"),
        DATA,
        "infer function: one of the script's, or infer_auto (random data)",
        default="infer_auto",
        metavar="NAME",
    ),
    Flag(
        ("--input-configs",),
        DATA,
        "what infer_default feeds: a JSON file with a list of entries (in a run-config: the list itself)",
        object,
    ),
    Flag(("-d", "--data"), DATA, "handed to the infer function as executor.dataset", metavar="PATH"),
    Flag(
        ("-i", "--iteration"),
        DATA,
        "forward calls to make; for quant, several numbers give one model each",
        int,
        (1,),
        several=True,
        least=1,
        most=MOST_CALLS,
    ),
    Flag(
        ("-bs", "--batch-size"),
        DATA,
        "samples per forward call, for dynamic models",
        int,
        1,
        least=1,
        most=MOST_SAMPLES,
    ),
    Flag(
        ("-qm", "--quant-mode"),
        METHOD,
        "how activation ranges are found, one or several for a model each: {choices}",
        default=("kl",),
        several=True,
        choices=methods,
        metavar="NAME...",
    ),
    Flag(("-per", "--percent"), METHOD, "fraction of the values that percentile keeps", float, 0.99999),
    Flag(
        ("--optimize",),
        METHOD,
        "what to try beyond plain rounding, in this order: {choices}",
        default=(),
        several=True,
        choices=optimizers,
        metavar="NAME...",
    ),
    Flag(
        ("-b", "--bit-width"),
        NUMBERS,
        "bits of weights and activations",
        int,
        8,
        choices=(8, 16),
        works=(8,),
    ),
    Flag(
        ("-ib", "--ir-batch"),
        NUMBERS,
        "batch size of the quantized model (default: the chip's need, else as in the source)",
        int,
        least=1,
        most=MOST_SAMPLES,
    ),
    Flag(
        ("-qid", "--quantize-input-dtype"),
        NUMBERS,
        "type of the quantized model's inputs: float32 int8 uint8 int16 None, one, or one per input",
        default=("None",),
        several=True,
        choices=("float32", "int8", "uint8", "int16", "None"),
        metavar="TYPE...",
    ),
    Flag(
        ("-od", "--output-dequant"),
        NUMBERS,
        "real numbers as outputs, also of chips with fixed-point outputs",
        bool,
        False,
    ),
    Flag(
        ("--reduce-range",),
        NUMBERS,
        "7-bit weights, for int8 files that have to run on x86 CPUs without VNNI",
        bool,
        False,
    ),
    Flag(
        ("-mc", "--mix-config"),
        NUMBERS,
        "JSON file with choices for single operators: 8 bits or float, and a calibration method",
        metavar="FILE",
    ),
    Flag(
        ("--disable-names",),
        NUMBERS,
        "leave operators in float: by name, or by that of a value that they make; * and ? are wildcards",
        default=(),
        several=True,
        metavar="NAME...",
    ),
    Flag(
        ("--disable-types",),
        NUMBERS,
        "leave kinds of operators in float, such as Softmax; * and ? are wildcards",
        default=(),
        several=True,
        metavar="TYPE...",
    ),
    Flag(
        ("--keep-first",),
        NUMBERS,
        "leave so many of the first operators with weights in float",
        int,
        0,
        least=0,
    ),
    Flag(
        ("--keep-last",),
        NUMBERS,
        "leave so many of the last operators with weights in float",
        int,
        0,
        least=0,
    ),
    Flag(
        ("--recalibrate",),
        METHOD,
        "find new scales for a model that is quantized already, instead of keeping its own",
        bool,
        False,
    ),
    Flag(
        ("--dry-run",),
        RUN,
        "list what would be quantized, how, and why the rest stays float; runs no data, writes nothing",
        bool,
        False,
    ),
    Flag(("--strict",), NUMBERS, "refuse a model with operators that the chip does not have", bool, False),
    Flag(("--format",), RESULT, "form of the quantized model: {choices}", default="qdq", choices=formats),
    Flag(("-s", "--save-dir"), RESULT, "folder for the results", default=SAVE_DIR, metavar="FOLDER"),
    Flag(("-du", "--dump"), RESULT, "write every operator's output, for knight compare", bool, False),
    Flag(("--dump-limit",), RESULT, "disk space that the dump may take, in GB", float, 10.0),
    Flag(
        ("-r", "--run-mode"),
        RUN,
        "the subcommand of that name; compare is quant with -du",
        default="quant",
        choices=RUN_MODES,
    ),
    Flag(
        ("-rc", "--run-config"),
        RUN,
        "take the arguments from this JSON file; relative paths in it start at the current folder",
        metavar="FILE",
    ),
    Flag(("-cn", "--cpu-num"), RUN, "CPUs to use", int, 5, least=1, most=MOST_THREADS),
    Flag(
        ("-l", "--log-level"),
        RUN,
        "0 debug (tracebacks), 1 info, 2 warnings, 3 errors; results are printed at every level",
        int,
        3,
        choices=(0, 1, 2, 3),
    ),
)

POSTPONED = (
    Flag(("-ov", "--opset-version"), MODEL, "convert the model to this opset first", int, works=LATER),
    Flag(("-do", "--disable-onnxsim"), MODEL, "no graph simplification", bool, default=False, works=LATER),
    Flag(("-cd", "--cache-distribution"), METHOD, "file that keeps the statistics", works=LATER),
    Flag(("-gsj", "--generate-scale-json"), METHOD, "write the scales to a file", bool, False, works=LATER),
    Flag(("-lsj", "--load-scale-json"), METHOD, "take the scales from a file", works=LATER),
    Flag(
        ("-uis", "--unify-input-scale"),
        METHOD,
        "one scale for all inputs of a Concat",
        bool,
        False,
        works=LATER,
    ),
    Flag(("-sp", "--spin-quant"), METHOD, "rotate activations first", bool, default=False, works=LATER),
    Flag(("-td", "--ts-drop"), METHOD, "reconstruct layer by layer", bool, default=False, works=LATER),
    Flag(("-wm", "--weight-mode"), NUMBERS, "bits of the weights alone", works=LATER),
    Flag(("-gt", "--generate-template"), NUMBERS, "write a mixed-precision file", bool, False, works=LATER),
    Flag(
        ("-amr", "--auto-mix-ratio"),
        NUMBERS,
        "share of layers that -ams decides on",
        float,
        0.5,
        works=(0.5,),
    ),
    Flag(
        ("-ams", "--auto-mix-strategy"),
        NUMBERS,
        "how -gt chooses bit widths",
        default="initial",
        choices=("HAWQ", "IOhigh", "initial"),
        works=("initial",),
    ),
    Flag(
        ("-ll", "--lut-len"),
        NUMBERS,
        "16 bit: length of lookup tables",
        int,
        10,
        choices=(8, 9, 10, 11, 12),
        works=(10,),
    ),
    Flag(("-lt", "--layer-threshold"), NUMBERS, "range of LayerNormalization", float, works=LATER),
    Flag(("-am", "--accelerate-model"), NUMBERS, "standard operators only", bool, False, works=LATER),
)

QUANT = AVAILABLE + POSTPONED
INFER_KEYS = (
    "model",
    "framework",
    "user_defined_script",
    "infer_func",
    "input_configs",
    "data",
    "iteration",
    "batch_size",
    "quantize_input_dtype",
    "save_dir",
    "run_config",
    "cpu_num",
    "log_level",
)
INFER = (
    *(flag for flag in AVAILABLE if flag.key in INFER_KEYS),
    Flag(
        ("--compare-with",),
        MODEL,
        "another model, such as the float one: its metric too, and the loss",
        metavar="FILE",
    ),
)
CONVERT_KEYS = (
    "model",
    "framework",
    "weight",
    "start_node_names",
    "end_node_names",
    "convert2chw",
    "input_shapes",
    "allow_pickle",
    "tolerance",
    "mean",
    "std",
    "user_defined_script",
    "infer_func",
    "input_configs",
    "data",
    "iteration",
    "batch_size",
    "quantize_input_dtype",
    "save_dir",
    "run_config",
    "cpu_num",
    "log_level",
)
FED = {
    "quantize_input_dtype": "type of the quantized model's inputs, where -if feeds that",
    "mean": "means that the quantized model will subtract, where -if leaves that to it",
    "std": "its standard deviations, together with --mean",
}
"""What of quantization a conversion has to know, since it is proven on what the infer function feeds."""

CONVERT = tuple(
    replace(flag, help=FED.get(flag.key, flag.help)) for flag in AVAILABLE if flag.key in CONVERT_KEYS
)
