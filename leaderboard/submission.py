"""A submission as its author states it: submission.json, results.json and the card, validated when they are read.

Nothing here is believed: `apl-bench verify` recomputes what is claimed. All texts are somebody else's: escape them
where they are shown. docs/submissions.md says what each field is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from apl_bench.leaderboard.fields import Fields
from apl_bench.leaderboard.findings import refuse, shown
from apl_bench.leaderboard.strict import MAX_CARD_BYTES, read_json, read_text
from apl_bench.types import JSON, SpecError

if TYPE_CHECKING:
    from apl_bench.statistics import Family

SCHEMA, MANIFEST_SCHEMA = "apl-submission/1", "apl-manifest/1"
COMPARISON_SCHEMA = "apl-comparison/1"
DIVISIONS = ("closed", "open")
SUBMISSION_FILE, RESULTS_FILE, CARD_FILE, MANIFEST_FILE = "submission.json", "results.json", "CARD.md", "MANIFEST.json"
MAX_SUBMISSION_BYTES = 2**20

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST = 10**12  # of what is counted
_FAMILY = ("alpha", "rule", "declared", "hypotheses")


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits; what is not said is empty."""

    name: str
    contact: str
    affiliation: str


@dataclass(frozen=True, slots=True)
class Entrant:
    """A strategy of the submission: its name and parameters, the distribution and version that it came with, and the
    sha256 of the file that its class is in (None: it has none)."""

    name: str
    params: Mapping[str, JSON]
    distribution: str
    version: str
    source_sha256: str | None


@dataclass(frozen=True, slots=True)
class Budget:
    """Labels bought in all and in a step, prompts drawn for a step, and test prompts judged at each waypoint."""

    num_labels: int
    labels_per_step: int
    prompts_per_step: int
    num_test_prompts: int


@dataclass(frozen=True, slots=True)
class Harness:
    """What the runs were made with: version, git commit (None: no checkout), sha256 over its sources, and whether the
    checkout had changes that no commit has."""

    version: str
    commit: str | None
    source_sha256: str
    dirty: bool


@dataclass(frozen=True, slots=True)
class Environment:
    """Where runs were made, and how many of them."""

    num_runs: int
    python: str
    machine: str
    numpy: str
    torch: str
    transformers: str
    device: str
    dtype: str
    num_threads: int


@dataclass(frozen=True, slots=True)
class Costs:
    """Of all runs together, None where runs do not record it; `cost_usd` by list prices."""

    num_runs: int
    num_labels: float | None
    num_judge_calls: float | None
    generated_tokens: float | None
    scored_tokens: float | None
    trained_tokens: float | None
    seconds: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A strategy's win rate at a number of labels, with the two-way standard error (None: one seed or prompt)."""

    strategy: str
    num_labels: int
    num_seeds: int
    win_rate: float
    se_two_way: float | None


