"""From the files of any framework to a proven ONNX model, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import onnx_ir as ir

from knight import errors, model as models
from knight.config import QuantConfig
from knight.converters import Source, _idle, converters
from knight.converters._idle import Idle
from knight.converters._sandbox import CPU_SECONDS
from knight.converters._worker import Request
from knight.errors import KnightError, ModelError
from knight.executor import RunSettings
from knight.files import other_kind
from knight.formats import hint
from knight.listener import SILENT, Listener
from knight.stopping import undisturbed
from knight.temporary import TemporaryFolder

TOLERANCE = 1e-3
"""Largest error, as a fraction of an output's range, that a conversion may have; most stay below 1e-6."""

_LOG_LINES = 3
_AS_THEY_ARE = QuantConfig()


@dataclass(frozen=True)
class Converted:
    """An ONNX model and what its proof found.

    error: largest difference from the source framework, as a fraction of the range of `output`; None where
    nothing could run the source, and `unproven` says why. samples, batches: what was tried.
    """

    model: ir.Model
    framework: str
    error: float | None
    output: str
    samples: int
    batches: tuple[int, ...]
    unproven: str


def convert(
    framework: str,
    source: Source,
    *,
    infer: str | None = None,
    settings: RunSettings | None = None,
    config: QuantConfig = _AS_THEY_ARE,
    tolerance: float = TOLERANCE,
    threads: int = 1,
    listener: Listener = SILENT,
    debug: bool = False,
) -> Converted:
    """Converts `source` and proves the result on random inputs and on what the infer function `infer` feeds.

    config: input types, mean and std of the quantized model that `infer` is written for; its samples reach
    the float model as that model would bring them there. Those of the input-configs in `settings` count too.
    tolerance: an error above it is a ModelError that names the first layer that differs. debug: what the
    framework writes on the way goes to the terminal. Raises KnightError.
    """
    converters.get(framework)  # an unknown name is an error here, not in the other process
    for path in (source.model, source.weights):
        _check_kind(path)
    with TemporaryFolder() as folder:
        result = Path(folder, "model.onnx")
        request = Request(
            framework,
            source,
            settings or RunSettings(),
            infer,
            tolerance,
            threads,
            str(result),
            config.input_dtypes,
            config.mean,
            config.std,
        )
        done = _in_own_process(request, Path(folder), listener, debug)
        model = models.load(result)
        _read_weights(model)  # the folder with them is about to go
    proof = done["proof"] or {"error": None, "output": "", "samples": 0, "batches": ()}
    return Converted(
        model=model,
        framework=framework,
        error=proof["error"],
        output=proof["output"],
        samples=proof["samples"],
        batches=tuple(proof["batches"]),
        unproven=done["unproven"],
    )


def name_of(framework: str, source: Source) -> str:
    """The name that results bear: the file's without suffix, the folder's, or the registered function's."""
    path = Path(source.model)
    if path.stem.startswith("__") and path.stem.endswith("__"):  # __model__ says nothing
        return path.resolve().parent.name
    if converters.get(framework).takes_names and not path.suffix:
        return source.model
    return path.name if path.is_dir() else path.stem


def _check_kind(path: str | None) -> None:
    """Raises ModelError for what a framework would wait for: pipes, sockets, devices, also in a folder."""
    inner = [*Path(path).rglob("*")] if path and os.path.isdir(path) else [path] if path else []
    for each in inner:
        if (kind := other_kind(each)) is not None:
            raise ModelError(f"model {each}: {kind}, not a file; name a file")


def check_framework(framework: str, source: Source) -> None:
    """Raises ModelError where the model is no file, or plainly of another framework than `framework`."""
    for name in filter(None, (source.model, source.weights)):
        _check_kind(name)
    path = Path(source.model)
    told = hint(path, framework) if path.exists() else ""
    if told:
        raise ModelError(f"model {path}: is no {converters.get(framework).title} model{told}")


def _read_weights(model: ir.Model) -> None:
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.tensor(tensor.numpy().copy(), name=value.name)


def _in_own_process(request: Request, folder: Path, listener: Listener, debug: bool) -> dict[str, Any]:
    """What the worker answers. Raises the KnightError that it ended with."""
    file = folder / "request.json"
    file.write_text(request.to_json(), "utf-8")
    log = folder / "log"
    with _worker(file, None if debug else log) as (process, events):
        trusted = request.source.script is not None  # a script of the user's may wait as long as it likes
        with nullcontext() if trusted else Idle(process, _idle.SECONDS) as idle:
            answer = _follow(events, listener)
            code = process.wait()
    if idle is not None and idle.ended:
        raise ModelError(
            f"the {converters.get(request.framework).title} converter was asleep for {_idle.SECONDS} s: "
            f"model {request.source.model} waits for what never comes, a queue it may be; export it without"
        )
    if answer is None:
        raise ModelError(_crashed(request.framework, code, log))
    if answer[0] == "error":
        _, kind, message, trace = answer
        if debug:
            listener.detail(trace)
        raise getattr(errors, kind, KnightError)(message)
    done: dict[str, Any] = answer[1]
    return done


@contextmanager
def _worker(request: Path, log: Path | None) -> Iterator[tuple[subprocess.Popen[bytes], IO[str]]]:
    """The running process and the lines that it sends; it never outlives the block."""
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-m",
        "knight.converters._worker",
        str(request),
        str(writing),
        str(os.getpid()),
    ]
    with open(log or os.devnull, "wb") as messages, os.fdopen(reading, encoding="utf-8") as events:
        process = None
        try:
            with undisturbed():
                process = subprocess.Popen(
                    command,
                    pass_fds=[writing],
                    env={**os.environ, "TMPDIR": str(request.parent)},  # what it leaves goes with the folder
                    stdin=subprocess.DEVNULL,
                    stdout=messages if log else None,
                    stderr=subprocess.STDOUT if log else None,
                )
                os.close(writing)
            yield process, events
        finally:
            if process is not None:
                with undisturbed():
                    process.kill()  # nothing, where it has ended
                    process.wait()


def _follow(events: IO[str], listener: Listener) -> Sequence[Any] | None:
    """Hands events to `listener` until the process ends; gives the last word, None where there was none."""
    answer = None
    for line in events:
        kind, *arguments = json.loads(line)
        if kind in ("done", "error"):
            answer = [kind, *arguments]
        else:
            getattr(listener, kind)(*arguments)
    return answer


_ADVICE: dict[int, str] = {
    signal.SIGKILL: "; is there enough memory?",
    signal.SIGXCPU: f" after {CPU_SECONDS} s of processor time, the most that a conversion gets",
}


def _crashed(framework: str, code: int, log: Path) -> str:
    cause = f"was stopped by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    advice = _ADVICE.get(-code, "")
    lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
    said = " | ".join(line.strip() for line in lines[-_LOG_LINES:] if line.strip())
    return f"the {converters.get(framework).title} converter {cause}{advice}" + (
        f"; it said: {said}" if said else ""
    )
