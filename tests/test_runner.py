"""Algorithm 1 on the shipped policy at toy sizes: what is bought, what is recorded, and what strategies share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from apl_bench.acquisition import acquire
from apl_bench.asking.asking import Asking
from apl_bench.experiment import Materials, Means, build, prepare
from apl_bench.journal import recording
from apl_bench.judgments.ledger import Ledger
from apl_bench.pool import CandidatePool
from apl_bench.presets import Changes, resolve
from apl_bench.protocols import AfterEpoch, Engine, Policy, Strategy
from apl_bench.records import Run, RunWriter, run_path
from apl_bench.replay import replay
from apl_bench.runner import run
from apl_bench.spec import RunSpec, TrainingSpec
from apl_bench.strategies.uniform import Random
from apl_bench.types import Acquisition, Preference, SpecError

TINY = (
    "loop.budget=8", "loop.labels_per_step=4", "loop.prompts_per_step=12", "loop.oversample=2",
    "loop.num_entropy_samples=2", "loop.waypoints=[0, 4, 8]", "training.epochs=2", "training.batch_size=4",
    "evaluation.num_prompts=12", "evaluation.num_probe_prompts=4", "policy.num_threads=1",
)  # fmt: skip


def tiny(strategy: str, *settings: str, seed: int = 0) -> RunSpec:
    return resolve("imdb", "lite", strategy, Changes((*TINY, *settings)), seed)


@pytest.fixture(scope="module")
def materials() -> Materials:
    return prepare(tiny("random"))


def execute(spec: RunSpec, materials: Materials, root: Path) -> Run:
    with Ledger(root / "ledger") as ledger:
        experiment = build(spec, materials, Means(ledger, Asking()))
        with recording(experiment, run_path(root / "runs", spec)) as journal:
            run(experiment, journal)
    return Run(run_path(root / "runs", spec))


def candidates(run: Run, step: int) -> dict[str, list[Any]]:
    rows = run.step_rows(step) or []
    return {row["prompt_id"]: row["completions"] for row in rows if row["kind"] == "candidate"}


def test_a_run_buys_its_budget_and_records_every_stage(materials: Materials, tmp_path: Path) -> None:
    done = execute(tiny("certainty"), materials, tmp_path)
    assert [step["num_pairs"] for step in done.result["steps"]] == [4, 4]
    assert [row["num_labels"] for row in done.result["waypoints"]] == [0, 4, 8]
    for row in done.result["waypoints"]:
        assert row["wins"] + row["losses"] + row["ties"] + row["invalid"] == 12
    assert list((done.path / "state").iterdir()) == []
    events = [json.loads(line) for line in (done.path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events if event["event"] != "begin"] == [
        "waypoint", *["acquired", "trained", "waypoint", "committed"] * 2, "finished",
    ]  # fmt: skip


def test_margins_are_exactly_zero_at_step_1(materials: Materials, tmp_path: Path) -> None:
    done = execute(tiny("certainty"), materials, tmp_path)
    first, second = (done.step_rows(step) or [] for step in (1, 2))
    assert {row["margin"] for row in first if row["kind"] == "label"} == {0.0}
    assert {score[2] for row in first if row["kind"] == "candidate" for score in row["scores"]} == {0.0}
    assert all(row["margin"] != 0.0 for row in second if row["kind"] == "label")


def test_ties_at_step_1_are_broken_by_the_seed_and_not_by_place(materials: Materials, tmp_path: Path) -> None:
    chosen = []
    for seed in range(3):
        rows = execute(tiny("certainty", seed=seed), materials, tmp_path).step_rows(1) or []
        chosen.append([row["row"] for row in rows if row["kind"] == "label"])
    assert [0, 1, 2, 3] not in [sorted(rows) for rows in chosen]
    assert len({tuple(rows) for rows in chosen}) == 3


def test_strategies_with_one_seed_meet_the_same_prompts_completions_and_opponents(
    materials: Materials, tmp_path: Path
) -> None:
    certainty, random = (execute(tiny(name), materials, tmp_path) for name in ("certainty", "random"))
    theirs, ours = candidates(certainty, 1), candidates(random, 1)
    assert list(theirs) == list(ours)
    drawn = {prompt: completions for prompt, completions in ours.items() if completions}
    assert len(drawn) == 4
    assert drawn == {prompt: theirs[prompt] for prompt in drawn}
    for field in ("prompt_id", "opponent"):
        assert [row[field] for row in rows(certainty, 8)] == [row[field] for row in rows(random, 8)]
    assert rows(certainty, 0) == rows(random, 0)


def rows(run: Run, num_labels: int) -> list[dict[str, Any]]:
    return [row for row in run.waypoint_rows(num_labels) or [] if row["kind"] == "comparison"]


def test_no_prompt_comes_twice_before_all_have_come() -> None:
    from apl_bench.acquisition import step_prompts
    from apl_bench.types import Prompt

    pool = [Prompt(str(number), "") for number in range(10)]
    seen = [prompt.id for step in (1, 2, 3) for prompt in step_prompts(pool, 5, step, 4)]
    assert len(set(seen[:10])) == 10
    assert seen[10:] == seen[:2]
    assert [p.id for p in step_prompts(pool, 6, 1, 4)] != seen[:4]


def test_entropy_certainty_draws_j_times_the_prompts_and_keeps_s(materials: Materials, tmp_path: Path) -> None:
    head, *_ = execute(tiny("entropy+certainty"), materials, tmp_path).step_rows(1) or [{}]
    assert (head["num_drawn"], head["num_candidates"]) == (24, 12)


@pytest.mark.parametrize("regime", ["continue", "online"])
def test_regimes_differ_in_what_they_train_on_and_from_where(materials: Materials, tmp_path: Path, regime: str) -> None:
    done = execute(tiny("random", f"loop.regime={regime}"), materials, tmp_path)
    events = [json.loads(line) for line in (done.path / "events.jsonl").read_text().splitlines()]
    counts = [event["num_preferences"] for event in events if event["event"] == "trained"]
    bought = [step["num_preferences"] for step in done.result["steps"]]
    assert counts == (bought if regime == "online" else [bought[0], sum(bought)])
    restart = execute(tiny("random"), materials, tmp_path)
    assert rows(done, 4) == rows(restart, 4)
    assert rows(done, 8) != rows(restart, 8)


def test_a_replay_finds_every_digit_the_same_and_a_changed_verdict_different(
    materials: Materials, tmp_path: Path
) -> None:
    done = execute(tiny("random"), materials, tmp_path)
    assert replay(done).differences == ()
    path = done.path / "waypoints" / "0008.jsonl"
    edited = [json.loads(line) for line in path.read_text().splitlines()]
    edited[1]["verdict"] = "first" if edited[1]["verdict"] == "second" else "second"
    path.write_text("".join(json.dumps(row) + "\n" for row in edited))
    assert any("0008.jsonl:2 verdict" in line for line in replay(Run(done.path)).differences)


def test_a_changed_spec_is_refused(materials: Materials, tmp_path: Path) -> None:
    done = execute(tiny("random"), materials, tmp_path)
    path = done.path / "spec.json"
    path.write_text(path.read_text().replace('"budget": 8', '"budget": 4').replace("4,\n        8", "4"))
    with pytest.raises(SpecError, match=r"has been changed|waypoints"):
        _ = Run(done.path).spec


def test_a_run_begun_with_another_version_is_refused(materials: Materials, tmp_path: Path) -> None:
    done = execute(tiny("random"), materials, tmp_path)
    manifest = dict(done.manifest)
    with pytest.raises(SpecError, match=r"another versions: \{'numpy': .*\}, now \{'numpy': '0'\}"):
        RunWriter(done.path).open({**manifest, "versions": {**manifest["versions"], "numpy": "0"}})


def test_a_directory_has_one_writer(materials: Materials, tmp_path: Path) -> None:
    done = execute(tiny("random"), materials, tmp_path)
    writer = RunWriter(done.path)
    writer.open(done.manifest)
    with pytest.raises(SpecError, match="another process is writing"):
        RunWriter(done.path).open(done.manifest)
    writer.close()


class Watched:
    """An engine that keeps what `finetune` was asked to do: from which weights, on how many pairs, with what."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[tuple[bool, int, TrainingSpec, tuple[int | str, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def finetune(
        self,
        start: Policy,
        preferences: Sequence[Preference],
        training: TrainingSpec,
        stream: tuple[int | str, ...],
        after_epoch: AfterEpoch | None = None,
    ) -> Any:
        self.calls.append((start is self._engine.reference(), len(preferences), training, stream))
        return self._engine.finetune(start, preferences, training, stream, after_epoch)