@dataclass(frozen=True, slots=True)
class Submission:
    """submission.json, results.json (a list of apl-comparison/1 objects) and the card of one folder.

    A submission is of one task and one preset with the same settings for all its runs; `changes` are those that differ
    from the preset as it ships, such as `training.epochs=3`, none in division closed. `preset_sha256` is over all
    settings but strategy and seed, as resolved. `family`: the hypotheses that were declared, None where none were.
    """

    id: str
    name: str
    created: str
    submitter: Submitter
    division: str
    task: str
    preset: str
    preset_sha256: str
    changes: tuple[str, ...]
    strategies: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    budget: Budget
    harness: Harness
    environments: tuple[Environment, ...]
    costs: Costs
    num_runs_tried: int
    claims: tuple[Claim, ...]
    licence: str
    note: str
    family: Family | None = None
    results: tuple[Mapping[str, Any], ...] = ()
    card: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What a folder states. Raises Refused, with the findings of level 1, where it is not of this form."""
        stated = read_json(folder / SUBMISSION_FILE, SUBMISSION_FILE, MAX_SUBMISSION_BYTES)
        results = read_json(folder / RESULTS_FILE, RESULTS_FILE)
        card = read_text(folder / CARD_FILE, CARD_FILE, MAX_CARD_BYTES)
        return cls.of(stated, _results(results), card)

    @classmethod
    def of(cls, stated: Any, results: Sequence[Mapping[str, Any]], card: str) -> Self:
        """From the value of submission.json. Raises Refused (V110) for unknown, missing and mistyped fields."""
        table = Fields(stated, SUBMISSION_FILE, ("schema", *_stated()), optional=["family"])
        table.one_of("schema", [SCHEMA])
        return cls(
            id=table.text("id", pattern=_ID),
            name=table.text("name", 1, 100),
            created=_date(table),
            submitter=_submitter(table.table("submitter", _names(Submitter))),
            division=table.one_of("division", DIVISIONS),
            task=table.text("task", 1, 100),
            preset=table.text("preset", 1, 100),
            preset_sha256=table.text("preset_sha256", pattern=_SHA256),
            changes=table.texts("changes"),
            strategies=tuple(_entrant(item) for item in table.tables("strategies", _names(Entrant))),
            seeds=table.whole_numbers("seeds"),
            budget=_budget(table.table("budget", _names(Budget))),
            harness=_harness(table.table("harness", _names(Harness))),
            environments=tuple(_environment(item) for item in table.tables("environments", _names(Environment))),
            costs=_costs(table.table("costs", _names(Costs))),
            num_runs_tried=table.whole("num_runs_tried", 1, _MOST),
            claims=tuple(_claim(item) for item in table.tables("claims", _names(Claim))),
            licence=table.text("licence", 1, 100),
            note=table.text("note", 0, 4000),
            family=_family(table.optional_table("family", _FAMILY)),
            results=tuple(results),
            card=card,
        )

    def to_json(self) -> dict[str, JSON]:
        """The value of submission.json."""
        stated = asdict(self)
        found = {"schema": SCHEMA, **{name: _listed(stated[name]) for name in _stated()}}
        del found["family"]
        return found if self.family is None else {**found, "family": self.family.to_table()}


def _listed(value: Any) -> Any:
    """With lists for tuples, as JSON has it."""
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    return {name: _listed(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _stated() -> list[str]:
    return [name for name in _names(Submission) if name not in ("results", "card")]


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _results(value: Any) -> tuple[Mapping[str, Any], ...]:
    """The comparisons: their form is checked by computing them again."""
    listed = isinstance(value, list) and 1 <= len(value) <= 100
    if not listed or not all(isinstance(item, dict) and item.get("schema") == COMPARISON_SCHEMA for item in value):
        sentence = f"it is no list of {COMPARISON_SCHEMA} objects"
        raise refuse("V110", RESULTS_FILE, sentence, "build it with apl-bench submit")
    return tuple(value)


def _date(table: Fields) -> str:
    text = table.text("created", 1, 40)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise table.wrong("created", "a date and time with its zone, such as 2026-11-21T12:00:00+00:00")
    return text


def _submitter(table: Fields) -> Submitter:
    return Submitter(table.text("name", 1, 200), table.text("contact", 0, 200), table.text("affiliation", 0, 200))


def _entrant(table: Fields) -> Entrant:
    source = table.optional_text("source_sha256", pattern=_SHA256)
    return Entrant(table.text("name", 1, 100), table.mapping("params"), table.text("distribution", 1, 200),
                   table.text("version", 0, 100), source)  # fmt: skip


def _budget(table: Fields) -> Budget:
    return Budget(*(table.whole(name, 1, _MOST) for name in _names(Budget)))


def _harness(table: Fields) -> Harness:
    return Harness(table.text("version", 1, 100), table.optional_text("commit", pattern=_COMMIT),
                   table.text("source_sha256", pattern=_SHA256), table.truth("dirty"))  # fmt: skip


def _environment(table: Fields) -> Environment:
    words = {name: table.text(name, 0, 200) for name in _names(Environment)[1:-1]}
    num_runs, num_threads = table.whole("num_runs", 1, _MOST), table.whole("num_threads", 0, 10**6)
    return Environment(num_runs=num_runs, num_threads=num_threads, **words)


def _costs(table: Fields) -> Costs:
    costs = {name: table.optional_number(name, 0, _MOST) for name in _names(Costs)[1:]}
    return Costs(num_runs=table.whole("num_runs", 1, _MOST), **costs)


def _claim(table: Fields) -> Claim:
    num_labels, num_seeds = table.whole("num_labels", 0, _MOST), table.whole("num_seeds", 1, 10**6)
    return Claim(table.text("strategy", 1, 400), num_labels, num_seeds, table.number("win_rate", 0, 1),
                 table.optional_number("se_two_way", 0, 1))  # fmt: skip


def _family(table: Fields | None) -> Family | None:
    if table is None:
        return None
    from apl_bench.statistics.families import RULE, Family, Hypothesis  # with scipy, which no worker needs

    table.one_of("rule", [RULE])
    if not table.truth("declared"):
        raise table.wrong("declared", "true, or no family at all")
    hypotheses = tuple(Hypothesis(item.text("strategy", 1, 400), item.whole("num_labels", 0, _MOST))
                       for item in table.tables("hypotheses", _names(Hypothesis)))  # fmt: skip
    try:
        return Family(hypotheses, table.number("alpha", 0, 1), declared=True)
    except SpecError as error:
        raise refuse("V110", f"{SUBMISSION_FILE} family", shown(str(error)), "declare each hypothesis once") from None
