"""What Paddle itself does: reads both kinds of program, stores them in one form, runs them on the CPU."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from knight.converters import Feeds
from knight.converters.paddle._files import Files
from knight.converters.paddle._operators import check_operators, names_of_json
from knight.converters.paddle._parameters import check_parameters
from knight.converters.paddle._program import Program
from knight.errors import ModelError
from knight.listener import Listener

_DENSE_TENSOR = 7  # VarType.Type; feed and fetch lists are persistable too
_MAIN = "main"


@dataclass
class Loaded:
    """A program and its parameters in memory. weights: where paddle2onnx reads them, while converting.

    output_names: as the source calls its outputs (a program that is translated loses them).
    """

    program: Program
    weights: Path | None
    output_names: list[str]
    scope: Any
    executor: Any
    _native: dict[str, Any] = field(default_factory=dict)

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        """The outputs for `feeds`, in order."""
        return self._run(self._native[_MAIN], feeds)

    def fetch(self, numbers: Sequence[int], feeds: Feeds) -> list[np.ndarray]:
        """The values with the given numbers of the program."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "values.json")
            self.program.fetching(list(numbers)).write(file)
            with _static(self.scope) as paddle:
                native = paddle.static.Program()
                paddle.base.core.deserialize_pir_program(str(file), native)
        return self._run(native, feeds)

    def _run(self, native: Any, feeds: Feeds) -> list[np.ndarray]:
        with _static(self.scope):
            targets = [
                op.operands_source()[0] for op in native.global_block().ops if op.name() == "pd_op.fetch"
            ]
            arrays = self.executor.run(native, feed=dict(feeds), fetch_list=targets)
        return [np.asarray(array) for array in arrays]


def load(files: Files, folder: Path, listener: Listener) -> Loaded:
    """Reads `files`; intermediate ones go to `folder`, none beside the user's. Raises ModelError."""
    paddle = import_paddle()
    staged = folder / "source"
    names: list[str] | None = None
    if files.kind == "program":
        wanted, names = _read_description(files.model)
        weights = _stage_weights(files, wanted, staged.with_suffix(".pdiparams"))
        shutil.copyfile(files.model, staged.with_suffix(".pdmodel"))
        staged = _translate(files.model, staged, folder / "translated")
        program = _read(files.model, staged.with_suffix(".json"))
    else:
        program = _read(files.model, files.model)
        weights = _stage_weights(files, program.parameters, staged.with_suffix(".pdiparams"))
        shutil.copyfile(files.model, staged.with_suffix(".json"))
    scope = paddle.static.Scope()
    with _static(scope), _explained(f"model {files.model}: Paddle cannot read it"):
        executor = paddle.static.Executor(paddle.CPUPlace())
        native, _, _ = paddle.static.load_inference_model(str(staged), executor)
    listener.detail(f"{len(program.operations)} operations, {len(program.parameters)} parameters")
    return Loaded(
        program=program,
        weights=staged.with_suffix(".pdiparams") if weights else None,
        output_names=names or [name for name, _ in program.outputs],
        scope=scope,
        executor=executor,
        _native={_MAIN: native},
    )


def import_paddle() -> Any:
    """The package, its messages to the terminal turned off as far as they can be."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a C compiler's cache
        import paddle
    return paddle


@contextmanager
def _static(scope: Any) -> Iterator[Any]:
    """Paddle in static mode, parameters in `scope`; afterwards as before."""
    paddle = import_paddle()
    dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        with warnings.catch_warnings(), paddle.static.scope_guard(scope):
            warnings.simplefilter("ignore")
            yield paddle
    finally:
        if dynamic:
            paddle.disable_static()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns what Paddle raises into one line."""
    try:
        yield
    except Exception as error:  # Paddle raises its own and Python's classes without a system
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if not line.startswith("[")), type(error).__name__)
        raise ModelError(f"{what}: {said}") from error


def _read(model: Path, file: Path) -> Program:
    try:
        program = Program.read(file)
        check_operators(names_of_json(program.data), f"model {model}")
        if not program.outputs:
            raise ModelError(f"model {model}: the program has no outputs; save it with paddle.jit.save")
        return program
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(f"model {model}: not a Paddle program, or cut short; copy it again") from error


