"""What an infer function is handed: it feeds samples with `forward` and reads the run's settings.

The attributes are those of the vendor's executor, so that scripts written for it run unchanged. Every
sample is checked before the model sees it: a wrong one is named instead of failing inside the runtime.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from knight import memory
from knight.errors import DataError, KnightError, ModelError, ScriptError
from knight.listener import SILENT, Listener

if TYPE_CHECKING:
    import onnx_ir as ir

    from knight.runner import TensorInfo

Forward = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
InferFunction = Callable[["Executor"], object]

_ONNX_TYPES = {  # TensorProto.DataType by NumPy name; scripts compare against these numbers
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "object": 8,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}
NUMPY_TYPES = {number: np.dtype(name).type for name, number in _ONNX_TYPES.items()}
"""NumPy type by ONNX element type number, the inverse of what `Executor.input_types` holds."""

_REAL: Mapping[str, Mapping[str, float]] = {}
"""No output is fixed-point."""


@dataclass(frozen=True)
class RunSettings:
    """What the user asked for, as infer functions may read it.

    iteration: forward calls to make.
    batch_size: samples per call.
    dataset: the user's --data.
    save_dir: where results go, and what the function may write itself.
    run_mode: the step: quant, infer, compare or convert.
    user_defined_script: the file that the function is from.
    gpu: number of the GPU to use, -1 for none: always -1, since Knight runs on the CPU.
    input_configs_dict: one mapping per input, from a configuration file.
    extras: values of the options that other distributions add, by name.
    """

    iteration: int = 1
    batch_size: int = 1
    dataset: str | None = None
    save_dir: str | None = None
    run_mode: str = "quant"
    user_defined_script: str | None = None
    gpu: int = -1
    input_configs_dict: tuple[Mapping[str, Any], ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keeps_awake(self) -> bool:
        """The model's threads may stay awake between calls: no picture is loaded beside them meanwhile."""
        return not self.input_configs_dict


