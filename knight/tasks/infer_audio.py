"""Audio and other arrays: accuracy or word error rate over .npy or .bin files, one per sample.

``input-configs`` has one entry. data_dir: the files of a model that reads one input; for one that reads
several, a folder per input with its name, files of one sample having the same stem. labels.txt in label_dir
or data_dir: lines "file class" or, with a vocabulary, "file<TAB>text"; without it the float model's answers
become the labels. Further keys, all optional: vocabulary (a list of symbols, or a file with one a line or of
JSON: text by greedy CTC decoding), blank (the index of CTC's blank, 0; -1 is the last), names (of classes,
where labels have these), threshold (makes classes 0 and 1 of one number), zeros (inputs that are fed zeros,
such as a recurrent state), constants (inputs that are fed a number), output (a name), calculate_acc (true).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from knight.errors import DataError
from knight.executor import Executor
from knight.schema import wants
from knight.tasks._config import InputConfig, Source
from knight.tasks._entry import WHERE, label_folder, output_of, read_entry, without_nan
from knight.tasks._named_labels import class_of, read_labels
from knight.tasks._own_labels import check_place, is_own, place_of, say_none, write
from knight.tasks._samples import Sample, feeder, find_samples
from knight.tasks._transcripts import Alphabet, error_rates, read_vocabulary
from knight.tasks._values import Names, Number

_FILE = "labels.txt"


class Entry(Source, frozen=True):
    """The keys of the entry."""

    reader: ClassVar[str] = "infer_audio"

    vocabulary: Annotated[str | tuple[str, ...], wants("a list of names, or a file of them")] | None = None
    blank: int = Alphabet.blank
    names: Names = ()
    threshold: Number | None = None
    zeros: Names = ()
    constants: Annotated[dict[str, Number], wants("an object of names and numbers")] = msgspec.field(
        default_factory=dict
    )
    output: str | None = None


@dataclass(frozen=True)
class Audio:
    """The entry, checked. alphabet: what there is of speech; None for classes."""

    source: InputConfig
    alphabet: Alphabet | None = None
    names: tuple[str, ...] = ()
    threshold: float | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    output: str | None = None


def infer(executor: Executor) -> float | None:
    """Top-1 accuracy as a fraction or, with a vocabulary, 1 - WER; WER and CER are said as well.

    None with `calculate_acc` false, and where a quantized model has no labels to be measured against.
    """
    how = _read(executor.input_configs_dict)
    feed = feeder(executor, how.constants, f"{WHERE}.zeros or constants")
    fed = [name for name in executor.input_nodes if name not in how.constants]
    samples = find_samples(Path(how.source.data_dir), fed)
    batch = feed.batch(samples[0])
    samples = samples[: executor.iteration * batch]
    file = _label_file(executor, how.source) if how.source.measure else None
    truth = _truth(file, samples, how) if file else None
    if how.source.measure and truth is None and executor.is_float:
        check_place(place_of(how.source))  # before the long way through the samples
    place = output_of(executor, how.output)
    answers: dict[str, str] = {}
    for group, arrays in feed.batches(samples, batch):
        output = np.asarray(executor.forward(*arrays)[place])
        if how.source.measure:
            without_nan(output, group[0].name)
            answers.update(_answers(how, group, output, batch, truth or {}))
        elif executor.early_stop_flag:
            break
    if not how.source.measure:
        return None
    if truth is not None and file is not None:
        return _measured(executor, how, truth, answers, file)
    if executor.is_float:
        return _become_labels(executor, how, answers)
    say_none(executor, how.source)
    return None


def _read(entries: Sequence[Mapping[str, Any]]) -> Audio:
    entry = read_entry(entries, Entry)
    alphabet = None
    if entry.vocabulary is not None:
        where = f"{WHERE}.vocabulary"
        alphabet = Alphabet(read_vocabulary(entry.vocabulary, where), entry.blank, where)
    return Audio(
        source=entry.source,
        alphabet=alphabet,
        names=entry.names,
        threshold=entry.threshold,
        constants={**dict.fromkeys(entry.zeros, 0.0), **entry.constants},
        output=entry.output,
    )


def _label_file(executor: Executor, config: InputConfig) -> Path | None:
    """The labels.txt there is; None where the float model's answers are to become it."""
    beside = Path(config.data_dir) / _FILE
    if config.label_dir is None and os.path.lexists(beside):
        return beside
    if config.label_dir is not None and Path(config.label_dir).is_file():
        return Path(config.label_dir)
    folder = label_folder(executor, config)
    if folder is not None and not os.path.lexists(folder / _FILE):
        raise DataError(f"{folder}: no {_FILE} in it, but other things; name its folder, or an empty one")
    return None if folder is None else folder / _FILE


def _truth(file: Path, samples: list[Sample], how: Audio) -> dict[str, str]:
    """Name of each sample -> its text, or its class as a text."""
    found = read_labels(file, samples, texts=how.alphabet is not None)
    if how.alphabet is None:
        return {name: str(class_of(label, where, how.names)) for name, (label, where) in found.items()}
    if not any(text for text, _ in found.values()):
        raise DataError(f"{file}: no words in the texts of these samples, so there is no word error rate")
    return {name: text for name, (text, _) in found.items()}


def _answers(
    how: Audio, group: list[Sample], output: np.ndarray, batch: int, truth: Mapping[str, str]
) -> dict[str, str]:
    """Name of each sample -> the text, or the class as a text."""
    names = [sample.name for sample in group]
    if how.alphabet is not None:
        texts = map(how.alphabet.text, how.alphabet.frames(output, batch))
        return dict(zip(names, texts, strict=False))
    scores = _scores(output, batch, how.threshold)
    for name in names:
        if int(truth.get(name, 0)) >= scores.shape[1]:
            raise DataError(
                f"{name} has class {truth[name]} in {_FILE}; the model has classes 0 to {scores.shape[1] - 1}"
            )
    return dict(zip(names, map(str, np.argmax(scores, axis=1)), strict=False))


def _scores(output: np.ndarray, batch: int, threshold: float | None) -> np.ndarray:
    """[batch, classes]"""
    shown = "x".join(map(str, output.shape))
    if output.size % batch or not output.size or output.shape[:1] != (batch,):
        raise DataError(f"the output is {shown} for {batch} sample(s); a classifier has a row for each")
    scores = output.reshape(batch, -1)
    if threshold is not None and scores.shape[1] == 1:
        return np.concatenate([np.zeros_like(scores), scores - threshold], axis=1)
    if scores.shape[1] < 2:
        raise DataError(
            f"the output is {shown}, one number per sample; the key threshold makes two classes of it"
        )
    return scores


def _measured(
    executor: Executor, how: Audio, truth: Mapping[str, str], answers: dict[str, str], file: Path
) -> float:
    against = " against the float model" if is_own(file.parent) else ""
    if how.alphabet is None:
        right = sum(truth[name] == found for name, found in answers.items())
        executor.say(f"accuracy {right / len(answers):.2%}{against} of {len(answers)} samples")
        return right / len(answers)
    wer, cer, words = error_rates([truth[name] for name in answers], list(answers.values()))
    executor.say(f"WER {wer:.2%}, CER {cer:.2%}{against} of {len(answers)} samples with {words} words")
    return 1 - wer


def _become_labels(executor: Executor, how: Audio, answers: dict[str, str]) -> float:
    place = place_of(how.source)
    write(place, {_FILE: "".join(f"{name}\t{text}\n" for name, text in answers.items())})
    executor.say(f"no labels: the float model's answers are taken for them, kept in {place / _FILE}")
    return 1.0
