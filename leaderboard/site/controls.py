"""Control rows: three that no training made, and one that says how much the judge reads; same judge, same order.

    null      theta_0's own completions, drawn with other random numbers than the opponent's: the runs' waypoint at 0
              labels, which is recorded and needs no judge
    copy      the opponent's own texts: identical texts are a tie by the rules, and nobody is asked
    longest   for each test prompt the longest of theta_0's own completions, those at 0 labels of all seeds
    shuffled  a trained policy's completions at the full budget, each behind the next prompt of a random cycle: what it
              loses by that is what the judge sees of the prompt

The last two ask the judge, and only one that is local: it costs nothing, and anybody's machine gets the same answers.
Before it is believed it judges one recorded evaluation again, and has to say what it is recorded to have said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from apl_bench.comparison import BASELINE, strategy_label
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.index import Entry
from apl_bench.judgments.record import Record
from apl_bench.leaderboard.site.outcomes import OF_VERDICT
from apl_bench.protocols import Oracle
from apl_bench.randomness import stream
from apl_bench.records import Run, completion_of
from apl_bench.types import Completion, Pair, Prompt, SpecError, Verdict
from apl_bench.wrapping import create_oracle

SCHEMA = "apl-controls/1"
NAMES = ("null", "copy", "longest", "shuffled")
NOTHING_AT_0 = "the preset evaluates nothing at 0 labels: theta_0's own texts are not recorded"
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Control:
    """A control at its number of labels: a line of letters (outcomes.py) for each seed; empty where there is none, and
    then `how` says why. `source` is the strategy whose texts were used, or theta_0."""

    name: str
    source: str
    num_labels: int
    by_seed: Mapping[int, str]
    how: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "by_seed": {str(seed): line for seed, line in self.by_seed.items()}}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**{**fields, "by_seed": {int(seed): line for seed, line in fields["by_seed"].items()}})


class _Memory:
    """A ledger that lasts as long as the object: what a local judge said is not kept, it can always say it again."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def get_many(self, keys: Sequence[str], generation: int = 0) -> Mapping[str, Record]:
        del generation
        return {key: self._records[key] for key in keys if key in self._records}

    def add(self, records: Iterable[Record]) -> Mapping[Entry, Record]:
        new = list(records)
        self._records |= {record.key: record for record in new}
        return {Entry.of(record): record for record in new}


def controls(runs: Sequence[Run]) -> list[Control]:
    """The four controls of one comparison's runs (all settings but strategy and seed are the same).

    Raises SpecError where the judge of this machine is not the one that is recorded, or does not say what it said.
    """
    ordered = sorted(runs, key=lambda run: (strategy_label(run.spec) != BASELINE, strategy_label(run.spec)))
    source = strategy_label(ordered[0].spec)
    sources = sorted((run for run in ordered if strategy_label(run.spec) == source), key=lambda run: run.spec.seed)
    return [_null(source, sources), _copy(source, sources), *_judged(source, sources, ordered)]


def _null(source: str, runs: Sequence[Run]) -> Control:
    if not _is_evaluated_at_0(runs):
        return Control("null", source, 0, {}, NOTHING_AT_0)
    lines = {run.spec.seed: "".join(_letter(row) for row in _comparisons(run, 0)) for run in runs}
    return Control("null", source, 0, lines, "theta_0, drawn with other random numbers: recorded at 0 labels")


def _copy(source: str, runs: Sequence[Run]) -> Control:
    lines = {run.spec.seed: "t" * len(_comparisons(run, run.spec.loop.waypoints[-1])) for run in runs}
    return Control("copy", source, runs[0].spec.loop.budget, lines,
                   "the opponent's own texts: identical texts are a tie, and nobody is asked")  # fmt: skip