def _read_description(model: Path) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Shapes of the parameters, and the names of the outputs, of a protobuf program."""
    from google.protobuf.message import DecodeError
    from paddle.base.proto import framework_pb2

    description = framework_pb2.ProgramDesc()  # type: ignore[attr-defined]
    try:
        description.ParseFromString(model.read_bytes())
    except DecodeError:
        raise ModelError(f"model {model}: not a Paddle program, or cut short; copy it again") from None
    if not description.blocks or not description.blocks[0].ops:
        raise ModelError(f"model {model}: the program is empty; not a Paddle inference model")
    check_operators((op.type for block in description.blocks for op in block.ops), f"model {model}")
    block = description.blocks[0]
    shapes = {}
    for variable in block.vars:
        if variable.persistable and variable.type.type == _DENSE_TENSOR:
            kind = variable.type
            tensor = (kind.dense_tensor if hasattr(kind, "dense_tensor") else kind.lod_tensor).tensor
            shapes[variable.name] = tuple(tensor.dims)
    fetches = [op for op in block.ops if op.type == "fetch"]
    if not fetches:
        raise ModelError(
            f"model {model}: the program has no outputs, like one for training; "
            f"save it with paddle.static.save_inference_model"
        )
    return shapes, [name for op in fetches for item in op.inputs for name in item.arguments]


def _stage_weights(files: Files, wanted: dict[str, tuple[int, ...]], target: Path) -> bool:
    """Puts the checked parameters at `target`; False for a program without any."""
    if not wanted:
        return False
    if files.weights is None:
        looked = ", ".join(path.name for path in files.looked_for)
        raise ModelError(
            f"model {files.model}: its {len(wanted)} parameters are missing; none of {looked} is beside it; "
            f"name the file with -w"
        )
    if files.weights.is_dir():
        _combine(files.weights, sorted(wanted), target)
    else:
        os.symlink(files.weights.resolve(), target)
    try:
        check_parameters(target, wanted)
    except ModelError as error:
        raise ModelError(str(error).replace(str(target), str(files.weights))) from None
    return True


def _combine(folder: Path, names: list[str], target: Path) -> None:
    """One parameter file from a folder with a file per parameter, as early versions of Paddle saved them."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"weights {folder}: no file for {len(missing)} parameters, the first is {missing[0]!r}"
        )
    with target.open("wb") as out:
        for name in names:
            out.write((folder / name).read_bytes())


def _translate(model: Path, staged: Path, target: Path) -> Path:
    """Stores the protobuf program at `staged` as a JSON program at `target`; gives that."""
    paddle = import_paddle()
    with _static(paddle.static.Scope()), _explained(f"model {model}: Paddle cannot read it"):
        executor = paddle.static.Executor(paddle.CPUPlace())
        with paddle.pir_utils.OldIrGuard():
            old, _, _ = paddle.static.load_inference_model(str(staged), executor)
        program = paddle.pir.translate_to_pir(old.desc)
        _create_parameters(paddle, program, executor)
        feeds, fetches = [], []
        for op in program.global_block().ops:
            if op.name() in ("pd_op.feed", "pd_op.data"):
                feeds.extend(op.results())
            elif op.name() in ("pd_op.fetch", "builtin.shadow_output"):
                fetches.extend(op.operands_source())
        with paddle.pir_utils.IrGuard():
            paddle.static.save_inference_model(str(target), feeds, fetches, executor, program=program)
    return target


def _create_parameters(paddle: Any, program: Any, executor: Any) -> None:
    """Ties the parameters of `program` to the numbers of the same name in the current scope."""
    values = [
        value
        for value in program.list_vars()
        if value.persistable
        and (value.is_parameter or value.get_defining_op().name() in ("builtin.parameter", "pd_op.data"))
    ]
    if values:
        paddle.base.libpaddle.pir.create_loaded_parameter(
            values, paddle.static.global_scope(), executor._default_executor
        )
