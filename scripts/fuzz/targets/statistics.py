"""Files of statistics (npz)."""

from __future__ import annotations

from pathlib import Path

from knight import scales
from scripts.fuzz.mutators.archives import Archive
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target, written
from scripts.fuzz.targets.scales import prepared


def run(data: bytes, folder: Path) -> None:
    """Of the model of the seeds."""
    scales.load_statistics(written(folder, "statistics.npz", data), prepared()[0])


target = Target(run, Archive({".json": Json()}))
