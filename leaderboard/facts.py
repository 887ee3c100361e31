"""What runs say of themselves, in a submission's words: stated when it is built, recomputed when it is verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apl_bench.comparison import strategy_label
from apl_bench.comparison.shipped import changes_of, settings_sha256
from apl_bench.leaderboard.submission import Budget, Claim, Costs, Entrant, Environment
from apl_bench.records import Run
from apl_bench.spec import RunSpec
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.statistics import Family

_COUNTED = (
    "num_labels",
    "num_judge_calls",
    "generated_tokens",
    "scored_tokens",
    "trained_tokens",
    "seconds",
    "cost_usd",
)


@dataclass(frozen=True)
class Facts:
    """Everything in a submission that follows from its runs."""

    task: str
    preset: str
    preset_sha256: str
    changes: tuple[str, ...]
    strategies: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    budget: Budget
    environments: tuple[Environment, ...]
    costs: Costs
    claims: tuple[Claim, ...]
    results: tuple[Mapping[str, Any], ...]


def facts_of(runs: Sequence[Run], family: Family | None = None) -> Facts:
    """The facts of complete runs; `family`: the declared one, None for that of `apl-bench compare` without one.

    Raises SpecError where runs are not of one task, preset and settings, and for a family that is not about them.
    """
    from apl_bench.comparison import Plan, compare  # with scipy, statsmodels: whoever looks at one run needs neither
    from apl_bench.comparison_json import comparison_json

    comparisons = compare(runs, Plan(family))
    if len(comparisons) != 1:
        names = ", ".join(comparison.name for comparison in comparisons)
        raise SpecError(f"these runs are of {len(comparisons)} tasks, presets or settings ({names}); a submission is "
                        "of one: make one submission of each")  # fmt: skip
    spec = runs[0].spec
    results = tuple(comparison_json(comparison) for comparison in comparisons)
    return Facts(
        task=spec.task.name,
        preset=spec.preset,
        preset_sha256=settings_sha256(spec),
        changes=changes_of(spec),
        strategies=tuple(entrants(runs)),
        seeds=tuple(sorted({run.spec.seed for run in runs})),
        budget=budget_of(spec),
        environments=environments_of(runs),
        costs=costs_of(results, len(runs)),
        claims=claims_of(results),
        results=results,
    )


def entrants(runs: Sequence[Run]) -> Iterator[Entrant]:
    """Each strategy once, by its label; its first seed says where it came from."""
    first: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (strategy_label(run.spec), run.spec.seed)):
        first.setdefault(strategy_label(run.spec), run)
    for run in first.values():
        identity = run.manifest["strategy"]
        distribution, _, version = str(identity["origin"]).rpartition(" ")
        yield Entrant(run.spec.strategy.name, dict(run.spec.strategy.params), distribution or version,
                      version if distribution else "", identity["source_sha256"])  # fmt: skip


def budget_of(spec: RunSpec) -> Budget:
    """What each run of a spec may spend."""
    return Budget(spec.loop.budget, spec.loop.labels_per_step, spec.loop.prompts_per_step, spec.evaluation.num_prompts)


def environments_of(runs: Sequence[Run]) -> tuple[Environment, ...]:
    """Where runs were made, the most frequent first."""
    counts = Counter(_environment(run) for run in runs)
    return tuple(Environment(num_runs=num, **dict(found)) for found, num in sorted(
        counts.items(), key=lambda item: (-item[1], item[0])))  # fmt: skip


def _environment(run: Run) -> tuple[tuple[str, Any], ...]:
    versions, model = run.manifest["versions"], run.manifest["model"]
    words = {name: versions.get(name, "") for name in ("python", "machine", "numpy")}
    words |= {name: model.get(name, "") for name in ("torch", "transformers", "device", "dtype")}
    return (*((name, str(word)) for name, word in words.items()), ("num_threads", int(model.get("num_threads", 0))))


def costs_of(results: Sequence[Mapping[str, Any]], num_runs: int) -> Costs:
    """Of all runs together, from the means over seeds that results have."""
    rows = [row for result in results for row in result["rows"]]
    totals = {name: _total([(row["costs"][name], len(row["seeds"])) for row in rows]) for name in _COUNTED}
    return Costs(num_runs=num_runs, **totals)


def _total(means: Sequence[tuple[float | None, int]]) -> float | None:
    known = [mean * num for mean, num in means if mean is not None]
    return float(sum(known)) if len(known) == len(means) else None


def claims_of(results: Sequence[Mapping[str, Any]]) -> tuple[Claim, ...]:
    """Each strategy's win rate at the last waypoint; none where it has no number."""
    last = [(row, row["curve"][-1]) for result in results for row in result["rows"]]
    return tuple(Claim(row["strategy"], point["num_labels"], len(row["seeds"]), point["win_rate"], point["se_two_way"])
                 for row, point in last if point["win_rate"] is not None)  # fmt: skip
