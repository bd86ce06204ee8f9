"""Dumps every paired value of a float and a quantized model, sample by sample, for a later comparison."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx_ir as ir

from knight.compare.dump import DumpWriter, Entry
from knight.compare.graph import Graph
from knight.compare.layerwise import Row, Runner, rows_of
from knight.compare.lowering import lower
from knight.compare.models import forms
from knight.compare.pairing import pair
from knight.executor import Executor, InferFunction, RunSettings, call_infer
from knight.listener import SILENT, Listener
from knight.runner import available_threads


def dump_models(
    reference: ir.Model,
    result: ir.Model,
    infer: InferFunction,
    settings: RunSettings,
    folder: Path,
    *,
    limit: int,
    threads: int = 5,
    listener: Listener = SILENT,
) -> tuple[int, int]:
    """Writes ``folder/float``, ``folder/quant``, ``folder/dump.json``; gives the numbers of layers and calls.

    limit: bytes that the dump may take. An earlier dump stays until the new one is whole. Raises OutputError
    where nothing fits or the disk refuses, and KnightError as infer functions do.
    """
    threads = available_threads(threads)
    pairing = pair(forms(reference), Graph(lower(result).model))
    rows = rows_of(pairing, result)
    seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def watch(row: Row, wanted: np.ndarray, got: np.ndarray) -> None:
        seen[id(row)] = wanted.copy(), got.copy()

    runner = Runner(pairing, result, rows, threads=threads, watch=watch, measure=False)
    outputs = [value.name or "" for value in pairing.reference.graph.outputs]
    with ExitStack() as stack:
        stack.callback(runner.close)
        writers: list[DumpWriter] = []  # made with the first call, which tells what a dump takes

        def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen.clear()
            wanted, _ = runner.feed(feeds)
            kept = [row for row in rows if id(row) in seen]
            if not writers:
                entries = [_entry(row, outputs) for row in kept]
                writers.append(
                    stack.enter_context(DumpWriter(folder, entries, limit=limit, listener=listener))
                )
                size = sum(array.nbytes for arrays in seen.values() for array in arrays)
                writers[0].announce(max(1, settings.iteration), size)
            writers[0].put(*zip(*(seen[id(row)] for row in kept), strict=True))
            return [wanted[name] for name in outputs]

        executor = Executor(
            forward, runner.plain.inputs, outputs, settings, model=pairing.reference.model, listener=listener
        )
        call_infer(infer, executor)
    return len(rows), writers[0].calls


def _entry(row: Row, outputs: Sequence[str]) -> Entry:
    main, name = row.unit.main, row.twin.name or ""
    return Entry(
        op_type=row.op_type,
        op_name=name if main is None else main.name or name,
        output=name,
        quantized_output=row.tapped,
        model_output=name in outputs,
    )
