"""An export on disk: whole or not there, the same bytes for the same runs, read by what it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from huggingface_hub import DatasetCard

from apl_bench.cli.main import main
from apl_bench.export import folders
from apl_bench.export.dataset import Wanted, export_preferences
from apl_bench.export.formats import FORMATS, features
from apl_bench.export.markdown import code
from apl_bench.export.preferences import Style, acquired, schema, styled
from apl_bench.records import Run
from apl_bench.types import SpecError
from tests.export.runs import contents, copy, relabelled, respecified
from tests.test_replay import GOLDEN

datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'apl-bench[datasets]'")
ALL = [(form, style) for form in FORMATS for style in ("plain", "conversational")]


def export(*words: object) -> Result:
    return CliRunner().invoke(main, ["export", "preferences", *map(str, words)])


def expected(style: Style) -> list[dict[str, Any]]:
    return [styled(row, style) for row in acquired(Run(GOLDEN)).rows]


@pytest.mark.parametrize(("form", "style"), ALL)
def test_it_is_read_as_it_was_bought(tmp_path: Path, form: str, style: Style, caplog: pytest.LogCaptureFixture) -> None:
    done = export(GOLDEN, "--out", tmp_path / "out", "--format", form, "--style", style)
    assert done.exit_code == 0, done.output
    assert "8 preferences of 8 labels, 1 runs (0 ties and 0 unreadable labels left out)" in done.output
    if form == "datasets":
        found = datasets.load_from_disk(str(tmp_path / "out"))["train"]
    else:
        found = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert "Ignoring part of dataset_info" not in caplog.text  # of the card's header
    assert found.to_list() == expected(style)
    assert found.features == datasets.Features.from_arrow_schema(schema(style))
    if form == "parquet":
        (path,) = (tmp_path / "out" / "data").iterdir()
        assert pq.read_table(path).to_pylist() == expected(style)
    if form == "jsonl":
        lines = (tmp_path / "out" / "data" / "train.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == expected(style)


@pytest.mark.parametrize("style", ["plain", "conversational"])
def test_the_card_states_the_features_as_the_hub_reads_them(style: Style) -> None:
    stated = features(schema(style))
    assert datasets.Features._from_yaml_list(stated) == datasets.Features.from_arrow_schema(schema(style))
    assert stated == datasets.Features.from_arrow_schema(schema(style))._to_yaml_list()


@pytest.mark.parametrize(("form", "style"), ALL)
def test_the_same_runs_give_the_same_bytes(tmp_path: Path, form: str, style: Style) -> None:
    here = [copy(tmp_path / "a"), respecified(tmp_path / "b", seed=4)]
    there = [respecified(tmp_path / "x" / "first", seed=4), copy(tmp_path / "y")]
    export_preferences(here, Wanted(tmp_path / "one", form, style))
    export_preferences(there, Wanted(tmp_path / "two", form, style))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_card_is_what_the_hub_reads_and_counts_what_was_left_out(tmp_path: Path) -> None:
    def change(row: dict[str, Any]) -> None:
        row["verdict"] = ("tie", "invalid", "invalid", "first")[row["rank"]]

    done = export(relabelled(tmp_path / "run", change).path, "--out", tmp_path / "out")
    assert "5 preferences of 8 labels, 1 runs (1 ties and 2 unreadable labels left out)" in done.output
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    header = card.data.to_dict()
    assert header["license"] == "unknown"  # the reviews' authors never gave one
    (split,) = header["dataset_info"]["splits"]
    assert (split["name"], split["num_examples"]) == ("train", 5)
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.jsonl"}]
    assert header["annotations_creators"] == ["machine-generated"]
    assert "Ties and labels that could not be read (1 and 2)" in card.text
    assert "| `certainty` | `lite` | 3 | 8 | 1 | 2 | 5 | `652dcae08f6bd980` |" in card.text
    assert "Large Movie Review Dataset" in card.text


def test_what_is_known_to_be_free_is_said_to_be(tmp_path: Path) -> None:
    run = copy(tmp_path / "run")
    manifest = {**run.manifest, "data": {"dataset": "tldr", "source": "sample"}}
    (run.path / "spec.json").write_text(json.dumps(manifest))
    assert export(run.path, "--out", tmp_path / "out").exit_code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["license"] == "apache-2.0"
    assert "license: unknown" not in text


def test_another_policy_and_a_bought_oracle_are_not_vouched_for(tmp_path: Path) -> None:
    run = respecified(tmp_path / "run", policy__model="somebody/model", oracle__name="openai")
    assert export(run.path, "--out", tmp_path / "out").exit_code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert "'somebody/model'" in text
    assert "its terms may say what its output can be used for" in text


def test_labels_of_people_are_said_to_be(tmp_path: Path) -> None:
    assert export(respecified(tmp_path / "run", oracle__name="human").path, "--out", tmp_path / "out").exit_code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["annotations_creators"] == ["other"]
    assert "beyond the people who labelled it" in text


def test_names_of_others_stay_names_on_the_card(tmp_path: Path) -> None:
    name = "x`|</script>\n# evil\u202e"
    run = respecified(tmp_path / "run", strategy=name)
    assert export(run.path, "--out", tmp_path / "out").exit_code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| `x'\\|</script> # evil` |" in text
    assert "\n# evil" not in text
    assert code("a`b|c\x1b[0m") == "`a'b\\|c[0m`"


def test_an_export_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_folder: Path) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(folders, "checksums", fail)  # the rows and the card are written by then
    with pytest.raises(OSError, match="disk full"):
        export_preferences([Run(GOLDEN)], Wanted(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_replaced_only_if_an_export_wrote_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(GOLDEN, "--out", out).exit_code == 0
    before = contents(out)
    refused = export(GOLDEN, "--out", out)
    assert refused.exit_code == 2
    assert "--replace" in refused.output
    assert contents(out) == before
    assert export(GOLDEN, "--out", out, "--style", "conversational", "--replace").exit_code == 0
    assert contents(out) != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    (out / "notes.txt").write_text("mine")
    refused = export(GOLDEN, "--out", out, "--replace")
    assert refused.exit_code == 2
    assert "notes.txt" in refused.output
    assert (out / "notes.txt").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    refused = export(GOLDEN, "--out", tmp_path, "--replace")
    assert refused.exit_code == 2
    assert "no export wrote it" in refused.output


def test_what_cannot_be_one_data_set_is_refused(tmp_path: Path) -> None:
    other = respecified(tmp_path / "tldr", task__name="tldr")
    with pytest.raises(SpecError, match="different licences"):
        export_preferences([Run(GOLDEN), other], Wanted(tmp_path / "out"))
    with pytest.raises(SpecError, match="are the same run"):
        export_preferences([Run(GOLDEN), copy(tmp_path / "copy")], Wanted(tmp_path / "out"))
    ties = relabelled(tmp_path / "ties", lambda row: row.update(verdict="tie"))
    (ties.path / "steps" / "0001.jsonl").write_bytes((ties.path / "steps" / "0002.jsonl").read_bytes())
    with pytest.raises(SpecError, match="bought no preference"):
        export_preferences([ties], Wanted(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_complete_is_left_out_and_told_of(tmp_path: Path) -> None:
    half = respecified(tmp_path / "runs" / "half", seed=4)
    (half.path / "result.json").unlink()
    alone = export(tmp_path / "runs", "--out", tmp_path / "out")
    assert (alone.exit_code, "none of the 1 runs is complete" in alone.output) == (2, True)
    copy(tmp_path / "runs" / "whole")
    done = export(tmp_path / "runs", "--out", tmp_path / "out")
    assert f"left out, not complete: {half.path}" in done.output
    assert "8 preferences of 8 labels, 1 runs" in done.output
