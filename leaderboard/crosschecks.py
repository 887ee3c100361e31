"""Level 2 between runs: all seeds, one protocol, one harness, and what common random numbers make them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from apl_bench.comparison import BASELINE
from apl_bench.leaderboard.findings import Finding, shown
from apl_bench.leaderboard.inspection import Prints, RunReport
from apl_bench.leaderboard.releases import is_released, with_source
from apl_bench.leaderboard.submission import SUBMISSION_FILE, Submission
from apl_bench.registry import BUILT_IN

MAX_OTHER = 0.01  # of texts that may differ where they have to be the same: last bits can turn a token
MIN_SEEDS = 6  # below it no exact sign-flip test of two sides reaches 0.05
_MAKER = BUILT_IN.partition(" ")[0]
_SHARED = {"opponents": "opponents", "theta_0": "completions of theta_0", "first_step": "candidates of the first step"}


def cross_findings(submission: Submission, reports: Sequence[RunReport]) -> Iterator[Finding]:
    """What runs say against each other, and against what is stated of them."""
    yield from _seeds(submission, reports)
    read = [(report, report.prints) for report in reports if report.prints is not None]
    for report, prints in read:
        yield from _settings(submission, report, prints)
        yield from _harness(submission, report, prints)
        yield from _plugins(submission, report, prints)
    if len({prints.test_prompts for _, prints in read}) > 1:
        yield Finding("V204", "runs", "runs were evaluated on different test prompts", "submit runs of the same data")
    if not all(report.is_derived for report in reports):
        yield Finding("V415", "runs", "its prompts were not derived: data or tokenizer are not on this machine; "
                      "runs were held against each other", "verify where the data are")  # fmt: skip
    for seed in sorted({report.seed for report, _ in read}):
        yield from _common(seed, [(report, prints) for report, prints in read if report.seed == seed])


def _seeds(submission: Submission, reports: Sequence[RunReport]) -> Iterator[Finding]:
    """Each strategy has each declared seed, once; in division closed these are 0, 1, 2, ..."""
    counts = Counter((report.strategy, report.seed) for report in reports)
    declared, strategies = set(submission.seeds), sorted({report.strategy for report in reports})
    for strategy in strategies:
        seeds = {seed for name, seed in counts if name == strategy}
        for sentence, wrong in (
            ("lacks the declared seeds", declared - seeds),
            ("has undeclared seeds", seeds - declared),
        ):
            if wrong:
                yield Finding("V202", "runs", f"{shown(strategy)} {sentence} {sorted(wrong)}",
                              "submit every strategy with every declared seed: none is left out")  # fmt: skip
    twice = [f"{strategy}, seed {seed}" for (strategy, seed), num in counts.items() if num > 1]
    if twice:
        yield Finding("V202", "runs", f"{shown(twice[0])} is there twice", "submit one run of each")
    if submission.division != "closed":
        return
    if sorted(declared) != list(range(len(declared))) or len(declared) != len(submission.seeds) or len(declared) < 2:
        yield Finding(
            "V202",
            f"{SUBMISSION_FILE} seeds",
            f"its seeds are {shown(sorted(submission.seeds))}; in division "
            "closed they are 0, 1, 2 and so on, at least two",
            "run the seeds from 0 on, and submit all",
        )
    if BASELINE not in strategies:
        yield Finding("V212", "runs", f"there are no runs of {BASELINE}, with which every strategy is paired",
                      f"run {BASELINE} with the same seeds")  # fmt: skip


def _settings(submission: Submission, report: RunReport, prints: Prints) -> Iterator[Finding]:
    if prints.settings != submission.preset_sha256:
        yield Finding("V215", f"runs/{report.path}/spec.json", "its settings are not those that the submission states",
                      "submit runs of the same settings; others are a submission of their own")  # fmt: skip


def _harness(submission: Submission, report: RunReport, prints: Prints) -> Iterator[Finding]:
    """By which sources a run was made."""
    stated, place = submission.harness.source_sha256, f"runs/{report.path}/events.jsonl"
    if any(noted.get("source_sha256") != stated for noted in prints.harnesses):
        yield Finding("V210", place, "it was made by other sources of the harness than the submission states",
                      "submit runs that one state of the harness made")  # fmt: skip
    if not prints.harnesses:
        yield Finding("V412", place, "it does not note by which sources of the harness it was made", "ask its author")


def harness_findings(submission: Submission) -> Iterator[Finding]:
    """Whether the harness is one that was released, in division closed."""
    harness, place = submission.harness, f"{SUBMISSION_FILE} harness"
    if submission.division == "closed" and (harness.dirty or with_source(harness.source_sha256) is None):
        what = "has changes that no commit has" if harness.dirty else "is none of a release, and not this one"
        yield Finding("V210", place, f"the harness of the sources {harness.source_sha256[:12]} {what}",
                      "run with a release of leaderboard/releases.json, ask a maintainer to list the commit, or submit "
                      "to division open")  # fmt: skip


def _plugins(submission: Submission, report: RunReport, prints: Prints) -> Iterator[Finding]:
    """In division closed only the strategy may be other than what ships; what calls itself ours has to be."""
    for part, (name, identity) in prints.plugins.items():
        origin, source = str(identity.get("origin", "")), identity.get("source_sha256")
        place = f"runs/{report.path}/spec.json {part}"
        is_ours = origin.partition(" ")[0] == _MAKER
        if not is_ours and part != "strategy" and submission.division == "closed":
            yield Finding("V211", place, f"the {part} is of {shown(origin)}; division closed has those that ship",
                          "submit to division open")  # fmt: skip
        if is_ours and not is_released(part, name, None if source is None else str(source)):
            yield Finding("V211", place, f"the {part} calls itself {shown(origin)}, and its source is of no release",
                          "run with a released version; register a changed plugin under a name of its own")  # fmt: skip


def _common(seed: int, runs: Sequence[tuple[RunReport, Prints]]) -> Iterator[Finding]:
    """Opponents, theta_0's completions and first candidates do not depend on the strategy."""
    for name, what in _SHARED.items():
        first: dict[str, tuple[int, ...]] = {}
        for report, prints in runs:
            texts: Mapping[str, tuple[int, ...]] = getattr(prints, name)
            both = texts.keys() & first.keys()
            other = sum(any(a != b for a, b in zip(texts[key], first[key], strict=False)) for key in both)
            if other > max(MAX_OTHER * len(both), 1):
                same_place = prints.surroundings == runs[0][1].surroundings
                yield Finding(
                    "V209" if same_place else "V418",
                    f"runs/{report.path}",
                    f"{other} of {len(both)} {what} are not those of the other runs with seed {seed}",
                    "submit runs of one seed, made alike",
                )
            for key, found in texts.items():
                first.setdefault(key, found)


def few_seeds(submission: Submission) -> Iterator[Finding]:
    """Fewer seeds than a test needs."""
    if len(submission.seeds) < MIN_SEEDS:
        yield Finding("V408", f"{SUBMISSION_FILE} seeds", f"{len(submission.seeds)} seeds: no exact test over them can "
                      "reach p = 0.05", f"run at least {MIN_SEEDS}")  # fmt: skip
