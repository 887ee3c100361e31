"""results.json: what it states is true, what apl-comparison/1 always had is there, and a later field breaks nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apl_bench import comparison_json
from apl_bench.leaderboard.claims import _is_wording, differences
from apl_bench.leaderboard.comparison_fields import COMPARISON, Required, inside, of_item
from apl_bench.leaderboard.facts import facts_of
from apl_bench.records import find_runs
from tests.leaderboard.submitted import Forger, checked, codes


def later(value: Any) -> Any:
    """The same with one more field in every object, as a later version may write it."""
    if isinstance(value, dict):
        return {**{name: later(item) for name, item in value.items()}, "later": {"than": 1.5}}
    return [later(item) for item in value] if isinstance(value, list) else value


def names_in(required: Required, place: str = "") -> Iterator[str]:
    """The frozen fields, by their paths; [] is an item of a list."""
    if isinstance(required, list):
        yield from names_in(required[0], f"{place}[]")
    for name, value in required.items() if isinstance(required, dict) else ():
        yield f"{place} {name}".strip()
        yield from names_in(value, f"{place} {name}".strip())


def owners(value: Any, required: Required, place: str = "") -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each frozen field that is there: its object, its name and its path as in `names_in`."""
    if isinstance(value, list):
        for item in value:
            yield from owners(item, of_item(required), f"{place}[]" if isinstance(required, list) else place)
    if isinstance(value, dict) and isinstance(required, dict):
        for name in value.keys() & required.keys():
            path = f"{place} {name}".strip()
            yield value, name, path
            yield from owners(value[name], inside(required, name), path)


@pytest.fixture
def results(honest: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((honest / "results.json").read_text())
    return found


def test_a_later_field_breaks_no_submission_of_before(honest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = comparison_json.comparison_json
    # settings are a run's own: no version adds to them
    monkeypatch.setattr(comparison_json, "comparison_json",
                        lambda found: {**later(today(found)), "settings": today(found)["settings"]})  # fmt: skip
    assert checked(honest).failures == []


def test_a_later_field_that_is_stated_has_to_be_true() -> None:
    found = {"later": {"than": 1.5, "still": 2}}
    assert list(differences("", {"later": {"than": 1.5}}, found, {})) == []
    assert [place for place, *_ in differences("", {"later": {"than": 1.4}}, found, {})] == ["'later' 'than'"]


def test_no_field_of_the_start_can_be_dropped(results: list[dict[str, Any]]) -> None:
    dropped = set()
    for owner, name, path in list(owners(stated := copy.deepcopy(results), [COMPARISON])):
        kept = owner.pop(name)
        assert len(list(differences("", stated, results, [COMPARISON]))) == 1, path
        owner[name] = kept
        dropped.add(path)
    absent = {"length_controlled", "perplexity"}  # of runs so small nothing comes of these
    assert {path for path in set(names_in([COMPARISON])) - dropped if not absent & set(path.split())} == set()


def test_a_setting_cannot_be_dropped(results: list[dict[str, Any]]) -> None:
    stated = copy.deepcopy(results)
    del stated[0]["settings"]["training.epochs"]
    assert len(list(differences("", stated, results, [COMPARISON]))) == 1


@pytest.mark.parametrize("reword", [lambda notes: [f"{one}!" for one in notes], lambda notes: [*notes, "one more"]])
def test_a_later_version_may_put_notes_in_other_words(
    honest: Path, monkeypatch: pytest.MonkeyPatch, reword: Callable[[list[str]], list[str]]
) -> None:
    today = comparison_json.comparison_json
    monkeypatch.setattr(comparison_json, "comparison_json",
                        lambda found: {**today(found), "notes": reword(today(found)["notes"])})  # fmt: skip
    found = checked(honest)
    assert found.failures == []
    assert {one.code for one in found.flags} == {"V408", "V416"}


@pytest.mark.parametrize("notes", [None, "none", [1], [["x"]], ["x" * 10_000], {"a": "b"}])
def test_what_is_no_note_fails(forger: Forger, notes: Any) -> None:
    (results,) = json.loads(json.dumps(facts_of(find_runs([forger.runs])).results))
    assert "V306" in codes(forger.submit(results=({**results, "notes": notes},)))


def test_invented_sentences_are_flagged_and_a_rank_is_not_talked_away(results: list[dict[str, Any]]) -> None:
    stated = copy.deepcopy(results)
    stated[0]["rows"][0]["unranked_because"] = "it was left out"
    ((place, ours, theirs),) = differences("", stated, results, [COMPARISON])
    assert not _is_wording(place, ours, theirs)
    assert _is_wording(place, ours, "it lacks seeds")


@pytest.mark.parametrize("field", ["p_holm", "difference", "made_up"])
def test_a_dropped_and_an_invented_field_of_a_submission(forger: Forger, field: str) -> None:
    results = json.loads(json.dumps(facts_of(find_runs([forger.runs])).results))
    point = results[0]["rows"][0]["curve"][-1]
    if field == "p_holm":
        del next(row["curve"][-1]["difference"] for row in results[0]["rows"] if row["strategy"] != "random")[field]
    elif field == "difference":
        del point[field]
    else:
        point[field] = None
    assert "V306" in codes(forger.submit(results=tuple(results)))
