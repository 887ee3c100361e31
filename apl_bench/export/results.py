"""Win rates as Hugging Face evaluation results: the `model-index` of a model card, and files for `.eval_results/`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apl_bench.comparison import Comparison, compare, format_seeds, strategy_label
from apl_bench.comparison.grouping import leaves
from apl_bench.comparison.shipped import changes_of, settings_sha256
from apl_bench.comparison_json import comparison_json
from apl_bench.export.folders import new_folder
from apl_bench.export.markdown import template
from apl_bench.export.order import in_order
from apl_bench.records import Run, file_name, write_atomically
from apl_bench.spec import RunSpec
from apl_bench.types import SpecError
from apl_bench.wording import number, safe

if TYPE_CHECKING:
    import jinja2
    from huggingface_hub import EvalResult

BESIDE = {
    "kl": "KL from theta_0, nats a completion",
    "mean_length": "Completion length, tokens",
    "repetition": "Share of repeated word bigrams",
    "perplexity": "Perplexity of human continuations",
}
_BENCHMARK = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Publication:
    """Where results go; the benchmark data set on the hub whose leaderboard they are for; where the evidence is."""

    out: Path
    benchmark: str | None = None
    source: str | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        if self.benchmark is not None and not _BENCHMARK.fullmatch(self.benchmark):
            raise SpecError(f"--benchmark is {self.benchmark!r}; expected a data set on the hub, as OWNER/NAME")
        if self.source is not None and not self.source.startswith(("https://", "http://")):
            raise SpecError(f"--source is {self.source!r}; expected an address that begins with https://")


@dataclass(frozen=True)
class Standing:
    """A strategy in a comparison (`apl-comparison/1`), the runs behind it, and its folder in the export."""

    comparison: Mapping[str, Any]
    row: Mapping[str, Any]
    runs: Sequence[Run]
    folder: str

    @property
    def last(self) -> Mapping[str, Any]:
        """At the last waypoint."""
        last: Mapping[str, Any] = self.row["curve"][-1]
        return last

    @property
    def task_id(self) -> str:
        """What its results can be compared within."""
        return task_id(self.runs[0].spec)

    @property
    def name(self) -> str:
        """Task and strategy."""
        return f"{self.task_id}, {self.row['strategy']}"

    @property
    def date(self) -> str | None:
        """When the newest of its runs ended, as its events say; None where one says nothing."""
        ends = [[event["time"] for event in run.events() if event["event"] == "finished"] for run in self.runs]
        if not all(ends):
            return None
        return datetime.fromtimestamp(max(map(max, ends)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def task_id(spec: RunSpec) -> str:
    """Task and preset, with the beginning of the settings' checksum where they are not those of the preset as it ships:
    the same for a run whatever it is exported with."""
    name = f"{spec.task.name}-{spec.preset}"
    return file_name(f"{name}-{settings_sha256(spec)[:8]}" if changes_of(spec) else name)


def export_results(runs: Sequence[Run], publication: Publication) -> list[str]:
    """Write a folder for each strategy of each comparison of complete runs; the names of the folders.

    The same runs give the same bytes. Raises SpecError where the runs cannot be compared, or the folder not written.
    """
    ordered = in_order(runs)
    standings = list(_standings(ordered))
    identities = [run.spec.identity for run in ordered]
    about = {"kind": "results", "benchmark": publication.benchmark, "source": publication.source, "runs": identities}
    with new_folder(publication.out, publication.replace, about) as folder:
        for standing in standings:
            _write(standing, publication, folder / standing.folder)
    return [standing.folder for standing in standings]


def _standings(runs: Sequence[Run]) -> Iterator[Standing]:
    taken: set[str] = set()
    for comparison in compare(runs):
        table = comparison_json(comparison)
        for row in table["rows"]:
            own = [run for run in runs if _belongs(run, comparison, row["strategy"])]
            name = f"{task_id(own[0].spec)}/{file_name(row['strategy'])}"
            folder = next(name + end for end in ("", *(f"-{n}" for n in range(2, 10**6))) if name + end not in taken)
            taken.add(folder)
            yield Standing(table, row, own, folder)


def _belongs(run: Run, comparison: Comparison, strategy: str) -> bool:
    return strategy_label(run.spec) == strategy and dict(leaves(run.spec.to_tables())) == comparison.settings


def _write(standing: Standing, publication: Publication, folder: Path) -> None:
    from huggingface_hub import ModelCardData
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # exported, not in __all__

    card = ModelCardData(
        language="en", tags=["apl-bench", "active-learning", "dpo"], pipeline_tag="text-generation",
        model_name=standing.name, eval_results=list(_eval_results(standing, publication)),
    )  # fmt: skip
    header = card.to_yaml(line_break="\n").rstrip("\n")
    write_atomically(folder / "README.md", f"---\n{header}\n---\n\n{_text(standing)}")
    if publication.benchmark is not None:
        entries = _entries(standing, publication)
        write_atomically(folder / ".eval_results" / "apl-bench.yaml", yaml_dump(entries))


def _eval_results(standing: Standing, publication: Publication) -> Iterator[EvalResult]:
    """A win rate for each waypoint, and what stands beside the last one."""
    from huggingface_hub import EvalResult

    common = _common(standing, publication)
    for point in standing.row["curve"]:
        if point["win_rate"] is not None:
            name = f"Win rate after {point['num_labels']} labels"
            yield EvalResult(**common, metric_type="win_rate", metric_name=name, metric_value=point["win_rate"],
                             metric_args=_metric_args(standing, point))  # fmt: skip
    num_labels = standing.last["num_labels"]
    for key, words in BESIDE.items():
        value = standing.last["beside"][key]
        if value is not None:
            name = f"{words}, after {num_labels} labels"
            yield EvalResult(**common, metric_type=key, metric_name=name, metric_value=value,
                             metric_args={"num_labels": num_labels})  # fmt: skip


def _common(standing: Standing, publication: Publication) -> dict[str, Any]:
    """What all results of a strategy have in common: the task, the prompts, the source."""
    table = standing.comparison
    data = standing.runs[0].manifest.get("data", {})
    return {
        "task_type": "text-generation",
        "task_name": f"Active preference learning: {standing.task_id}",
        "dataset_type": str(data.get("dataset", table["task"])),
        "dataset_name": f"apl-bench {standing.task_id}, {table['num_prompts']} held-out prompts",
        "dataset_config": table["preset"],
        "dataset_split": "test",
        "dataset_args": {key: value for key, value in data.items() if isinstance(value, (str, int, bool))},
        "source_name": "apl-bench" if publication.source else None,
        "source_url": publication.source,
    }


def _metric_args(standing: Standing, point: Mapping[str, Any]) -> dict[str, Any]:
    judge = standing.runs[0].spec.judge
    found = {
        "num_labels": point["num_labels"],
        "seeds": list(standing.row["seeds"]),
        "standard_error": point["se_two_way"],
        "share_invalid": point["share_invalid"],
        "judge": judge.to_table(),
    }
    return {key: value for key, value in found.items() if value is not None}


def _entries(standing: Standing, publication: Publication) -> list[dict[str, Any]]:
    """The one entry of a strategy: its win rate at the full budget."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    assert publication.benchmark is not None
    if standing.last["win_rate"] is None:
        return []
    entry = EvalResultEntry(
        dataset_id=publication.benchmark, task_id=standing.task_id,
        value=standing.last["win_rate"], date=standing.date, source_url=publication.source,
        source_name="apl-bench" if publication.source else None, notes=_notes(standing),
    )  # fmt: skip
    return eval_result_entries_to_yaml([entry])


