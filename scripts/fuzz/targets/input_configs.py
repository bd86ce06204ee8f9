"""Files of --input-configs, as every ready-made infer function reads them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from knight.cli._inputs import input_configs
from knight.tasks import infer_audio, infer_default, infer_segmentation, infer_super_resolution
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target, each, written

_READERS = (
    infer_audio._read,
    infer_default.read_inputs,
    infer_segmentation.read_inputs,
    infer_super_resolution.read_inputs,
)


def run(data: bytes, folder: Path) -> None:
    """By all readers, one after the other."""
    entries = input_configs(str(written(folder, "inputs.json", data)))
    each(*(partial(read, entries) for read in _READERS))


target = Target(run, Json())
