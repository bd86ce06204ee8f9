"""How inputs are changed, by their form: bytes, texts, protobuf messages, trees (JSON, TOML), ZIP archives.

A mutator changes an input into one that is likely to be read far, and knows how to make one smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Protocol

LARGEST = 1 << 20
"""Bytes beyond which an input is not made larger."""


class Mutator(Protocol):
    """One form of input."""

    def mutate(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        """`data` with something changed; `others` are inputs to take parts from, never none."""
        ...

    def smaller(self, data: bytes) -> Iterator[bytes]:
        """Inputs like `data` with something left out, the largest parts first."""
        ...
