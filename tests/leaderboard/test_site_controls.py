"""Control rows, from the golden run and by its own judge."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from apl_bench.leaderboard.site import controls as module
from apl_bench.leaderboard.site.controls import Control, controls
from apl_bench.records import Run, completion_of
from apl_bench.spec import RunSpec
from apl_bench.types import SpecError

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
LETTERS = {"first": "w", "second": "l", "tie": "t", "invalid": "x"}


def comparisons(run: Run, num_labels: int) -> list[dict[str, Any]]:
    rows = [row for row in run.all_waypoint_rows(num_labels) if row["kind"] == "comparison"]
    return sorted(rows, key=lambda row: row["prompt_id"])


def letters(run: Run, num_labels: int) -> str:
    return "".join(LETTERS[row["verdict"]] for row in comparisons(run, num_labels))


def by_name(*runs: Run) -> Mapping[str, Control]:
    return {control.name: control for control in controls(runs)}


def changed(tmp_path: Path, name: str, **tables: Any) -> Run:
    """The golden run with other tables in its spec, its identity to match."""
    folder = tmp_path / name
    shutil.copytree(GOLDEN, folder)
    manifest = json.loads((folder / "spec.json").read_text())
    manifest["spec"] |= tables
    stated = dict(manifest["spec"])
    spec = RunSpec.from_tables(stated.pop("preset"), stated, stated.pop("seed"))
    (folder / "spec.json").write_text(json.dumps({**manifest, "identity": spec.identity}))
    return Run(folder)


def rewritten(run: Run, num_labels: int, change: Any) -> None:
    path = run.path / "waypoints" / f"{num_labels:04d}.jsonl"
    rows = [change(row) if row["kind"] == "comparison" else row for row in run.all_waypoint_rows(num_labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_null_is_what_was_recorded_before_any_label() -> None:
    null = by_name(Run(GOLDEN))["null"]
    assert null.by_seed == {3: letters(Run(GOLDEN), 0)}
    assert null.num_labels == 0


def test_null_and_longest_are_absent_where_nothing_was_evaluated_before_labels(tmp_path: Path) -> None:
    loop = json.loads((GOLDEN / "spec.json").read_text())["spec"]["loop"]
    found = by_name(changed(tmp_path, "late", loop={**loop, "waypoints": [8]}))
    for name in ("null", "longest"):
        assert found[name].by_seed == {}
        assert found[name].how.startswith("the preset evaluates nothing at 0 labels")
    assert found["shuffled"].by_seed


def test_a_copy_ties_everywhere() -> None:
    assert by_name(Run(GOLDEN))["copy"].by_seed == {3: "tttttttt"}


PRAISE = " a wonderful, moving film with superb acting; I loved every minute of it and recommend it to all of you"


def praising(run: Run, num_labels: int) -> Run:
    """The run with texts at a waypoint that are longer than all others, and that its judge likes."""
    rewritten(run, num_labels, lambda row: {**row, "policy": {**row["policy"], "text": PRAISE}})
    return run


def test_the_longest_text_of_one_seed_is_what_theta_0_wrote_and_of_two_the_longer(tmp_path: Path) -> None:
    run = Run(GOLDEN)
    longest = by_name(run)["longest"]
    assert longest.by_seed == {3: letters(run, 0)}
    assert longest.num_labels == 0
    other = praising(changed(tmp_path, "other", strategy={"name": "random"}, seed=4), 0)
    found = by_name(run, other)["longest"].by_seed
    assert list(found) == [4]
    assert found[4] != letters(run, 0)
    assert found[4].count("w") > letters(run, 0).count("w")
    assert {text.text for text in module._longest_texts([run, other]).values()} == {PRAISE}


def test_the_longest_text_is_never_a_trained_policy_s(tmp_path: Path) -> None:
    run = Run(GOLDEN)
    trained = praising(changed(tmp_path, "other", strategy={"name": "random"}), 8)
    texts = module._longest_texts([run, trained])
    assert [texts[row["prompt_id"]].text for row in comparisons(run, 0)] == [
        row["policy"]["text"] for row in comparisons(run, 0)
    ]


def test_verdicts_on_other_texts_than_the_recorded_ones_are_noticed(tmp_path: Path) -> None:
    run = Run(GOLDEN)
    other = praising(changed(tmp_path, "other", strategy={"name": "random"}), 8)
    with pytest.raises(
        SpecError, match=r"come out otherwise, imdb-\w+ first; the record was changed, or the judge was"
    ):
        controls([run, other])


def test_no_prompt_keeps_its_own_text_and_each_text_is_used_once() -> None:
    run = Run(GOLDEN)
    own = {row["prompt_id"]: completion_of(row["policy"]) for row in comparisons(run, 8)}
    shuffled = module._shuffled_texts(run)
    assert all(shuffled[prompt].text != own[prompt].text for prompt in own)
    assert sorted(completion.text for completion in shuffled.values()) == sorted(own[prompt].text for prompt in own)
    found = by_name(run)["shuffled"].by_seed[3]
    assert len(found) == 8
    assert set(found) <= set("wlt")


def test_the_source_is_random_where_it_is_there(tmp_path: Path) -> None:
    other = changed(tmp_path, "other", strategy={"name": "random"})
    assert by_name(Run(GOLDEN))["shuffled"].source == "certainty"
    assert by_name(Run(GOLDEN), other)["shuffled"].source == "random"


def test_a_judge_with_other_weights_is_not_believed(tmp_path: Path) -> None:
    run = changed(tmp_path, "forged")
    manifest = json.loads((run.path / "spec.json").read_text())
    manifest["judge"]["weights_sha256"] = "0" * 64
    (run.path / "spec.json").write_text(json.dumps(manifest))
    with pytest.raises(SpecError, match="judged with weights_sha256 '000"):
        controls([Run(run.path)])


def test_one_forged_verdict_is_noticed(tmp_path: Path) -> None:
    run = changed(tmp_path, "forged")
    victim = next(row["prompt_id"] for row in comparisons(run, 8) if row["verdict"] == "second")
    rewritten(run, 8, lambda row: {**row, "verdict": "first"} if row["prompt_id"] == victim else row)
    with pytest.raises(SpecError, match=f"about 8 recorded comparisons, and 1 come out otherwise, {victim} first"):
        controls([Run(run.path)])


def test_a_judge_over_a_network_is_not_asked(tmp_path: Path) -> None:
    remote = {"name": "openai", "model": "gpt-4.1-mini", "template": "paper-sentiment-v1"}
    found = by_name(changed(tmp_path, "remote", judge=remote))
    for name in ("longest", "shuffled"):
        assert found[name].by_seed == {}
        assert found[name].how.startswith("the judge openai is not local")
    assert found["copy"].by_seed == {3: "tttttttt"}


def test_json_and_back() -> None:
    for control in controls([Run(GOLDEN)]):
        assert Control.from_dict(json.loads(json.dumps(control.to_dict()))) == control
