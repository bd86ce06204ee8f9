"""A folder of pictures for the readers of labels."""

from __future__ import annotations

from pathlib import Path

SIZE = (12, 16)
"""(height, width)"""


def pictures(folder: Path) -> list[Path]:
    """Three files that readers of labels never open."""
    place = folder / "pictures"
    place.mkdir()
    found = [place / name for name in ("a.png", "b b.jpg", "c.png")]
    for path in found:
        path.touch()
    return found
