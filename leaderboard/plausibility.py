"""Level 4, of one run: nothing here is a failure. What a person should look at, with the numbers that say why."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from apl_bench.asking.prices import Usage
from apl_bench.health.phrases import phrases_in
from apl_bench.leaderboard.findings import Finding, shown
from apl_bench.leaderboard.inspection import Inspected
from apl_bench.leaderboard.packing.oracles import CHEAP
from apl_bench.replay import is_built_in
from apl_bench.reselection import is_checked
from apl_bench.summary import tally

MIN_DISTINCT = 0.5  # of the completions of a waypoint
MAX_COMMON = 0.2  # of them that are one and the same
MAX_COPIED = 0.05
MAX_PHRASES = 0.005  # of texts that address a judge
LONG_REPLY = 80  # letters: shorter ones are often the same
TOKEN_LETTERS = (1.0, 12.0)  # letters of a request for each token that a provider counted
MAX_Z = 5.0  # standard errors of the share of first-shown wins
MAX_THETA_0 = 0.05  # nats: mean distance of the policy from theta_0 before a label was bought
_LOOK = "look at the texts and at what the card says of it"


def plausibility_flags(run: Inspected) -> Iterator[Finding]:
    """What a person should look at in a run."""
    for num_labels in run.waypoints:
        yield from _constant(run, num_labels)
    yield from _phrases(run)
    yield from _copied(run)
    yield from _position(run)
    yield from _theta_0(run)
    yield from _replies(run)
    yield from _clock(run)
    yield from _near_duplicates(run)
    if not all(is_checked(rows, is_built_in(run.run)) for rows in run.steps.values()):
        yield Finding("V414", run.place("steps"), "its strategy records no scores: what it bought cannot be checked",
                      "look at the strategy's own description")  # fmt: skip


def _constant(run: Inspected, num_labels: int) -> Iterator[Finding]:
    texts = [row["policy"]["text"] for row in run.comparisons(num_labels)]
    common, num = Counter(texts).most_common(1)[0]
    place = run.place(f"waypoints/{num_labels:04d}.jsonl")
    if len(texts) >= 10 and (len(set(texts)) < MIN_DISTINCT * len(texts) or num > MAX_COMMON * len(texts)):
        yield Finding("V405", place, f"{len(set(texts))} of {len(texts)} completions differ, and {num} are "
                      f"{shown(common)}: the policy answers with few texts", _LOOK)  # fmt: skip


def _phrases(run: Inspected) -> Iterator[Finding]:
    """Completions that speak to a judge."""
    texts = {row["policy"]["text"]: place for part, place, row in run.judged() if part == "judge"}
    texts |= {one["text"]: f"steps/{step:04d}.jsonl" for step in run.steps for row in run.candidates(step)
              for one in row["completions"]}  # fmt: skip
    found = [(text, place) for text, place in texts.items() if phrases_in(text)]
    if len(found) > MAX_PHRASES * len(texts):
        text, place = found[0]
        yield Finding("V406", run.place(place), f"{len(found)} of {len(texts)} completions address a judge, such as "
                      f"{shown(text)}", _LOOK)  # fmt: skip


def _copied(run: Inspected) -> Iterator[Finding]:
    """Completions that are the opponent's, or what a person wrote after the same prompt."""
    humans = {prompt.id: prompt.human_completion for prompt in run.derived.test} if run.derived else {}
    last = run.spec.loop.waypoints[-1]
    rows = run.comparisons(last)
    copied = [row for row in rows if row["policy"]["text"] == row["opponent"]["text"]
              or row["policy"]["text"].strip() == (humans.get(row["prompt_id"]) or "\0").strip()]  # fmt: skip
    if len(copied) > MAX_COPIED * len(rows):
        yield Finding("V407", run.place(f"waypoints/{last:04d}.jsonl"), f"{len(copied)} of {len(rows)} completions are "
                      "the opponent's or a person's, word for word", _LOOK)  # fmt: skip