def _notes(standing: Standing) -> str:
    error = number(standing.last["se_two_way"], 3)
    return safe(f"strategy {standing.row['strategy']}, {standing.last['num_labels']} labels, seeds "
                f"{format_seeds(standing.row['seeds'])}, standard error {error}, judge "
                f"{standing.runs[0].spec.judge.name}")  # fmt: skip


def _text(standing: Standing) -> str:
    table, spec = standing.comparison, standing.runs[0].spec
    opponent = _opponent(spec.task.name)
    curve = [{**point, "rate": number(point["win_rate"], 3), "error": number(point["se_two_way"], 3),
              "kl": number(point["beside"]["kl"], 2)} for point in standing.row["curve"]]  # fmt: skip
    return _template().render(
        name=standing.name, task_id=standing.task_id, strategy=standing.row["strategy"], curve=curve,
        changes=changes_of(spec), seeds=format_seeds(standing.row["seeds"]), num_prompts=table["num_prompts"],
        regime=table["regime"],
        policy=spec.policy.model, oracle=spec.oracle.name, judge=spec.judge.name, opponent=opponent,
        runs=sorted(run.spec.identity for run in standing.runs),
    )  # fmt: skip


def _opponent(task: str) -> str:
    """What the policy is measured against, in words."""
    from apl_bench.registry import TASKS

    entry = TASKS.load(task) if task in TASKS.names() else None
    words = {"reference": "completions of the policy that training began from", "human": "what people wrote"}
    return words[entry.opponent] if entry else "the task's opponent"


@cache
def _template() -> jinja2.Template:
    return template(files("apl_bench.export").joinpath("results.md").read_text(encoding="utf-8"))
