"""Fuzzes the readers of files (see README.md): ``python scripts/fuzz/run.py [TARGET...] --seconds N``."""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # `scripts.fuzz` is found from there, and nothing by the names of files here

from knight.converters._sandbox import die_with_parent  # noqa: E402
from scripts.fuzz import _atheris, targets  # noqa: E402
from scripts.fuzz._driver import Found, Fuzzer  # noqa: E402
from scripts.fuzz._process import Worker  # noqa: E402


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(
        description="fuzz the readers of files; exits with 1 where it finds something"
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(targets.names())}; default: all"
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default 60)")
    parser.add_argument("--inputs", type=int, help="for each target, instead of seconds; of our own engine")
    parser.add_argument("--seed", type=int, default=0, help="of the changes (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="groups of targets at a time (default 1)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/fuzz"), help="folder for findings and kept inputs"
    )
    parser.add_argument(
        "--limit", type=float, default=20, help="CPU seconds that an input may take (default 20)"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one TARGET on this file, and tell")
    parser.add_argument("--engine", choices=("own", "atheris"), help="default: atheris where it is installed")
    found = parser.parse_args(words)
    if found.engine is None:
        found.engine = "own" if found.inputs or find_spec("atheris") is None else "atheris"
    unknown = sorted(set(found.targets) - set(targets.names()))
    if unknown or (found.replay and len(found.targets) != 1):
        parser.error(f"no target {unknown[0]!r}" if unknown else "--replay goes with one target")
    return found


def fuzz(names: Sequence[str], asked: argparse.Namespace) -> list[Found]:
    """Targets that need the same packages, one after the other in one worker; none where one is missing."""
    missing = [module for module in targets.load(names[0]).modules if find_spec(module) is None]
    if missing:
        print(f"{', '.join(names)}: left out, since {' and '.join(missing)} is not installed")
        return []
    enough = asked.inputs

    def more(found: Found) -> bool:
        return found.inputs < enough if enough else found.seconds < asked.seconds

    if asked.engine == "own":
        with Worker(asked.limit) as worker:
            return [Fuzzer(name, worker, asked.seed, asked.out).run(more) for name in names]
    return [_by_atheris(name, asked) for name in names]


def _by_atheris(name: str, asked: argparse.Namespace) -> Found:
    inputs = _atheris.fuzz(name, asked.seconds, asked.seed, asked.out, asked.limit)
    with Worker(asked.limit) as worker:
        found = Fuzzer(name, worker, asked.seed, asked.out).run(lambda found: False)
    found.inputs += inputs
    found.seconds += asked.seconds
    return found


def groups(names: Sequence[str]) -> list[list[str]]:
    """The targets by the packages that they need: some of these bring each other down in one process."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        found.setdefault(targets.load(name).modules, []).append(name)
    return list(found.values())


def table(results: Sequence[Found]) -> str:
    """What came of all targets."""
    head = ("target", "inputs", "refused", "CPU s", "inputs/s", "lines", "kept", "findings")
    rows = [head]
    for one in results:
        rate = one.inputs / max(one.seconds, 0.001)
        figures = (one.inputs, one.refused, f"{one.cpu:.0f}", f"{rate:.1f}", len(one.lines), one.kept)
        rows.append((one.target, *map(str, figures), str(len(one.findings))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    for one in results:
        lines += [f"{one.target}: {times} x {what}" for what, times in one.times.most_common()]
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Prints the table; 1 where there is a finding."""
    asked = arguments(words)
    if asked.replay:
        with Worker(asked.limit) as worker:
            outcome = worker.run(asked.targets[0], asked.replay.read_bytes()).outcome
        print(f"{outcome.kind or 'fine'} {outcome.where}\n{outcome.text}")
        return bool(outcome.kind)
    together = groups(asked.targets or targets.names())
    with get_context("spawn").Pool(asked.workers, die_with_parent, maxtasksperchild=1) as pool:
        results = pool.starmap(fuzz, [(names, asked) for names in together], chunksize=1)
    found = [one for group in results for one in group]
    print(table(found))
    usage = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"{sum(one.ru_utime + one.ru_stime for one in usage):.0f} CPU seconds in all")
    return any(one.findings for one in found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
