"""What a design can show: spreads that are published, recorded, or guessed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from apl_bench.planning.design import DIFFERENCES, design
from apl_bench.planning.standing import look
from apl_bench.presets import Changes, resolve
from tests.planning.planned import Folder, tiny

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize("preset", ["lite", "lite-online"])
def test_the_published_spreads_are_those_of_the_results(preset: str, tmp_path: Path) -> None:
    rows = list(csv.DictReader((RESULTS / f"imdb-{preset}.csv").open()))
    last = max(int(row["num_labels"]) for row in rows)
    expected = {row["strategy"]: float(row["difference_sd_seeds"]) for row in rows
                if int(row["num_labels"]) == last and row["strategy"] != "random"}  # fmt: skip
    spec = resolve("imdb", preset, "random", Changes(), 0)
    found = design([spec], look(tmp_path, [spec]), 10)
    assert {each.between: each.sd for each in found} == {
        f"{name} - random": pytest.approx(sd, abs=6e-5) for name, sd in expected.items()
    }
    assert all("first guess" not in each.source for each in found)


def test_other_settings_make_published_spreads_a_guess_and_other_presets_have_none(tmp_path: Path) -> None:
    spec = tiny("certainty")
    (guess,) = design([spec], look(tmp_path, [spec]), 10)
    assert guess.between == "certainty - random"
    assert "first guess" in guess.source
    own = replace(spec, preset="mine")
    bare = design([own], look(tmp_path, [own]), 1)
    assert bare[0].sd == pytest.approx((0.5 / 12) ** 0.5)
    assert "the prompts alone" in bare[0].source
    assert bare[0].difference is None
    assert len(bare[0].seeds_needed) == len(DIFFERENCES)


def test_recorded_runs_give_the_spread_where_three_seeds_are_shared(folder: Folder) -> None:
    from apl_bench.comparison import compare
    from apl_bench.records import find_runs

    specs = [tiny(name, seed=seed) for name in ("random", "mid") for seed in range(3)]
    folder.run(*specs[:5])
    assert "docs/results" in folder.plan(tiny("mid")).design[0].source
    folder.run(specs[5])
    (row,) = [row for row in compare(find_runs([folder.out]))[0].rows if row.strategy == "mid"]
    assert row.last.difference is not None
    (found,) = folder.plan(tiny("mid")).design
    assert found.sd == row.last.difference.sd_seeds
    assert found.source == f"3 seeds, recorded in {folder.out}"
    seconds = folder.plan(tiny("mid", seed=9), tiny("tails")).model_seconds
    assert (seconds["mid"] or 0) > 0
    assert seconds["tails"] is None