def test_every_strategy_is_trained_in_the_same_way(materials: Materials, tmp_path: Path) -> None:
    found = []
    for name in ("random", "certainty", "entropy", "offline"):
        engine = Watched(materials.engine)
        execute(tiny(name), replace(materials, engine=engine), tmp_path)
        found.append(engine.calls)
    expected = tiny("random").training
    assert found[0] == [(True, 4, expected, (0, "training", 1)), (True, 8, expected, (0, "training", 2))]
    assert all(calls == found[0] for calls in found)


class Wrong(Random):
    """Selects as `change` says."""

    change: ClassVar[Callable[[Acquisition], Acquisition]]

    def select(self, pool: CandidatePool, num_pairs: int, rng: np.random.Generator) -> Acquisition:
        return type(self).change(super().select(pool, num_pairs, rng))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: replace(a, pairs=a.pairs[1:]), "selected 3 pairs where 4 labels"),
        (lambda a: replace(a, pairs=(a.pairs[1], *a.pairs[1:])), "selected 1 pairs twice"),
        (lambda a: replace(a, pairs=(a.pairs[0]._replace(prompt=np.int64(0)), *a.pairs[1:])), "cannot be recorded"),
        (lambda a: replace(a, scored=a.pairs, scores=(float("nan"),) * 4), "not finite"),
        (lambda a: replace(a, diagnostics={"spread": np.float32(1)}), "cannot be recorded"),
    ],
)
def test_a_wrong_selection_stops_before_a_label_is_bought(
    materials: Materials, tmp_path: Path, change: Any, message: str
) -> None:
    kind = type("Changed", (Wrong,), {"change": staticmethod(change)})
    assert_refused(kind(), materials, tmp_path, message)


@pytest.mark.parametrize("rows", [[0] * 12, [*range(11), 99], [*range(11), -1], list(range(3))])
def test_a_wrong_shortlist_stops_before_a_label_is_bought(
    materials: Materials, tmp_path: Path, rows: list[int]
) -> None:
    kind = type("Shortlisting", (Random,), {"shortlist": lambda *_: rows})
    assert_refused(kind(), materials, tmp_path, "shortlist kept")


def assert_refused(strategy: Strategy, materials: Materials, root: Path, message: str) -> None:
    with Ledger(root / "ledger") as ledger:
        experiment = replace(build(tiny("random"), materials, Means(ledger, Asking())), strategy=strategy)
        with pytest.raises(SpecError, match=rf"{message}.*apl-bench check strategy random"):
            acquire(experiment, 1, materials.engine.reference(), [])
        assert list(ledger.records()) == []
