"""What runs bought, as rows that TRL trains on: prompt, chosen, rejected, and where each preference comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from apl_bench.comparison import strategy_label
from apl_bench.judging import preference
from apl_bench.objective import preference_probability
from apl_bench.records import Run, label_pairs
from apl_bench.summary import DIGITS
from apl_bench.types import Preference, SpecError, Verdict

Style: TypeAlias = Literal["plain", "conversational"]

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_TEXTS: Mapping[Style, pa.DataType] = {"plain": pa.string(), "conversational": _MESSAGES}
_TOKENS = pa.list_(pa.int64())


@dataclass(frozen=True)
class Column:
    """A column beside the three that TRL reads, and what it holds."""

    name: str
    type: pa.DataType
    meaning: str


PROVENANCE = (
    Column("task", pa.string(), "task of the run"),
    Column("preset", pa.string(), "preset of the run: policy, budget and regime"),
    Column("strategy", pa.string(), "what chose the pair to be labelled, with its parameters"),
    Column("seed", pa.int64(), "seed of the run"),
    Column("step", pa.int64(), "acquisition step that bought the label, from 1"),
    Column("rank", pa.int64(), "place of the pair in the strategy's order within the step, from 0"),
    Column("prompt_id", pa.string(), "the task's id of the prompt"),
    Column("verdict", pa.string(), "the label in the pair's own order: first or second, whichever is `chosen`"),
    Column("swapped", pa.bool_(), "whether the oracle was shown the second completion first"),
    Column("margin", pa.float64(), "r(chosen) - r(rejected), implicit rewards of the policy before it was trained on "
           "this label, in nats; below 0 the label surprised it"),
    Column("probability", pa.float64(), "1 / (1 + exp(-margin)): what that policy gave to the label"),
    Column("p_chosen", pa.float64(), "the oracle's own probability that `chosen` is the better one, null where it "
           "gives none; below .5 where what labels is noisy on purpose"),
    Column("chosen_finished", pa.bool_(), "whether the policy ended `chosen` itself; false: cut at the token limit"),
    Column("rejected_finished", pa.bool_(), "the same of `rejected`"),
    Column("chosen_token_ids", _TOKENS, "`chosen` as the policy generated it, in its own tokens, the end of text that "
           "a finished one has included"),
    Column("rejected_token_ids", _TOKENS, "the same of `rejected`"),
    Column("judgment_keys", pa.list_(pa.string()), "keys of the judgments behind the label, in the run's "
           "judgments.jsonl; empty where the oracle was not asked"),
    Column("run", pa.string(), "identity of the run: sha256 of every setting"),
)  # fmt: skip


@dataclass(frozen=True)
class Acquired:
    """What one run bought: rows of its preferences in the order in which they were bought, and what is no preference.

    `rows` have the plain style; `num_labels` counts all labels, ties and unreadable ones included.
    """

    run: Run
    rows: Sequence[Mapping[str, Any]]
    num_labels: int
    num_ties: int
    num_invalid: int


def acquired(run: Run) -> Acquired:
    """All that a complete run bought."""
    steps = [run.all_step_rows(step) for step in range(1, run.spec.loop.num_steps + 1)]
    verdicts = [Verdict(row["verdict"]) for rows in steps for row in rows if row["kind"] == "label"]
    rows = [row for step, found in enumerate(steps, start=1) for row in _rows(run, step, found)]
    return Acquired(run, rows, len(verdicts), verdicts.count(Verdict.TIE), verdicts.count(Verdict.INVALID))


def _rows(run: Run, step: int, recorded: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    labels = [row for row in recorded if row["kind"] == "label"]
    for label, pair in zip(labels, label_pairs(recorded), strict=True):
        bought = preference(pair, Verdict(label["verdict"]), step)
        if bought is not None:
            _require_unicode(run, bought)
            yield {**_texts(bought), **_provenance(run, label, bought)}


def _texts(bought: Preference) -> dict[str, str]:
    return {"prompt": bought.prompt.text, "chosen": bought.chosen.text, "rejected": bought.rejected.text}


def _provenance(run: Run, label: Mapping[str, Any], bought: Preference) -> dict[str, Any]:
    """The columns of PROVENANCE."""
    spec, is_first = run.spec, label["verdict"] == Verdict.FIRST.value
    margin, p_first = (label["margin"] if is_first else -label["margin"]), label["p_first"]
    return {
        "task": spec.task.name,
        "preset": spec.preset,
        "strategy": strategy_label(spec),
        "seed": spec.seed,
        "step": bought.step,
        "rank": label["rank"],
        "prompt_id": bought.prompt.id,
        "verdict": label["verdict"],
        "swapped": label["swapped"],
        "margin": float(margin) + 0.0,  # no minus sign before a zero
        "probability": round(float(preference_probability(margin, 0.0)), DIGITS),
        "p_chosen": p_first if p_first is None or is_first else 1 - p_first,
        "chosen_finished": bought.chosen.finished,
        "rejected_finished": bought.rejected.finished,
        "chosen_token_ids": list(bought.chosen.token_ids),
        "rejected_token_ids": list(bought.rejected.token_ids),
        "judgment_keys": list(label["keys"]),
        "run": spec.identity,
    }


def _require_unicode(run: Run, bought: Preference) -> None:
    """Raise SpecError for a text that no file can hold: half of a surrogate pair, which no tokenizer decodes to."""
    for name, text in _texts(bought).items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            where = f"{run.path}, step {bought.step}: the {name} for {bought.prompt.id}"
            raise SpecError(f"{where} is no Unicode text ({error.reason} at {error.start}); the run was changed after "
                            "it was written") from None  # fmt: skip


def styled(row: Mapping[str, Any], style: Style) -> dict[str, Any]:
    """A row in a style: texts as they are, or each as the one message of a user (prompt) or an assistant."""
    if style == "plain":
        return dict(row)
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {**row, **{name: [{"role": role, "content": row[name]}] for name, role in roles.items()}}


def schema(style: Style) -> pa.Schema:
    """The columns and their types."""
    texts = [(name, _TEXTS[style]) for name in ("prompt", "chosen", "rejected")]
    return pa.schema([*texts, *((column.name, column.type) for column in PROVENANCE)])