def _judged(source: str, sources: Sequence[Run], runs: Sequence[Run]) -> Iterator[Control]:
    spec = sources[0].spec
    longest = Control("longest", "theta_0", 0, {}, "for each prompt the longest of theta_0's own texts, of all seeds: "
                      "how far length alone goes")  # fmt: skip
    shuffled = Control("shuffled", source, spec.loop.budget, {}, "a trained policy's texts, each behind another "
                       "prompt: near that policy's own win rate, the judge hardly reads the prompt")  # fmt: skip
    judge = create_oracle(spec.judge)
    if not judge.oracle.local:
        reason = f"the judge {spec.judge.name} is not local: asking it would cost money, and nobody could repeat it"
        yield from (replace(control, how=reason) for control in (longest, shuffled))
        return
    _require_same(judge.oracle, sources[0])
    judging = Judging(judge, _Memory(), Manner(Mode.OFF, spec.judging.order))
    _require_same_verdicts(judging, sources[0])
    if _is_evaluated_at_0(runs):
        texts = _longest_texts(runs)
        yield replace(longest, by_seed={run.spec.seed: _line(judging, run, texts) for run in sources})
    else:
        yield replace(longest, how=NOTHING_AT_0)
    yield replace(shuffled, by_seed={run.spec.seed: _line(judging, run, _shuffled_texts(run)) for run in sources})


def _is_evaluated_at_0(runs: Sequence[Run]) -> bool:
    """Whether theta_0's own texts are recorded; all runs of a comparison have the same waypoints."""
    return 0 in runs[0].spec.loop.waypoints


def _comparisons(run: Run, num_labels: int) -> list[dict[str, Any]]:
    """The comparisons of a waypoint, in the order of their prompts' ids."""
    rows = [row for row in run.all_waypoint_rows(num_labels) if row["kind"] == "comparison"]
    return sorted(rows, key=lambda row: str(row["prompt_id"]))


def _letter(row: Mapping[str, Any]) -> str:
    return OF_VERDICT[Verdict(row["verdict"])]


def _final(run: Run) -> list[dict[str, Any]]:
    return _comparisons(run, run.spec.loop.waypoints[-1])


def _longest_texts(runs: Sequence[Run]) -> dict[str, Completion]:
    """For each prompt theta_0's completion of most characters; of equal ones that of the first run."""
    found: dict[str, Completion] = {}
    for run in runs:
        for row in _comparisons(run, 0):
            here = completion_of(row["policy"])
            if row["prompt_id"] not in found or len(here.text) > len(found[row["prompt_id"]].text):
                found[row["prompt_id"]] = here
    return found


def _shuffled_texts(run: Run) -> dict[str, Completion]:
    """Each prompt's completion given to the next one in a random cycle through all prompts: none keeps its own."""
    rows = _final(run)
    cycle = stream("control", "shuffled", run.spec.seed).permutation(len(rows)).tolist()
    following = [*cycle[1:], *cycle[:1]]
    return {rows[after]["prompt_id"]: completion_of(rows[here]["policy"])
            for here, after in zip(cycle, following, strict=True)}  # fmt: skip


def _line(judging: Judging, run: Run, texts: Mapping[str, Completion]) -> str:
    """The letters of these texts against the opponents of a run."""
    pairs = [
        Pair(Prompt(row["prompt_id"], row["prompt"]), texts[row["prompt_id"]], completion_of(row["opponent"]))
        for row in _final(run)
    ]
    return "".join(OF_VERDICT[judged.verdict] for judged in judging.judge(pairs))


def _require_same(judge: Oracle, run: Run) -> None:
    """Stop where the judge's weights are not the recorded ones."""
    recorded = run.manifest.get("judge", {})
    for key, value in judge.identity().items():
        if recorded.get(key) != value:
            raise SpecError(
                f"{run.path} was judged with {key} {recorded.get(key)!r}, and the judge here has {value!r}: install "
                "the release that the runs were made with"
            )


def _require_same_verdicts(judging: Judging, run: Run) -> None:
    """Stop where a recorded evaluation, judged again, comes out otherwise."""
    rows = _final(run)
    again = _line(judging, run, {row["prompt_id"]: completion_of(row["policy"]) for row in rows})
    differ = [row["prompt_id"] for row, letter in zip(rows, again, strict=True) if _letter(row) != letter]
    if differ:
        raise SpecError(
            f"{run.path}: the judge was asked again about {len(rows)} recorded comparisons, and {len(differ)} come out "
            f"otherwise, {differ[0]} first; the record was changed, or the judge was"
        )
