"""Every suite from end to end, on shapes and numbers that take no time."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from apl_bench.benchmarks import asking, ledger, memory, networks, overhead, provider, suites
from apl_bench.benchmarks.plan import Plan
from apl_bench.benchmarks.results import Facts, Race
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.presets import Changes, resolve
from apl_bench.types import SpecError, Verdict
from tests.benchmarks import tiny

PLAN = Plan(tiny.llama(), repeats=2)
RACES = {"sampling": (4, 1), "training": (1, 2), "step": (1, 1)}  # how many, and against how many


@pytest.mark.parametrize("name", RACES)
def test_a_race_has_every_turn_of_every_contender(name: str) -> None:
    races = list(suites.load(name)(PLAN))
    num_races, num_others = RACES[name]
    assert len(races) == num_races
    for race in races:
        assert isinstance(race, Race)
        assert (race.suite, race.shape, race.first) == (name, "tiny", "apl-bench")
        assert len(race.ratios) == num_others
        assert all(len(values) == 2 and min(values) > 0 for values in race.seconds.values())


@pytest.mark.parametrize("plan", [PLAN, Plan(tiny.gpt2(), repeats=1, profiled=True)])
def test_the_share_of_the_peak_is_of_the_models_own_operations(plan: Plan) -> None:
    (facts,) = suites.load("peak")(plan)
    assert isinstance(facts, Facts)
    rows = [dict(zip(facts.columns, row, strict=True)) for row in facts.rows]
    assert [row["trained"] for row in rows] == ["all weights", "LoRA, rank 8"]
    for row in rows:
        assert 0 < float(row["share of peak"].rstrip("%")) < 100
    assert ("aten::" in facts.profile) == plan.profiled


def test_memory_is_measured_in_a_process_for_each_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TIMES", (2,))
    (facts,) = suites.load("memory")(PLAN)
    assert isinstance(facts, Facts)
    rows = [dict(zip(facts.columns, row, strict=True)) for row in facts.rows]
    told = [(row["trained"], row["labels"], row["updates"]) for row in rows]
    assert told == [("all weights", "6", "2"), ("LoRA, rank 8", "6", "2")]
    assert all(100 < float(row["of it model and imports, MB"]) <= float(row["peak MB"]) for row in rows)


@pytest.mark.parametrize("trained", networks.TRAINED)
def test_a_child_is_told_the_whole_case(trained: str, tmp_path: Path) -> None:
    shape = replace(tiny.gpt2(), mixed=True)
    memory.write_checkpoint(shape, tmp_path)
    case = memory.Case.of(shape, trained, 3, str(tmp_path))
    again = memory.Case(**json.loads(json.dumps(asdict(case)))).to_shape()
    assert again.config.to_dict() == shape.config.to_dict()
    assert replace(again, config=None) == replace(shape, config=None)
    assert memory.run(memory.Case.of(tiny.gpt2(), trained, 4, str(tmp_path)))[:3] == [trained, "4", "2"]


def test_every_stage_of_a_ledger() -> None:
    facts = ledger.of_ledger(20)
    assert [row[0] for row in facts.rows] == list(ledger.STAGES)
    assert all(10 < float(row[3]) < 150 for row in facts.rows)  # MB of a process that needs no torch, as this one does
    assert "judgments a second" in dict(zip(ledger.STAGES, facts.rows, strict=True))["replay"][4]


@pytest.mark.usefixtures("loopback")
def test_both_ask_a_provider_that_refuses_too_many_at_once() -> None:
    (row,) = asking.of_judgments(20, [4]).rows
    assert row[:2] == ["4", "0.25"]
    assert all(re.fullmatch(r"[\d.]+ \([\d.]+x\)", cell) for cell in row[2:])


@pytest.mark.usefixtures("loopback")
def test_what_the_provider_says_can_be_read(ledger: Ledger) -> None:
    with provider.provider(0.0, 2) as url:
        judged = Judging(asking.oracle(url), ledger, Manner(Mode.OFF, "fixed")).judge(asking.pairs(5))
    assert [item.verdict for item in judged] == [Verdict.FIRST] * 5


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize(("max_concurrent", "status"), [(0, 429), (1, 200)])
def test_the_provider_refuses_what_is_too_many(max_concurrent: int, status: int) -> None:
    with provider.provider(0.0, max_concurrent) as url:
        connection = HTTPConnection(url.removeprefix("http://").removesuffix("/v1"))
        connection.request("POST", "/v1/chat/completions", body="{}")
        assert connection.getresponse().status == status
        connection.close()


def test_where_a_run_goes() -> None:
    changes = Changes(("loop.budget=4", "loop.labels_per_step=4", "loop.prompts_per_step=4", "loop.waypoints=[0, 4]",
                       "evaluation.num_prompts=4", "evaluation.num_probe_prompts=2"))  # fmt: skip
    facts = overhead.of_run(resolve("imdb", "lite", "certainty", changes, seed=0))
    stages = {row[0]: float(row[2].rstrip("%")) for row in facts.rows}
    assert {"sample", "train", "other"} <= set(stages)
    assert sum(stages.values()) == pytest.approx(100, abs=0.1)


def test_starting_up_is_held_against_torch() -> None:
    (race,) = suites.load("startup")(Plan(tiny.llama(), repeats=1))
    assert isinstance(race, Race)
    assert list(race.ratios) == ["python, nothing imported", "python -c 'import torch'"]


def test_suites_are_run_once_each_in_their_order() -> None:
    assert suites.known(["step", "sampling", "step"]) == ["sampling", "step"]
    assert suites.known([]) == list(suites.SUITES)
    for name in suites.SUITES:
        assert callable(suites.load(name))


def test_what_is_not_installed_is_named_with_what_can_be_measured_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "find_spec", lambda name: None if name == "trl" else object())
    assert suites.known(["sampling", "peak"]) == ["sampling", "peak"]
    with pytest.raises(SpecError, match=r"training, step: .* pip install 'apl-bench\[bench\]'. Without it .*sampling"):
        suites.known([])
