"""events.jsonl of a small run: what each stage did, and on what machine."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from apl_bench.experiment import Materials, prepare
from apl_bench.records import Run
from tests.test_runner import execute, tiny


@pytest.fixture(scope="module")
def materials() -> Materials:
    return prepare(tiny("random"))


@pytest.fixture(scope="module")
def done(materials: Materials, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return execute(tiny("certainty"), materials, tmp_path_factory.mktemp("journal"))


def test_the_first_event_says_what_the_run_computes_on(done: Run) -> None:
    begin, *others = done.events()
    assert begin["event"] == "begin"
    machine = begin["machine"]
    assert (machine["device"], machine["dtype"], machine["num_threads"]) == ("cpu", "float32", 1)
    assert machine["peak_gflop_per_s"] > 0
    assert all("machine" not in event for event in others)


def test_work_is_told_of_the_stages_that_run_a_model_and_of_no_other(done: Run) -> None:
    for event in done.events():
        assert set(event["tokens"]) == set(event["gflop"]) <= {"sample", "score", "train"}
        assert set(event["tokens"]) <= set(event["seconds"])
        assert all(value > 0 for value in (*event["tokens"].values(), *event["gflop"].values()))
        assert event["peak_memory_mb"] > 0
        assert "peak_device_memory_mb" not in event


def test_sampling_at_step_1_is_each_prompt_once_and_its_completions(done: Run) -> None:
    (acquired,) = [event for event in done.events() if event["event"] == "acquired" and event["step"] == 1]
    candidates = [row for row in done.all_step_rows(1) if row["kind"] == "candidate"]
    completions = [completion for row in candidates for completion in row["completions"]]
    fed = sum(len(completion["token_ids"]) - 1 for completion in completions)
    assert len(completions) == 2 * len(candidates) == 24
    least, most = (num * len(candidates) for num in (2, 40))  # tokens of a prompt
    assert least <= acquired["tokens"]["sample"] - fed <= most
    # the shipped policy has 3.5M weights: a token costs about twice as many FLOPs, less embeddings, plus attention
    assert 2e-3 < acquired["gflop"]["sample"] / acquired["tokens"]["sample"] < 14e-3


def test_a_resumed_run_says_its_machine_again_and_its_events_go_on(
    materials: Materials, done: Run, tmp_path: Path
) -> None:
    spec = tiny("certainty")
    again = execute(spec, materials, tmp_path)
    (again.path / "result.json").unlink()
    before = len(again.events())
    resumed = execute(spec, materials, tmp_path)
    assert (resumed.path / "result.json").read_bytes() == (done.path / "result.json").read_bytes()
    begins = [event for event in resumed.events() if event["event"] == "begin"]
    assert len(resumed.events()) > before
    assert [math.isfinite(event["machine"]["peak_gflop_per_s"]) for event in begins] == [True, True]


def test_a_torn_last_line_is_left_out(done: Run, tmp_path: Path) -> None:
    text = (done.path / "events.jsonl").read_text()
    (tmp_path / "events.jsonl").write_text(text + '{"event":"acq')
    assert Run(tmp_path).events() == [json.loads(line) for line in text.splitlines()]
    assert Run(tmp_path / "nowhere").events() == []
