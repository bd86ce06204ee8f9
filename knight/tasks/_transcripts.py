"""Text out of a speech model's output, by greedy CTC decoding, and how far it is from what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knight.errors import ConfigError, DataError
from knight.files import content
from knight.json_keys import decoded, parsed

SPACES = ("|", "▁", "<space>")
"""Symbols that stand for the blank between words."""


@dataclass(frozen=True)
class Alphabet:
    """symbols: what each number of a frame stands for, with or without the CTC blank. blank: its index in a
    frame, from the end where it is negative. where: the place of the configuration that says so.
    """

    symbols: tuple[str, ...]
    blank: int = 0
    where: str = "vocabulary"

    def text(self, frames: np.ndarray) -> str:
        """What scores [T, V] say: the best symbol of each frame, repeats taken once, blanks left out."""
        width = frames.shape[1]
        blank = self.blank + width if self.blank < 0 else self.blank
        symbols = list(self.symbols)
        if len(symbols) == width - 1:
            symbols.insert(blank, "")
        best = np.argmax(frames, axis=1)
        new = np.concatenate([[True], best[1:] != best[:-1]]) if len(best) else np.zeros(0, bool)
        found = [symbols[index] for index in best[new & (best != blank)]]
        return words_of("".join(" " if symbol in SPACES else symbol.replace("▁", " ") for symbol in found))

    def frames(self, output: np.ndarray, batch: int) -> np.ndarray:
        """[B, T, V] of an output [B, T, V], [T, B, V] or [B, V, T], or without B where that is 1.

        The axis of V is the last one, or else the second, that has as many numbers as there are symbols, or
        one more for the blank. Raises DataError where there is none.
        """
        shown = "x".join(map(str, output.shape))
        if output.ndim == 2 and batch == 1:
            output = output[None]
        sizes = (len(self.symbols), len(self.symbols) + 1)
        if output.ndim == 3 and batch in output.shape:
            if output.shape[2] not in sizes and output.shape[1] in sizes:
                output = output.transpose(0, 2, 1)
            if output.shape[2] in sizes:
                output = output if output.shape[0] == batch else output.transpose(1, 0, 2)
                if output.shape[0] == batch:
                    return self._checked(output)
        raise DataError(
            f"the output is {shown} for {batch} sample(s); {self.where} has {sizes[0]} symbols, so it should "
            f"be {batch}xTx{sizes[0]}, or {sizes[1]} with the blank, in any order of axes"
        )

    def _checked(self, frames: np.ndarray) -> np.ndarray:
        if not -frames.shape[2] <= self.blank < frames.shape[2]:
            raise ConfigError(
                f"blank is {self.blank}, but a frame of the output has numbers 0 to {frames.shape[2] - 1}"
            )
        return frames


def words_of(text: str) -> str:
    """`text` with one blank between words."""
    return " ".join(text.split())


def read_vocabulary(value: str | Sequence[str], where: str) -> tuple[str, ...]:
    """The symbols in order: a list, a file with one a line, or a JSON file of a list or of symbol -> index.

    Raises DataError, which names the file, and ConfigError for a list of no symbols.
    """
    if not isinstance(value, str):
        symbols = tuple(value)
    else:
        path = Path(value)
        where = str(path)
        try:
            text = decoded(content(path), f"{where}: ", DataError)
        except OSError as error:
            raise DataError(f"{path}: the vocabulary cannot be read: {error.strerror}") from error
        if path.suffix.lower() == ".json":
            symbols = _from_json(text, where)
        else:
            lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
            symbols = tuple(line if line == " " else line.rstrip(" \t") or " " for line in lines)
    if len(symbols) < 2:
        raise ConfigError(f"{where}: {len(symbols)} symbol(s); a vocabulary has two or more")
    return symbols


def _from_json(text: str, where: str) -> tuple[str, ...]:
    found = parsed(text, f"{where}: ", DataError)
    if isinstance(found, Mapping):
        if sorted(map(str, found.values())) != sorted(map(str, range(len(found)))):
            raise DataError(f"{where}: the numbers of its {len(found)} symbols are not 0 to {len(found) - 1}")
        return tuple(sorted(found, key=lambda symbol: int(found[symbol])))
    if not isinstance(found, list) or not all(isinstance(symbol, str) for symbol in found):
        raise DataError(f"{where}: has to be a list of symbols, or an object of symbols and their numbers")
    return tuple(found)


def edit_distance(truth: Sequence[str], found: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements that make `found` of `truth` (Levenshtein)."""
    row = list(range(len(found) + 1))
    for number, wanted in enumerate(truth, 1):
        before, row[0] = row[0], number
        for place, got in enumerate(found, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (wanted != got))
    return row[-1]


def error_rates(truths: Sequence[str], founds: Sequence[str]) -> tuple[float, float, int]:
    """(word error rate, character error rate, words) over all samples together.

    Both are edit distances over lengths of what was said; blanks between words count as characters. There
    has to be a word in `truths`.
    """
    pairs = list(zip(map(words_of, truths), map(words_of, founds), strict=True))
    words = sum(len(truth.split()) for truth, _ in pairs)
    wrong = sum(edit_distance(truth.split(), found.split()) for truth, found in pairs)
    off = sum(edit_distance(truth, found) for truth, found in pairs)
    return wrong / words, off / sum(len(truth) for truth, _ in pairs), words
