"""The file that a shipped classifier is: tables of numbers in safetensors, checked when they are read, no pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from apl_bench.oracles.fluency import Association, Penalty
from apl_bench.oracles.words import FIRST_WORD, Vocabulary

SCORING = 1  # the rules by which code reads these numbers; a change of the rules takes a new number and new files
PENALTIES = ("repetition", "incoherence", "unknown", "odd")
ASSOCIATION_STEP = 1 / 32  # nats; associations ship as whole numbers of these

_SHAPES = {
    "scoring": ("int64", "one"),
    "words": ("uint8", "bytes"),
    "association.pairs": ("uint32", "pairs"),
    "association.values": ("int8", "pairs"),
    "association.after": ("float16", "words"),
    "association.before": ("float16", "words"),
    "sentiment.keys": ("uint32", "features"),
    "sentiment.weights": ("float16", "features"),
    "sentiment.scales": ("float16", "features"),
    "sentiment.intercept": ("float64", "one"),
    "sentiment.limit": ("float64", "one"),
    **{f"penalty.{name}": ("float64", "three") for name in PENALTIES},
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A classifier's numbers, ready to look up; `sha256` is the file's."""

    vocabulary: Vocabulary
    association: Association
    sentiment: Mapping[int, tuple[float, float]]
    intercept: float
    limit: float
    penalties: Mapping[str, Penalty]
    sha256: str


def write_weights(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a classifier's tensors (see _SHAPES); equal tensors give equal bytes. ValueError if unreadable."""
    data = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
    parse_weights(data, str(path))
    path.write_bytes(data)


def read_weights(path: Path) -> Weights:
    """The classifier in a file. ValueError says what is wrong with it and how to make it again."""
    return parse_weights(path.read_bytes(), str(path))


def parse_weights(data: bytes, name: str) -> Weights:
    """The classifier in these bytes; `name` is for errors."""
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise _bad(name, f"not safetensors ({error})") from None
    _check(tensors, name)
    words = tensors["words"].tobytes().decode().split("\n")
    keys, weights, scales = (tensors[f"sentiment.{part}"].tolist() for part in ("keys", "weights", "scales"))
    pairs = dict(
        zip(
            tensors["association.pairs"].tolist(),
            (tensors["association.values"] * ASSOCIATION_STEP).tolist(),
            strict=True,
        )
    )
    return Weights(
        vocabulary=Vocabulary.of(words),
        association=Association(pairs, tensors["association.after"].tolist(), tensors["association.before"].tolist()),
        sentiment=dict(zip(keys, zip(weights, scales, strict=True), strict=True)),
        intercept=float(tensors["sentiment.intercept"][0]),
        limit=float(tensors["sentiment.limit"][0]),
        penalties={part: Penalty(*tensors[f"penalty.{part}"].tolist()) for part in PENALTIES},
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _check(tensors: Mapping[str, np.ndarray], name: str) -> None:
    """Raise ValueError unless the tensors are those of _SHAPES, of sizes that fit together, and finite."""
    if set(tensors) != set(_SHAPES):
        raise _bad(name, f"tensors {sorted(set(tensors) ^ set(_SHAPES))} missing or not known")
    num_words = tensors["words"].tobytes().count(b"\n") + 1 + FIRST_WORD
    sizes: dict[str, int] = {"one": 1, "three": 3, "words": num_words}
    for part, (dtype, axis) in _SHAPES.items():
        array = tensors[part]
        size = sizes.setdefault(axis, array.size)
        if str(array.dtype) != dtype or array.shape != (size,):
            raise _bad(name, f"{part} is {array.dtype}{list(array.shape)}; expected {dtype}[{size}]")
        if not np.isfinite(array).all():
            raise _bad(name, f"{part} holds a number that is not finite")
    if tensors["scoring"][0] != SCORING:
        raise _bad(name, f"scoring rules {tensors['scoring'][0]}; this version reads {SCORING}")


def _bad(name: str, problem: str) -> ValueError:
    return ValueError(f"{name} is no classifier: {problem}. Make it with: python recipes/classifier.py --out FOLDER")