class Executor:
    """A model in one step of the run, as the infer function sees it.

    calls: forward calls so far.
    samples: samples in them (the length of the axis that all inputs share as their first, else one per call).
    is_float: the float model runs, before it is quantized.
    early_stop_flag: raised when more samples would change nothing.
    shape_dicts: name of a value or node -> shape, empty until `init_shape_info`.
    input_types: input name -> ONNX element type number.
    output_scales: output name -> {"scale", "zero_point"}, of the outputs that `forward` hands out as
        fixed-point numbers, ``real = (x - zero_point) * scale``; emptied, it hands out real numbers.
    """

    def __init__(
        self,
        forward: Forward,
        inputs: Sequence[TensorInfo],
        outputs: Sequence[str],
        settings: RunSettings,
        *,
        model: ir.Model | None = None,
        listener: Listener = SILENT,
        check_finite: bool = True,
        is_float: bool = False,
        output_scales: Mapping[str, Mapping[str, float]] = _REAL,
        after_call: Callable[[int], None] = lambda calls: None,
    ) -> None:
        """`forward` runs one checked sample; `model` is what it runs, for questions about its graph.

        check_finite: refuse NaN and Inf; a later pass over samples that were checked before need not.
        output_scales: of the outputs that `forward` gives as fixed-point numbers while the attribute says so.
        after_call: told the number of forward calls after each.
        """
        self._after_call = after_call
        self.output_scales = output_scales
        self._must_be_finite = check_finite
        self.is_float = is_float
        self._forward = forward
        self._inputs = tuple(inputs)
        self._model = model
        self._listener = listener
        self._last: dict[str, np.ndarray] | None = None
        self._inferred: ir.Model | None = None
        self.calls = 0
        self.samples = 0
        self.early_stop_flag = False
        self.input_nodes = [info.name for info in self._inputs]
        self.output_node_list = list(outputs)
        self.input_types = {info.name: _ONNX_TYPES.get(str(info.dtype), 0) for info in self._inputs}
        self.shape_dicts: dict[str, list[int | None]] = {}
        self.iteration = settings.iteration
        self.batch_size = settings.batch_size
        self.dataset = settings.dataset
        self.save_dir = settings.save_dir
        self.run_mode = settings.run_mode
        self.user_defined_script = settings.user_defined_script
        self.gpu = settings.gpu
        self.input_configs_dict = settings.input_configs_dict
        self.extras = settings.extras

    def forward(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Runs the model on one array per input, in the order of `input_nodes`; gives all outputs in order.

        Where the model's batch is fixed to B and every input brings n * B samples, it runs n times and
        the outputs are joined along their first axis. Raises DataError naming the sample and the input
        that do not fit.
        """
        label = f"sample {self.samples + 1}"
        if len(arrays) != len(self._inputs):
            wanted = ", ".join(map(_describe, self._inputs)) or "none"
            raise DataError(
                f"{label}: the model has {len(self._inputs)} input(s) ({wanted}), "
                f"forward() was given {len(arrays)}"
            )
        for info, array in zip(self._inputs, arrays, strict=True):
            _check_type(label, info, array)
        repeats = _repeats(self._inputs, arrays)
        for info, array in zip(self._inputs, arrays, strict=True):
            if repeats == 1:
                _check_shape(label, info, array)
            self._check_finite(info, array)
        feeds = dict(zip(self.input_nodes, arrays, strict=True))
        try:
            with memory.at_most_available():  # what looks at the values takes its share, too
                outputs = self._forward(feeds) if repeats == 1 else self._in_pieces(feeds, repeats)
        except DataError as error:
            raise DataError(f"{label}: {error}") from error
        except KnightError:
            raise
        except MemoryError as error:  # here and below: not the fault of the function that called
            raise DataError(
                f"{label}: its values take more memory than is free ({described(error)}); use a smaller -bs"
            ) from error
        except Exception as error:
            raise ModelError(f"{label}: the model cannot be run: {described(error)}") from error
        self._last = feeds
        self.calls += 1
        self.samples += sample_count(arrays)
        self._after_call(self.calls)
        self._listener.forward(self.calls, self.iteration)
        return outputs

    def say(self, text: str) -> None:
        """Tells the user one line: a second metric, where a file was written."""
        self._listener.announce(text)

    def _check_finite(self, info: TensorInfo, array: np.ndarray) -> None:
        if not self._must_be_finite or info.dtype is None or info.dtype.kind != "f" or array.size == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array.sum()):  # one NaN or Inf would show in the sum, and one pass is cheap
                return
        finite = np.isfinite(array)
        if finite.all():  # only the sum was too large
            return
        place = [int(index) for index in np.argwhere(~finite)[0]]
        sample = self.samples + 1 + (place[0] if place and array.ndim > 1 else 0)
        raise DataError(
            f"sample {sample}: input {info.name!r} holds {array[tuple(place)]} at index {place} "
            f"({int((~finite).sum())} of {array.size} numbers are not finite); "
            f"check the data and its preprocessing"
        )

    def _in_pieces(self, feeds: dict[str, np.ndarray], repeats: int) -> list[np.ndarray]:
        """`feeds` cut into `repeats` equal parts along the first axis; scalars go with every part."""
        parts: list[list[np.ndarray]] = []
        for number in range(repeats):
            part = {}
            for name, array in feeds.items():
                length = array.shape[0] // repeats if array.ndim else 0
                part[name] = array[number * length : (number + 1) * length] if array.ndim else array
            parts.append(self._forward(part))
        joined = []
        for name, pieces in zip(self.output_node_list, zip(*parts, strict=True), strict=True):
            trailing = {
                piece.shape[1:] if isinstance(piece, np.ndarray) and piece.ndim else None for piece in pieces
            }
            if len(trailing) != 1 or None in trailing:
                raise DataError(
                    f"output {name!r} has no batch axis to join {repeats} runs along; "
                    f"feed the model's own batch size"
                )
            joined.append(np.concatenate(pieces))
        return joined

    def output_name_to_node_name(self) -> dict[str, str]:
        """Output value -> name of the operator that makes it, for all operators of the model."""
        if self._model is None:
            raise ScriptError("this executor knows no graph, so it has no names of operators")
        nodes = self._model.graph
        return {out.name: node.name or out.name for node in nodes for out in node.outputs if out.name}

    def init_shape_info(self) -> None:
        """Fills `shape_dicts`: value or node name -> shape, None for a dimension that may vary.

        Shapes that follow from those of the inputs are there from the start; the others come from running
        the last sample, once there was one.
        """
        shapes: dict[str, list[int | None]] = {info.name: list(info.shape) for info in self._inputs}
        nodes = self._shaped()
        made = {output.name: output.shape for node in nodes for output in node.outputs if output.name}
        for name, shape in made.items():
            if shape is not None:
                shapes[name] = [dim if isinstance(dim, int) else None for dim in shape]
        if self._last is not None:
            shapes.update({name: list(np.shape(array)) for name, array in self._last.items()})
            unknown = [name for name in made if None in shapes.get(name, [None])]
            shapes.update(self._measured(unknown, self._last))
        for node in nodes:
            first = node.outputs[0].name if node.outputs else None
            if node.name and first in shapes:
                shapes.setdefault(node.name, shapes[first])
        self.shape_dicts = shapes

    def _shaped(self) -> tuple[ir.Node, ...]:
        """The model's nodes, with the shapes that follow also where the file does not state them."""
        if self._model is None:
            return ()
        stated = all(output.shape is not None for node in self._model.graph for output in node.outputs)
        if not stated and self._inferred is None:
            from knight.passes import infer_shapes  # only here: most scripts never ask

            self._inferred = self._model.clone()  # what runs stays as it is
            infer_shapes.infer(self._inferred)
        return tuple((self._inferred or self._model).graph)

    def _measured(self, names: Sequence[str], feeds: dict[str, np.ndarray]) -> dict[str, list[int | None]]:
        from knight.runner import shapes  # only here: most scripts never ask, and it loads ONNX Runtime

        if not names or self._model is None:
            return {}
        return {name: list(shape) for name, shape in shapes(self._model, names, feeds).items()}


def _describe(info: TensorInfo) -> str:
    return f"{info.name} {info.kind if info.dtype is None else _wanted(info)}"


def _wanted(info: TensorInfo) -> str:
    dtype = "string" if info.dtype == object else str(info.dtype)
    return f"{dtype}[{'x'.join('?' if dim is None else str(dim) for dim in info.shape)}]"


def _got(array: np.ndarray) -> str:
    return f"{array.dtype}[{'x'.join(map(str, array.shape))}]"


def _check_type(label: str, info: TensorInfo, array: object) -> None:
    if info.dtype is None:  # a sequence, map or optional: ONNX Runtime judges it
        return
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{label}: input {info.name!r} wants a NumPy array {_wanted(info)}, got {type(array).__name__}; "
            f"convert it with numpy.asarray(), and pass one array per input: forward(a, b)"
        )
    if info.dtype == object and array.dtype.kind in "OUS":
        return
    if array.dtype != info.dtype:
        raise DataError(
            f"{label}: input {info.name!r} wants {_wanted(info)}, got {_got(array)}; "
            f"convert it with .astype({str(info.dtype)!r})"
        )


