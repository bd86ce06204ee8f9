"""Whether a change left the quantized models as they were, byte for byte.

    python scripts/bench/bytes.py --write before.json     (on the earlier commit)
    python scripts/bench/bytes.py --against before.json   (on the later one)

Every ONNX model of the kit, by all calibration methods, for four targets, and some runs with other options:
the SHA-256 of each ``_quantize.onnx``. Calibration is on four samples of normal numbers with a fixed seed,
which needs no pictures. Ends with 1 where a result differs or is missing, and names it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kit as development
import numpy as np

import knight
from knight import model as models
from knight.runner import Session

TARGETS = ("onnxruntime", "TX5368AV200", "generic", "tensorrt")
METHODS = ("min_max", "percentile", "mse", "kl", "kl_v2")
OPTIONS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("reduce-range", {"reduce_range": True}),
    ("uint8-input", {"input_dtypes": ("uint8",), "mean": (120.0,), "std": (60.0,)}),
    ("output-dequant", {"output_dequant": True, "target": "TX5368AV200"}),
)
_SAMPLES = 4


def samples(path: Path, dtype: np.dtype | None = None) -> list[dict[str, np.ndarray]]:
    """Four samples for the model in `path`; open dimensions are 1, those of a row of numbers (sound) 512."""
    generator = np.random.default_rng(0)
    inputs = Session(models.load(path)).inputs

    def one(shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        if kind.kind == "f":
            return generator.standard_normal(shape).astype(kind)
        low, high = (0, 256) if kind == np.uint8 else (1, 100)
        if shape == ():
            return np.asarray(16000, kind)  # a sampling rate
        return generator.integers(low, high, shape).astype(kind)

    found = []
    for _ in range(_SAMPLES):
        feeds = {}
        for info in inputs:
            open_size = 512 if len(info.shape) == 2 else 1
            shape = tuple(
                (1, open_size)[place > 0] if dim is None else dim for place, dim in enumerate(info.shape)
            )
            own = np.dtype(info.dtype or "float32")
            feeds[info.name] = one(shape, dtype if dtype is not None and own.kind == "f" else own)
        found.append(feeds)
    return found


def digests(kit: Path) -> Iterator[tuple[str, str]]:
    """(what was made, SHA-256 of its file, or the error that says why there is none)."""
    for path in sorted((kit / "onnx").glob("*.onnx")):
        data = samples(path)
        for target in TARGETS:
            for method in METHODS:
                yield f"{path.stem} {target} {method}", digest(path, data, target=target, method=method)
        for name, options in OPTIONS:
            fed = samples(path, np.dtype("uint8")) if "input_dtypes" in options else data
            yield f"{path.stem} {name}", digest(path, fed, **{"target": "onnxruntime", **options})


def digest(path: Path, data: list[dict[str, np.ndarray]], **options: Any) -> str:
    """SHA-256 of the quantized model's file."""
    try:
        quantized = knight.quantize(path, data, threads=2, **options)
    except knight.KnightError as error:
        return f"error: {error}"
    model, source = quantized.model, models.load(path)
    # Results are signed since; their signature does not count.
    model.producer_name, model.producer_version = source.producer_name, source.producer_version
    model.metadata_props.pop("knight.fingerprint", None)
    return hashlib.sha256(models.to_bytes(model)).hexdigest()


def main() -> None:
    """Writes or compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=development.DEFAULT)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", type=Path, metavar="FILE.json")
    mode.add_argument("--against", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    found = dict(digests(arguments.kit))
    if arguments.write is not None:
        arguments.write.write_text(json.dumps(found, indent=1) + "\n")
        failed = sum(digest.startswith("error") for digest in found.values())
        print(f"{len(found)} results, {failed} of them errors, in {arguments.write}")
        return
    wanted = json.loads(arguments.against.read_text())
    differ = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    for key in differ:
        print(f"differs: {key}: {wanted.get(key)} became {found.get(key)}")
    print(f"{len(wanted) - len(differ)} of {len(wanted)} results are the same to the byte")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