def _position(run: Inspected) -> Iterator[Finding]:
    """How often the text shown first won, against one half."""
    for part in ("oracle", "judge"):
        rows = [row for which, _, row in run.judged() if which == part]
        counts = tally(rows)
        decided = counts.wins + counts.losses
        if not decided:
            continue
        share = counts.first_shown_wins / decided
        if abs(share - 0.5) * 2 * math.sqrt(decided) > MAX_Z and abs(share - 0.5) > 0.05:
            yield Finding("V404", run.place("judgments.jsonl"), f"the text that the {part} was shown first won "
                          f"{100 * share:.1f} % of {decided} verdicts", "see apl-bench judge-report")  # fmt: skip


def _theta_0(run: Inspected) -> Iterator[Finding]:
    """Before a label is bought the policy is theta_0, and gives its own completions theta_0's probabilities."""
    rows = run.comparisons(0) if 0 in run.waypoints else []
    apart = [abs(row["policy_logp"] - row["reference_logp"]) for row in rows if row["reference_logp"] is not None]
    if apart and sum(apart) / len(apart) > MAX_THETA_0:
        yield Finding("V417", run.place("waypoints/0000.jsonl"), "the policy at 0 labels is "
                      f"{sum(apart) / len(apart):.3f} nats a completion from theta_0, on average", _LOOK)  # fmt: skip


def _replies(run: Inspected) -> Iterator[Finding]:
    """Replies of a provider: the same long one to several questions, ids that stand twice, counts that cannot be."""
    if run.spec.oracle.name in CHEAP and run.spec.judge.name in CHEAP:
        return
    place, records = run.place("judgments.jsonl"), list(run.records.values())
    long = [record.reply.raw for record in records if len(record.reply.raw) >= LONG_REPLY
            and record.request.get("provider") != "apl-bench"]  # fmt: skip
    if len(long) - len(set(long)) > 0.02 * len(long):
        yield Finding("V401", place, f"{len(long) - len(set(long))} of {len(long)} long replies repeat another's, word "
                      "for word", "see the replies in the report")  # fmt: skip
    ids = [record.reply.response_id for record in records if record.reply.response_id]
    if len(ids) != len(set(ids)):
        yield Finding("V402", place, f"{len(ids) - len(set(ids))} response ids stand twice: a provider gives each once",
                      "ask for the provider's own log")  # fmt: skip
    yield from _token_counts(place, records)


def _token_counts(place: str, records: Sequence[Any]) -> Iterator[Finding]:
    odd = []
    for record in records:
        tokens = Usage.of(record.reply.usage).input_tokens
        letters = sum(len(text) for text in _texts(record.request))
        if tokens and not TOKEN_LETTERS[0] <= letters / tokens <= TOKEN_LETTERS[1]:
            odd.append((letters, tokens))
    if odd:
        letters, tokens = odd[0]
        yield Finding("V403", place, f"{len(odd)} of {len(records)} requests have counts of tokens that their texts do "
                      f"not have, such as {tokens} of {letters} letters", "ask for the provider's own log")  # fmt: skip


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _near_duplicates(run: Inspected) -> Iterator[Finding]:
    """Training prompts that are test prompts but for case and marks, where nobody knows the data's own prompts."""
    if run.derived is not None:
        return
    test = {_words(row["prompt"]) for row in run.comparisons(run.spec.loop.waypoints[0])}
    near = {row["prompt"] for step in run.steps for row in run.candidates(step) if _words(row["prompt"]) in test}
    if near:
        yield Finding("V413", run.place("steps"), f"{len(near)} training prompts are test prompts but for case, marks: "
                      f"{shown(min(near))}", "see how the data were split")  # fmt: skip


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _clock(run: Inspected) -> Iterator[Finding]:
    """Events in the order of time, with seconds that fit between them."""
    times = [event.get("time") for event in run.events]
    told = [moment for moment in times if isinstance(moment, (int, float))]
    if len(told) != len(times) or told != sorted(told):
        yield Finding("V411", run.place("events.jsonl"), "its events do not stand in the order of their times", _LOOK)