def _fits(wanted: Sequence[int | None], got: Sequence[int]) -> bool:
    return len(wanted) == len(got) and all(w is None or w == g for w, g in zip(wanted, got, strict=True))


def _check_shape(label: str, info: TensorInfo, array: np.ndarray) -> None:
    if info.dtype is None or _fits(info.shape, array.shape):
        return
    hint = "; add the batch axis: array[None]" if _fits(info.shape[1:], array.shape) and info.shape else ""
    raise DataError(f"{label}: input {info.name!r} wants {_wanted(info)}, got {_got(array)}{hint}")


def _repeats(inputs: Sequence[TensorInfo], arrays: Sequence[np.ndarray]) -> int:
    """How often the model's fixed batch goes into what was given; 1 where it does not."""
    found = set()
    for info, array in zip(inputs, arrays, strict=True):
        if info.dtype is None:
            return 1
        if not info.shape and not array.ndim:
            continue
        batch = info.shape[0] if info.shape else None
        if (
            not batch
            or array.ndim == 0
            or array.shape[0] % batch
            or not _fits(info.shape[1:], array.shape[1:])
        ):
            return 1
        found.add(array.shape[0] // batch)
    return max(1, found.pop()) if len(found) == 1 else 1


def sample_count(arrays: Iterable[np.ndarray]) -> int:
    """Samples in one call: the length of the axis that all inputs share as their first, else one."""
    arrays = list(arrays)
    lengths = {np.shape(array)[0] if np.ndim(array) > 1 else 0 for array in arrays if np.ndim(array)}
    return max(1, lengths.pop()) if len(lengths) == 1 else 1


def call_infer(infer: InferFunction, executor: Executor, *, must_forward: bool = True) -> object:
    """What `infer` returns; its own failures become a ScriptError naming the user's file and line.

    must_forward: complain when the function never ran the model (a model whose result depends on no data
    may be asked without). Raises KnightError as it comes and lets Ctrl-C through.
    """
    before = executor.calls
    name = getattr(infer, "__name__", type(infer).__name__)
    try:
        result = infer(executor)
    except KnightError:
        raise
    except SystemExit as error:
        raise ScriptError(
            f"infer function {name!r} called sys.exit({error.code}) ({place(error, infer)})"
        ) from error
    except Exception as error:
        raise ScriptError(
            f"infer function {name!r} raised {described(error)} ({place(error, infer)})"
        ) from error
    if must_forward and executor.calls == before:
        raise ScriptError(
            f"infer function {name!r} ({place(None, infer)}) returned without calling executor.forward(); "
            f"it must feed samples (does it find its data?)"
        )
    return result


def described(error: BaseException) -> str:
    """Type and message of `error`, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(error: BaseException | None, infer: object = None, script: Path | None = None) -> str:
    """``file:line`` of the user's own code: the innermost frame of `error` outside Knight and libraries.

    Where there is none, the place of the function `infer`, else `script`.
    """
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    for frame in reversed(frames):
        if _is_users(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    code = getattr(infer, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    return str(script) if script is not None else "no source file"


def _is_users(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    libraries = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders = [Path(__file__).resolve().parent, *(Path(folder).resolve() for folder in libraries if folder)]
    return "site-packages" not in path.parts and not any(path.is_relative_to(folder) for folder in folders)
