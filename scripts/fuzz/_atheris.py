"""Inputs by libFuzzer, which atheris guides by the branches of Knight; with our mutators, targets and judge.

It runs in a process of its own, ``_atheris.py TARGET FOLDER FLAG...``, which ends with every crash and is
started again until the time is over. What it keeps and what it suspects is run once more by `_driver`, which
counts lines and makes findings small.
(https://github.com/google/atheris)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent.parent
_COUNT, _CURRENT = "inputs", "current"  # a file with a byte for each input, and one with the last input


def fuzz(target: str, seconds: float, seed: int, out: Path, limit: float) -> int:
    """Fills ``kept`` and ``suspects`` of the target below `out`; gives the number of inputs.

    limit: seconds that an input may take; by the clock several times that, as elsewhere.
    """
    from scripts.fuzz import targets
    from scripts.fuzz._driver import digest
    from scripts.fuzz._process import STARTING, WALL

    folder = out / target
    for name in ("kept", "suspects"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    count = folder / _COUNT
    count.write_bytes(b"")
    seeds = targets.SEEDS / (targets.load(target).seeds or target)
    end, again = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 1:
        flags = [f"-max_total_time={max(1, int(left))}", f"-seed={seed + again + 1}", "-rss_limit_mb=0"]
        flags += [f"-timeout={max(1, int(WALL * limit))}", "-artifact_prefix=/dev/null/", "-max_len=65536"]
        command = [sys.executable, str(Path(__file__)), target, str(folder), *flags, str(folder / "kept")]
        if _ends_well([*command, str(seeds)], left + STARTING + 2 * WALL * limit):
            break  # libFuzzer's own time begins behind the imports
        if (folder / _CURRENT).exists():
            data = (folder / _CURRENT).read_bytes()
            (folder / "suspects" / digest(data)).write_bytes(data)
        again += 1
    return count.stat().st_size


def _ends_well(command: list[str], seconds: float) -> bool:
    """Whether the process ends by itself, and not by a crash; libFuzzer's own alarm may wait for a lock."""
    try:
        return not subprocess.run(command, check=False, capture_output=True, timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        return False


def main(target_name: str, folder: Path, flags: list[str]) -> None:
    """One process of libFuzzer; it never returns."""
    import atheris

    with atheris.instrument_imports(include=["knight"], enable_loader_override=False):
        from scripts.fuzz import _judge, targets
        from scripts.fuzz._driver import digest
        from scripts.fuzz._worker import limit_memory, without_limit

        target, seeds, seen = targets.load(target_name), targets.seeds(target_name), set[str]()

        def one(data: bytes) -> None:
            (folder / _CURRENT).write_bytes(data)
            with (folder / _COUNT).open("ab") as count:
                count.write(b".")
            with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
                limit_memory()
                try:
                    outcome = _judge.judged(lambda: target.run(data, Path(place)), model=target.model)
                finally:
                    without_limit()
            if outcome.kind and outcome.signature not in seen:
                seen.add(outcome.signature)
                (folder / "suspects" / digest(data)).write_bytes(data)

        def mutated(data: bytes, most: int, seed: int) -> bytes:
            found = target.mutator.mutate(data or seeds[0], [data or seeds[0], *seeds], Random(seed))
            return found if len(found) <= most else data

        atheris.Setup(["fuzz", *flags], one, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
