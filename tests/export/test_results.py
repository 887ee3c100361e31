"""Win rates as the hub reads them, against result.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from huggingface_hub import ModelCard, parse_eval_result_entries

from apl_bench.cli.main import main
from apl_bench.export.results import Publication, export_results, task_id
from apl_bench.presets import Changes, resolve
from apl_bench.records import Run
from apl_bench.spec import RunSpec
from apl_bench.types import SpecError
from tests.export.runs import contents, copy, respecified
from tests.test_replay import GOLDEN

TASK = "imdb-lite-8fe1fc94"  # not the preset as it ships: the run is a tiny one
FOLDER = f"{TASK}/certainty"


def export(*words: object) -> Result:
    return CliRunner().invoke(main, ["export", "results", *map(str, words)])


def test_the_hubs_own_reader_finds_the_win_rates(tmp_path: Path) -> None:
    done = export(GOLDEN, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"Written: {tmp_path / 'out' / FOLDER}" in done.output
    assert "--benchmark OWNER/NAME" in done.output
    card = ModelCard.load(tmp_path / "out" / FOLDER / "README.md")
    found = [result for result in card.data.eval_results or [] if result.metric_type == "win_rate"]
    waypoints = Run(GOLDEN).result["waypoints"]
    assert [result.metric_value for result in found] == [point["win_rate"] for point in waypoints]
    assert [result.metric_args["num_labels"] for result in found if result.metric_args] == [0, 8]
    assert {result.dataset_type for result in found} == {"imdb"}
    assert found[0].metric_args is not None
    assert found[0].metric_args["judge"] == {"name": "classifier", "model": "judge"}
    beside = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert beside["kl"] == waypoints[-1]["kl"]
    assert beside["perplexity"] == waypoints[-1]["perplexity"]
    assert not list((tmp_path / "out").rglob(".eval_results"))


def test_results_for_a_benchmark_on_the_hub(tmp_path: Path) -> None:
    options = ("--benchmark", "somebody/films", "--source", "https://example.org/evidence")
    done = export(GOLDEN, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / FOLDER / ".eval_results" / "apl-bench.yaml").read_text()
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("somebody/films", TASK, 0.5)
    assert entry.date == "2026-11-21T19:35:30Z"  # of the event `finished`, 1795289730.37
    assert (entry.source_url, entry.source_name) == ("https://example.org/evidence", "apl-bench")
    assert entry.notes == "strategy certainty, 8 labels, seeds 3, standard error 0.189, judge classifier"


def test_a_folder_for_each_strategy_and_setting(tmp_path: Path) -> None:
    runs = [Run(GOLDEN), respecified(tmp_path / "a", strategy="random"), respecified(tmp_path / "b", seed=4),
            respecified(tmp_path / "c", training__epochs=3)]  # fmt: skip
    names = export_results(runs, Publication(tmp_path / "out", "somebody/films"))
    assert len(names) == len(set(names)) == 3
    assert {name.split("/")[1] for name in names} == {"certainty", "random"}
    folder = FOLDER
    card = ModelCard.load(tmp_path / "out" / folder / "README.md")
    seeds = [result.metric_args["seeds"] for result in card.data.eval_results or []
             if result.metric_args and "seeds" in result.metric_args]  # fmt: skip
    assert seeds == [[3, 4], [3, 4]]
    own = sorted(run.spec.identity for run in (runs[0], runs[2]))
    assert "Runs: " + ", ".join(f"`{identity[:16]}`" for identity in own) + "." in card.text


def test_a_run_says_the_same_whatever_is_exported_with_it(tmp_path: Path) -> None:
    """Other settings beside it change neither the task's id nor a byte of its card."""
    others = [respecified(tmp_path / "a", training__epochs=3), respecified(tmp_path / "b", loop__regime="continue")]
    export_results([Run(GOLDEN)], Publication(tmp_path / "alone", "somebody/films"))
    export_results([Run(GOLDEN), *others], Publication(tmp_path / "among", "somebody/films"))
    assert contents(tmp_path / "among" / FOLDER) == contents(tmp_path / "alone" / FOLDER)
    assert "`loop.budget=8`" in (tmp_path / "alone" / FOLDER / "README.md").read_text()


def changed(*settings: str) -> RunSpec:
    return resolve("imdb", "lite", "random", Changes(settings), 0)


def test_the_id_of_a_task_is_that_of_its_settings() -> None:
    """The preset's name is for the preset as it ships; strategy and seed are no matter of the task."""
    assert {task_id(changed()), task_id(resolve("imdb", "lite", "certainty", Changes(), 7))} == {"imdb-lite"}
    ids = [
        task_id(changed(*each)) for each in ([], ["training.epochs=3"], ["training.epochs=4"], ["judging.order=both"])
    ]
    assert len(set(ids)) == 4
    assert all(each.startswith("imdb-lite-") for each in ids[1:])
    assert task_id(replace(changed(), preset="mine")).startswith("imdb-mine-")


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    one = [copy(tmp_path / "a"), respecified(tmp_path / "b", strategy="random")]
    two = [respecified(tmp_path / "x" / "c", strategy="random"), copy(tmp_path / "x" / "d")]
    for name, runs in (("one", one), ("two", two)):
        export_results(runs, Publication(tmp_path / name, "somebody/films"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_hostile_name_is_a_name(tmp_path: Path) -> None:
    run = respecified(tmp_path / "run", strategy="x`: |\n---\n# evil")
    (folder,) = export_results([run], Publication(tmp_path / "out", "somebody/films"))
    card = ModelCard.load(tmp_path / "out" / folder / "README.md")
    assert card.data.model_name == f"{TASK}, x`: |\n---\n# evil"
    assert "\n# evil" not in card.text


def test_what_the_hub_would_refuse_is_refused() -> None:
    with pytest.raises(SpecError, match="--benchmark is 'films'; expected a data set on the hub, as OWNER/NAME"):
        Publication(Path("out"), benchmark="films")
    with pytest.raises(SpecError, match="--source is 'javascript:alert"):
        Publication(Path("out"), source="javascript:alert(1)")
