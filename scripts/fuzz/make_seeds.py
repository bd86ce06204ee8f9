"""Writes the seeds: small files of every kind that a target reads. ``python scripts/fuzz/make_seeds.py``

Those of a framework that is not installed are left as they are.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)

from scripts.fuzz import _framework_seeds, _onnx_seeds, _seeds  # noqa: E402
from scripts.fuzz.targets import SEEDS  # noqa: E402


def main() -> None:
    """Every seed that can be made here."""
    for module in (_onnx_seeds, _framework_seeds, _seeds):
        for name, (needs, make) in module.SEEDS.items():
            if needs and importlib.util.find_spec(needs) is None:
                print(f"{name}: left as it is, since {needs} is not installed")
                continue
            path = SEEDS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make())


if __name__ == "__main__":
    main()
