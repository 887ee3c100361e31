"""Convergence on the shipped policy at toy sizes: what is bought, what is measured, and what a kill leaves."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apl_bench.asking.asking import Asking
from apl_bench.convergence import (
    HELD_OUT_STEP,
    Choice,
    Diary,
    Grid,
    Record,
    choose,
    curves,
    folder_of,
    mean_loss,
    measure,
    seed_path,
    settings_of,
)
from apl_bench.experiment import Materials, Means, build, prepare
from apl_bench.judgments.ledger import Ledger
from apl_bench.presets import Changes, resolve
from apl_bench.protocols import AfterEpoch, Engine, Policy
from apl_bench.records import Run, find_runs
from apl_bench.spec import RunSpec, TrainingSpec
from apl_bench.types import Completion, Preference, SpecError
from tests.fakes import constant, prompts
from tests.test_runner import TINY, execute
from tests.test_runner import tiny as tiny_run

GRID = Grid((4, 8), (1, 2), is_held_out=True)


def tiny(strategy: str = "random", *settings: str, seed: int = 0) -> RunSpec:
    return settings_of(resolve("imdb", "lite", strategy, Changes((*TINY, *settings)), seed))


@pytest.fixture(scope="module")
def materials() -> Materials:
    return prepare(tiny())


class Stopped(Exception):  # noqa: N818 - a kill is no error
    """A kill."""


class Watched:
    """An engine that notes how `finetune` was called, and stops after so many epochs in all."""

    def __init__(self, engine: Engine, stop_after: float = math.inf) -> None:
        self._engine = engine
        self._left = stop_after
        self.calls: list[tuple[bool, int, int, tuple[int | str, ...]]] = []

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
        assert after_epoch is not None
        tell: AfterEpoch = after_epoch
        self.calls.append((start is self._engine.reference(), len(preferences), training.epochs, stream))

        def counted(epoch: int, theta: Policy, loss: float) -> None:
            if self._left <= 0:
                raise Stopped
            self._left -= 1
            tell(epoch, theta, loss)

        return self._engine.finetune(start, preferences, training, stream, counted)


def converge(spec: RunSpec, grid: Grid, materials: Materials, root: Path) -> Record:
    with Ledger(root / "ledger") as ledger:
        experiment = build(spec, materials, Means(ledger, Asking()))
        record = Record(seed_path(root / "runs", spec))
        record.open(experiment.manifest())
        try:
            measure(experiment, grid, record, Diary(record, materials.clock))
        finally:
            record.close()
    return record


@pytest.fixture(scope="module")
def done(materials: Materials, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """GRID for one seed; not to be changed."""
    return converge(tiny(), GRID, materials, tmp_path_factory.mktemp("done"))


def contents(record: Record) -> dict[str, bytes]:
    """Every file that does not tell the time."""
    files = [path for path in record.path.rglob("*") if path.is_file() and path.name not in ("events.jsonl", ".lock")]
    return {str(path.relative_to(record.path)): path.read_bytes() for path in files}


def test_what_is_measured_is_what_a_run_of_so_many_labels_and_epochs_would_be(
    materials: Materials, tmp_path: Path
) -> None:
    # `offline` draws from theta_0 in every step, as converge does: so they agree at all numbers of labels
    record = converge(tiny("offline"), Grid((4, 8), (1, 2), is_held_out=False), materials, tmp_path)
    for epochs in (1, 2):
        run = execute(tiny_run("offline", f"training.epochs={epochs}"), materials, tmp_path)
        for num_labels in (4, 8):
            head, *rows = record.epoch_rows(num_labels, epochs)
            assert rows == run.all_waypoint_rows(num_labels)[1:]
            assert head["num_labels"] == num_labels
        for step in (1, 2):
            assert bought(record, step) == bought(run, step)


def bought(run: Run, step: int) -> list[tuple[Any, str]]:
    return [(row["keys"], row["verdict"]) for row in run.all_step_rows(step) if row["kind"] == "label"]


def test_more_labels_contain_fewer_and_nothing_is_trained_on_what_is_held_out(
    materials: Materials, tmp_path: Path
) -> None:
    engine = Watched(materials.engine)
    record = converge(tiny(), GRID, replace(materials, engine=engine), tmp_path)
    assert engine.calls == [(True, 4, 2, (0, "training", 1)), (True, 8, 2, (0, "training", 2))]
    prompts_of = [{row["prompt_id"] for row in record.all_step_rows(step)[1:] if row["kind"] == "candidate"}
                  for step in (HELD_OUT_STEP, 1, 2)]  # fmt: skip
    assert [len(found) for found in prompts_of] == [12, 12, 12]
    assert len(set.union(*prompts_of)) == 36


def test_losses_and_counts_are_recorded_at_each_point(done: Record) -> None:
    for num_labels in GRID.labels:
        heads = [done.epoch_rows(num_labels, epoch)[0] for epoch in GRID.epochs]
        assert [head["epoch"] for head in heads] == [1, 2]
        assert [head["num_held_out"] for head in heads] == [4, 4]
        assert heads[1]["loss"] < heads[0]["loss"] < math.log(2) + 0.02
        assert heads[0]["held_out_loss"] != heads[1]["held_out_loss"] != math.log(2)


def test_the_same_again_trains_nothing_and_changes_no_byte(materials: Materials, done: Record, tmp_path: Path) -> None:
    record = copied(done, tmp_path)
    assert not record.lacks(GRID, 4)
    before = contents(record)
    engine = Watched(materials.engine)
    converge(tiny(), GRID, replace(materials, engine=engine), tmp_path)
    assert engine.calls == []
    assert contents(record) == before


def copied(done: Record, root: Path) -> Record:
    path = seed_path(root / "runs", tiny())
    shutil.copytree(done.path, path)
    return Record(path)


@pytest.mark.parametrize("num_epochs", [0, 1, 3])
def test_killed_and_begun_again_it_ends_with_the_same_bytes(
    materials: Materials, done: Record, tmp_path: Path, num_epochs: int
) -> None:
    engine = Watched(materials.engine, num_epochs)
    with pytest.raises(Stopped):
        converge(tiny(), GRID, replace(materials, engine=engine), tmp_path)
    again = Watched(materials.engine)
    record = converge(tiny(), GRID, replace(materials, engine=again), tmp_path)
    assert contents(record) == contents(done)
    assert len(again.calls) == (1 if num_epochs >= 2 else 2)


def test_more_labels_epochs_and_a_held_out_step_are_added_to_what_is_there(
    materials: Materials, done: Record, tmp_path: Path
) -> None:
    converge(tiny(), Grid((4,), (1,), is_held_out=False), materials, tmp_path)
    record = Record(seed_path(tmp_path / "runs", tiny()))
    assert record.epoch_rows(4, 1)[0]["held_out_loss"] is None
    assert record.lacks_steps(GRID, 4) == [HELD_OUT_STEP, 2]
    assert record.lacks_epochs(4, GRID) == [1, 2]  # the first again, as it has no loss on held-out pairs
    with Ledger(tmp_path / "ledger") as ledger:
        num_before = len(list(ledger.records()))
    converge(tiny(), GRID, materials, tmp_path)
    files = {name: content for name, content in contents(record).items() if name != "judgments.jsonl"}
    assert files == {name: content for name, content in contents(done).items() if name != "judgments.jsonl"}
    assert record.judgments().keys() == done.judgments().keys()
    with Ledger(tmp_path / "ledger") as ledger:
        assert num_before < len(list(ledger.records())) == len(done.judgments())  # nothing was paid for twice


def test_settings_are_told_apart_but_for_what_the_grid_says(tmp_path: Path) -> None:
    same = tiny("random", "training.epochs=7", "loop.budget=12", "loop.waypoints=[4]")
    assert folder_of(tmp_path, same) == folder_of(tmp_path, tiny(seed=3))
    for other in (tiny("random", "training.learning_rate=1e-5"), tiny("offline"), tiny("random", "task.a=1")):
        assert folder_of(tmp_path, other) != folder_of(tmp_path, tiny())
    assert seed_path(tmp_path, tiny(seed=3)).name == "seed-003"


def test_what_was_begun_with_another_version_is_refused(materials: Materials, done: Record, tmp_path: Path) -> None:
    record = copied(done, tmp_path)
    path = record.path / "settings.json"
    path.write_text(json.dumps({**record.manifest, "versions": {"numpy": "0"}}))
    with pytest.raises(SpecError, match="was begun with another versions"):
        converge(tiny(), GRID, materials, tmp_path)
    with pytest.raises(SpecError, match="was begun with another versions"):
        curves([done, Record(record.path)], GRID)


def test_no_command_takes_it_for_a_run(done: Record) -> None:
    with pytest.raises(SpecError, match="no run at or below"):
        find_runs([done.path.parents[3]])
    assert not Run(done.path).complete


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (lambda: Grid((4,), (0, 1), True), r"--epochs is \[0, 1\]; expected increasing numbers from 1 on"),
        (lambda: Grid((0,), (1,), True), r"--labels is \[0\]"),
        (lambda: Grid((), (1,), True), r"--labels is \[\]"),
        (lambda: Grid((4, 6), (1,), True).steps(4), "--labels is 6; expected multiples of loop.labels_per_step = 4"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        grid()


@pytest.mark.parametrize("regime", ["continue", "online"])
def test_other_regimes_are_refused(regime: str) -> None:
    with pytest.raises(SpecError, match=f"loop.regime is '{regime}'; expected restart"):
        tiny("random", f"loop.regime={regime}")


def test_more_labels_than_there_are_prompts_are_refused_before_one_is_bought(
    materials: Materials, tmp_path: Path
) -> None:
    few = replace(materials, train=materials.train[:36])  # three steps of twelve prompts, of which one is held out
    for grid, most in ((Grid((12,), (1,), True), 8), (Grid((16,), (1,), False), 12)):
        with pytest.raises(SpecError, match=rf"--labels is {most + 4}; expected at most {most}: the task has 36"):
            converge(tiny(), grid, few, tmp_path)
    with Ledger(tmp_path / "ledger") as ledger:
        assert list(ledger.records()) == []
    assert converge(tiny(), Grid((8,), (1,), True), few, tmp_path).lacks_epochs(8, Grid((8,), (1,), True)) == []


def test_labels_without_a_preference_are_nothing_to_train_on(materials: Materials, tmp_path: Path) -> None:
    spec = resolve("imdb", "lite", "random", Changes(TINY, oracle="abstain(1, classifier)"), 0)
    with pytest.raises(SpecError, match="the 4 labels gave no preference"):
        converge(settings_of(spec), Grid((4,), (1,), False), materials, tmp_path)


def test_the_loss_of_held_out_pairs_by_hand() -> None:
    # " good" has logit 1 instead of 0: log sigmoid(1) - log(1/2) for each " good", log sigmoid(-1) - log(1/2) for the
    # other word, so that two tokens of each make a margin of 2 (log sigmoid(1) - log sigmoid(-1)) = 2
    (prompt,) = prompts(1)
    good, bad = (Completion(text, ids, finished=False) for text, ids in (good_and_bad()))
    pairs = [Preference(prompt, good, bad, 0), Preference(prompt, bad, good, 0)]
    losses = [mean_loss(constant(1.0), constant(0.0), pairs[:n], beta=0.5) for n in (0, 1, 2)]
    assert losses[0] is None
    assert losses[1:] == pytest.approx([math.log1p(math.exp(-1)), (math.log1p(math.exp(-1)) + math.log1p(math.e)) / 2])


def good_and_bad() -> list[tuple[str, tuple[int, ...]]]:
    encode = constant(0.0).tokenizer.encode
    return [(text, tuple(encode(text))) for text in (" good good", " bad bad")]


def outcomes(*letters: str) -> np.ndarray:
    """(E, 1, P) from a word of w, l and x for each number of epochs."""
    value = {"w": 1.0, "l": 0.0, "x": math.nan}
    return np.array([[[value[letter] for letter in word]] for word in letters])


def test_the_fewest_epochs_are_those_whose_paired_difference_is_within_its_error() -> None:
    # 1 epoch: two of eight prompts worse than at 4, none better: -2/8, its error sqrt(3/16/7) = .164: not within
    # 2 epochs: one worse: -1/8, and its error sqrt(7/64/7) = 1/8: just within
    found = choose([1, 2, 4, 8], outcomes("wwwwwwll", "wwwwwwwl", "wwwwwwww", "wwwwwwwl"))
    assert found is not None
    assert (found.best, found.fewest) == (4, 2)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(-1 / 8)
    assert found.difference.se_two_way == pytest.approx(1 / 8)


def test_equal_rates_are_the_fewer_epochs_and_unread_verdicts_no_choice() -> None:
    assert choose([1, 2], outcomes("wl", "lw")) == Choice(1, 1, None)
    assert choose([1, 2], outcomes("lllllllw", "wwwwwwww")) == Choice(2, 2, None)
    assert choose([1, 2], outcomes("xx", "lw")) is None


def test_points_are_means_over_seeds_with_both_errors(materials: Materials, done: Record, tmp_path: Path) -> None:
    other = converge(tiny(seed=1), GRID, materials, tmp_path)
    (first, second) = curves([done, other], GRID)
    assert [point.epoch for point in first.points] == [1, 2]
    assert (first.num_labels, second.num_labels) == (4, 8)
    point = second.points[1]
    heads = [record.epoch_rows(8, 2)[0] for record in (done, other)]
    assert point.loss.mean == pytest.approx((heads[0]["loss"] + heads[1]["loss"]) / 2)
    assert point.loss.se_seeds == pytest.approx(abs(heads[0]["loss"] - heads[1]["loss"]) / 2)  # sd / sqrt(2)
    wins = [sum(row.get("verdict") == "first" for row in record.epoch_rows(8, 2)) for record in (done, other)]
    assert point.win_rate.mean == pytest.approx(sum(wins) / 24)
    assert point.win_rate.se_seeds == pytest.approx(abs(wins[0] - wins[1]) / 12 / 2)
    assert point.win_rate.num_seeds == 2
    assert point.is_sound
