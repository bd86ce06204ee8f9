"""The process that runs targets on inputs: ``python scripts/fuzz/_worker.py IN OUT LOG`` (see `_driver`).

Each input gets an empty folder, 2 GB of address space beyond what the process has by then, and silence: what
libraries print goes to the log. A crash ends the process; its parent tells which input that was.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent.parent
HEAD = struct.Struct("<II")
"""Bytes of the target's name and of the input, which follow; without an input it is only imported."""
NO_INPUT = (1 << 32) - 1
MEMORY = 2 << 30


def address_space() -> int:
    """Bytes that this process has reserved."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit_memory(more: int = MEMORY) -> None:
    """An end of the address space, `more` bytes from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + more, hard))


def without_limit() -> None:
    """No such end, for what the process does between inputs."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def serve(requests: IO[bytes], answers: IO[str], place: Path) -> None:
    """Answers one line of JSON for each request, until there are no more.

    place: a folder that the parent removes, since this process may end at any time.
    """
    from knight.converters._sandbox import die_with_parent
    from scripts.fuzz._coverage import Coverage
    from scripts.fuzz._judge import Outcome, judged
    from scripts.fuzz.targets import load

    die_with_parent()
    coverage, last = Coverage(ROOT / "knight"), ""
    with tempfile.TemporaryDirectory(dir=place) as own:
        while head := requests.read(HEAD.size):
            name_length, length = HEAD.unpack(head)
            name = requests.read(name_length).decode()
            target = load(name)
            if length == NO_INPUT:
                answers.write("{}\n")
                answers.flush()
                continue
            data = requests.read(length)
            if name != last:
                coverage.forget()
                last = name
            folder = Path(own, "input")
            folder.mkdir()
            os.ftruncate(2, 0)
            limit_memory()
            start = time.process_time()
            coverage.start()
            try:
                outcome: Outcome = judged(lambda: target.run(data, folder), model=target.model)  # noqa: B023
            finally:
                lines = coverage.stop()
                without_limit()
            shutil.rmtree(folder)
            answer: dict[str, Any] = {"outcome": [outcome.kind, outcome.where, outcome.text], "lines": lines}
            answers.write(json.dumps(answer | {"seconds": time.process_time() - start}) + "\n")
            answers.flush()


def main() -> None:
    """Takes over standard output and error, and serves."""
    requests, answers, log = sys.argv[1:]
    descriptor = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(ROOT))
    with os.fdopen(int(requests), "rb") as source, os.fdopen(int(answers), "w") as sink:
        serve(source, sink, Path(log).parent)
    os._exit(0)


if __name__ == "__main__":
    main()
