"""What to do: the remedies of single layers put together, and mixed precision tried out on a few samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from knight.compare.comparison import Layer, Remedy
from knight.compare.pairing import Pairing
from knight.compare.trial import Trial
from knight.compare.weights import Constants

_SHARE = 0.1  # of the layers may stay in float
_MOST = 16
_WORTH_DB = 0.5
_NEARLY = 0.7  # fewer layers do when they win this share of what more would


@dataclass(frozen=True)
class Suggestion:
    """remedies, most rewarding first; mixed_precision: entries of a file for -mc, empty where no help."""

    remedies: Sequence[Remedy] = ()
    mixed_precision: Sequence[Mapping[str, Any]] = ()


def suggest(
    layers: Sequence[Layer],
    facts: Mapping[str, Constants],
    pairing: Pairing,
    tried: Sequence[Mapping[str, np.ndarray]],
    threads: int,
    taken: Collection[str] = (),
) -> Suggestion:
    """`facts`: the layers' weights, by output. `tried`: a few samples, by input name; without any, nothing is
    tried out. taken: optimizers that the model was made with.
    """
    remedies = sorted(_by_layer(layers, taken), key=lambda remedy: -(remedy.gain_db or 0.0))
    chosen = _candidates(layers)
    if not tried or not chosen:
        return Suggestion(remedies)
    trial = Trial(pairing, layers, facts, tried, threads)
    now = trial.sqnr([])
    if now is None:
        return Suggestion(remedies)
    few = chosen[: max(1, len(chosen) // 4)]
    sets = [some for one in (few, chosen) for some in (one, trial.with_readers(one))]
    gains = [(trial.sqnr(some) or now) - now for some in sets]
    if max(gains) < _WORTH_DB:
        return Suggestion(remedies)
    enough = [place for place, gain in enumerate(gains) if gain >= _NEARLY * max(gains)]
    best = min(enough, key=lambda place: len(sets[place]))
    some, gain = sets[best], gains[best]
    names = [layer.name for layer in some if layer.name]
    word = "this layer" if len(some) == 1 else f"these {len(some)} layers"
    remedy = Remedy(
        f"float for {word} (--disable-names, or -mc with the file that --save-dir gets): the outputs' SQNR "
        f"rises from {now:.1f} to {now + gain:.1f} dB on {len(tried)} samples",
        tuple(layer.output for layer in some),
        gain,
        measured=True,
    )
    others = [other for other in remedies if other.gain_db or not set(other.layers) <= set(remedy.layers)]
    return Suggestion([remedy, *others], [{"op_names": names, "bitwidth": "float"}])


def _by_layer(layers: Sequence[Layer], taken: Collection[str]) -> list[Remedy]:
    """One remedy for all layers that need the same; none that was `taken` already."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.cause is not None and layer.cause.remedy and layer.cause.optimizer not in taken:
            groups.setdefault(layer.cause.remedy, []).append(layer)
    found = []
    for text, members in groups.items():
        gains = [layer.cause.gain_db for layer in members if layer.cause and layer.cause.gain_db is not None]
        outputs = tuple(layer.output for layer in members)
        found.append(Remedy(text, outputs, max(gains) if gains else None))
    return found


def _candidates(layers: Sequence[Layer]) -> list[Layer]:
    """The layers whose own error is largest, of those that compute something."""
    able = [
        layer
        for layer in layers
        if layer.own_sqnr is not None
        and layer.name
        and (layer.rounding is not None or layer.weights is not None)
    ]
    able.sort(key=lambda layer: layer.own_sqnr or 0.0)
    return able[: max(1, min(_MOST, round(_SHARE * len(able))))]
