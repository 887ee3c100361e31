"""Plans against what runs then do: counts, what is asked once, and what is recorded already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from apl_bench.judging import Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.planning.counting import known
from apl_bench.planning.plan import Plan, Wish, plan
from apl_bench.planning.units import ALIKE_AT_FIRST, units
from apl_bench.pool import PromptPool
from apl_bench.presets import Changes, resolve
from apl_bench.randomness import stream
from apl_bench.records import run_path
from apl_bench.registry import STRATEGIES
from apl_bench.types import Pair, SpecError
from tests.fakes import constant, prompt_pool, prompts
from tests.planning.planned import Folder, tiny


def counts(planned: Plan, field: str) -> list[int]:
    """Of the oracle and the judge."""
    return [getattr(part.count, field) for part in planned.parts]


def test_what_is_planned_is_what_two_strategies_then_ask(folder: Folder) -> None:
    """12 prompts at 3 waypoints, 2 x 4 labels; step 1, waypoint 0 and the waypoint after step 1 are asked once."""
    specs = [tiny("random"), tiny("certainty")]
    planned = folder.plan(*specs)
    assert counts(planned, "verdicts") == [16, 72]
    assert counts(planned, "shared") == [4, 12]
    assert counts(planned, "at_most") == [12, 60]
    assert counts(planned, "expected") == [12, 48]
    asked = folder.run(*specs)
    keys = {part: folder.keys(part, *specs) for part in ("oracle", "judge")}
    assert [sum(map(len, keys[part].values())) for part in keys] == counts(planned, "expected")
    assert [len(set().union(*keys[part].values()) - {None}) for part in keys] == asked  # texts that repeat by chance
    again = folder.plan(*specs)
    assert (again.num_complete, counts(again, "at_most")) == (2, [0, 0])


def test_what_another_strategy_recorded_is_known_to_be_in_the_ledger(folder: Folder) -> None:
    folder.run(tiny("random"))
    planned = folder.plan(tiny("uncertainty"), tiny("entropy"))
    assert counts(planned, "in_ledger") == [4, 12]
    assert counts(planned, "shared") == [0, 12]
    assert counts(planned, "at_most") == [12, 48]
    expected = counts(planned, "expected")
    assert expected == [12, 36]
    asked = folder.run(tiny("uncertainty"), tiny("entropy"))
    assert all(new <= most for new, most in zip(asked, expected, strict=True))


def test_a_run_that_was_stopped_needs_only_the_rest(folder: Folder) -> None:
    spec = tiny("random")
    folder.run(spec)
    path = run_path(folder.out, spec)
    for name in ("result.json", "steps/0002.jsonl", "waypoints/0008.jsonl"):
        (path / name).unlink()
    planned = folder.plan(spec)
    assert (planned.num_complete, planned.num_begun) == (0, 1)
    assert counts(planned, "recorded") == [4, 24]
    assert counts(planned, "at_most") == [4, 12]


def test_labels_that_another_judge_s_run_bought_are_expected_in_the_ledger(folder: Folder) -> None:
    folder.run(tiny("entropy"))
    planned = folder.plan(tiny("entropy", judge="flip(0.1, classifier(judge))"))
    assert counts(planned, "at_most") == [4, 24]  # step 1 and waypoint 0 do not depend on training
    assert counts(planned, "expected") == [0, 0]


def test_another_ledger_or_another_version_of_the_strategy_knows_nothing(folder: Folder, tmp_path: Path) -> None:
    folder.run(tiny("random"))
    with Ledger(tmp_path / "empty") as ledger:
        elsewhere = plan([tiny("certainty")], folder.out, ledger, Wish())
    assert counts(elsewhere, "at_most") == [8, 36]
    manifest = run_path(folder.out, tiny("random")) / "spec.json"
    identity = str(STRATEGIES.identity("random")["source_sha256"])
    manifest.write_text(manifest.read_text().replace(identity, "0" * 64))
    changed = folder.plan(tiny("certainty"))
    assert counts(changed, "at_most") == [8, 36]
    assert "was made with another version" in changed.notices[0]
    with pytest.raises(SpecError, match="was begun with another strategy"):
        folder.plan(tiny("random"))


@pytest.mark.parametrize(("wish", "expected"), [
    (Wish(mode=Mode.OFF), [16, 72]),
    (Wish(mode=Mode.REFRESH), [16, 72]),
    (Wish(mode=Mode.REFRESH, generation=3), [12, 48]),
    (Wish(mode=Mode.REPLAY), [0, 0]),
])  # fmt: skip
def test_modes(wish: Wish, expected: list[int], tmp_path: Path) -> None:
    """OFF keeps nothing between runs, and a refresh is a generation of its own in each command."""
    planned = plan([tiny("random"), tiny("certainty")], tmp_path / "runs", None, wish)
    assert counts(planned, "expected") == expected


def test_who_buys_the_same_in_step_1() -> None:
    """Each shipped strategy on a pool whose margins are all 0, as `acquire` asks it."""
    random = _first_step("random")
    alike = {name for name in STRATEGIES.names() if _first_step(name) == random}
    assert alike == ALIKE_AT_FIRST


def _first_step(name: str) -> list[Pair]:
    strategy = STRATEGIES.create(name, {})
    theta, rng = constant(0.3), stream(0, "strategy", 1)
    num_drawn = 8 * (strategy.oversample or 2)
    pool: PromptPool = prompt_pool(theta, theta, prompts(num_drawn), strategy.num_completions)
    candidates = pool.candidates(strategy.shortlist(pool, 8, rng))
    return candidates.pairs(strategy.select(candidates, 4, rng).pairs)


def test_the_lite_preset_by_hand() -> None:
    """4 steps of 128 labels, 5 waypoints of 1024 prompts."""
    found = list(units(resolve("imdb", "lite", "mid", Changes(), 7)))
    assert [unit.num_verdicts for unit in found if unit.part == "oracle"] == [128] * 4
    assert [(unit.place, unit.num_verdicts) for unit in found if unit.part == "judge"] == [
        (0, 1024), (128, 1024), (256, 1024), (384, 1024), (512, 1024),
    ]  # fmt: skip
    assert [unit.place for unit in found if unit.certain] == [0, 1]


def test_known_looks_into_the_generation_of_a_refresh() -> None:
    asked: list[int] = []

    def find(keys: Sequence[str], generation: int) -> set[str]:
        asked.append(generation)
        return set(keys)

    for mode, generation in ((Mode.RECORD, None), (Mode.AUDIT, 4), (Mode.REFRESH, 4)):
        assert known(mode, generation, find).find(["k"]) == {"k"}
    assert known(Mode.OFF, None, find).find(["k"]) == set()
    assert asked == [0, 0, 4]
