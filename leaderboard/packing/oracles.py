"""Oracles as far as a reader of records needs them: what they are asked is built anew, and nobody is asked anything.

Local oracles that ship and are cheap answer anew; all others read what is recorded. None loads a model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import ClassVar

from apl_bench.judgments.keys import canonical
from apl_bench.oracles.classifier import Classifier
from apl_bench.oracles.scores import Scored, answer_of, read_margin, shown_texts
from apl_bench.protocols import Oracle
from apl_bench.spec import PluginSpec
from apl_bench.types import JSON, Comparison, Reading, Reply, SpecError
from apl_bench.wrapping import Wrapped, create_oracle

CHEAP = ("classifier", "lexicon", "simulated", "summary")  # local, shipped, and fast: they may be asked again
NEED_A_MODEL = ("hf",)
MAX_WRAPPERS = 4
MAX_REMEMBERED = 2**13  # texts, of about a kilobyte with their scores
MAX_ANSWERS = 64  # behind one verdict
_TEXTS = ("k", "kind", "prompt", "first", "second", "repeat")


class Framed(Oracle):
    """A model that is not loaded: its requests are those that were recorded, with the texts in their places."""

    summary: ClassVar[str] = "a recorded model"
    local: ClassVar[bool] = False

    def __init__(self, frame: Mapping[str, JSON]) -> None:
        self._frame = dict(frame)

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """All that the model was told of beside the texts, and the texts as shown."""
        return {**self._frame, **shown_texts(comparison)}

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """It cannot be asked: raises TypeError."""
        del comparisons
        raise TypeError("a recorded model answers nothing")

    def read(self, reply: Reply) -> Reading:
        """As every oracle that scores each text by itself."""
        return read_margin(reply)


class Answered(Oracle):
    """An oracle whose replies are there already, in the order in which it is asked."""

    summary: ClassVar[str] = "recorded replies"
    local: ClassVar[bool] = True

    def __init__(self, oracle: Oracle, replies: Iterator[Reply]) -> None:
        self._oracle = oracle
        self._replies = replies

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """What the oracle itself is asked."""
        return self._oracle.request(comparison)

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """The next replies. Raises ValueError where there are no more."""
        replies = [reply for _, reply in zip(comparisons, self._replies, strict=False)]
        if len(replies) != len(comparisons):
            raise ValueError("there are fewer replies than questions")
        return replies

    def read(self, reply: Reply) -> Reading:
        """As the oracle itself."""
        return self._oracle.read(reply)


class Remembering(Oracle):
    """The classifier, each text scored once: opponents stand in every waypoint of every strategy of a seed."""

    summary: ClassVar[str] = "the classifier, with a memory"
    local: ClassVar[bool] = True

    def __init__(self, oracle: Classifier) -> None:
        self._oracle = oracle

    def request(self, comparison: Comparison) -> Mapping[str, JSON]:
        """What the classifier is asked."""
        return self._oracle.request(comparison)

    def ask(self, comparisons: Sequence[Comparison]) -> list[Reply]:
        """What the classifier answers, in its own words."""
        return [self._reply(comparison) for comparison in comparisons]

    def read(self, reply: Reply) -> Reading:
        """As the classifier."""
        return self._oracle.read(reply)

    def _reply(self, comparison: Comparison) -> Reply:
        model = str(self._oracle.request(comparison)["model"])
        scores = (_scored(self._oracle, model, comparison.pair.prompt.text + text) for text in comparison.shown)
        return Reply(raw=canonical(answer_of(*scores)).decode(), model=model)  # the same bytes, several times as fast


_scores: OrderedDict[tuple[str, str], Scored] = OrderedDict()  # by model, with its checksum, and text


def _scored(oracle: Classifier, model: str, text: str) -> Scored:
    found = _scores.get((model, text))
    if found is None:
        score = oracle.explain(text)
        found = _scores[model, text] = Scored(score.total, asdict(score))
        if len(_scores) > MAX_REMEMBERED:
            _scores.popitem(last=False)
    _scores.move_to_end((model, text))
    return found


def frame_of(plugin: PluginSpec, request: Mapping[str, JSON] | None) -> Mapping[str, JSON] | None:
    """What a recorded request says beside the texts, for an oracle that needs a model; None for every other."""
    if plugin.name not in NEED_A_MODEL or request is None:
        return None
    return {name: value for name, value in request.items() if name not in _TEXTS}


def offline(plugin: PluginSpec, frame: Mapping[str, JSON] | None) -> Wrapped:
    """The oracle that a spec names with its wrappers, and no model. Raises SpecError for what nobody would run."""
    if len(plugin.wrappers) > MAX_WRAPPERS:
        raise SpecError(f"{len(plugin.wrappers)} wrappers stand around an oracle; expected at most {MAX_WRAPPERS}")
    num_answers = 2
    for wrapper in plugin.wrappers:
        num = wrapper.params.get("num", 2)
        num_answers *= num if type(num) is int and num > 0 else 1
    if num_answers > MAX_ANSWERS:
        raise SpecError(f"up to {num_answers} answers stand behind one verdict; expected at most {MAX_ANSWERS}")
    if plugin.name not in NEED_A_MODEL:
        found = create_oracle(plugin)
        if isinstance(found.oracle, Classifier):
            return Wrapped(Remembering(found.oracle), found.wrappers)
        return found
    inner = create_oracle(replace(plugin, name="simulated", params=_ANY))
    return Wrapped(Framed(frame or {}), inner.wrappers)


_ANY: Mapping[str, JSON] = {"reward": "length", "temperature": 1.0, "tie_margin": 0.0, "position_bias": 0.0,
                            "invalid_rate": 0.0, "seed": 0}  # fmt: skip
