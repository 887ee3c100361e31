"""What is packed comes back to the bit; what nobody packed is an error, and nothing else."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench import presets
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.record import Record
from apl_bench.leaderboard.packing.answers import NoLedger, pack_replies, unpack_replies
from apl_bench.leaderboard.packing.columns import (
    Vocabulary,
    letters,
    pack_bits,
    pack_completions,
    pack_floats,
    unpack_bits,
    unpack_completions,
    unpack_floats,
)
from apl_bench.leaderboard.packing.files import pack_run, places_of, read_files, unpack_run
from apl_bench.leaderboard.packing.oracles import Answered
from apl_bench.leaderboard.packing.tables import gather
from apl_bench.leaderboard.plausibility import _replies
from apl_bench.records import Run, judged_row, to_json
from apl_bench.replay import waypoint_pairs
from apl_bench.spec import RunSpec
from apl_bench.types import Reply, TokenLogprob
from apl_bench.wrapping import Wrapped, create_oracle

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("d", value)


@given(st.lists(st.none() | FLOATS))
def test_floats_to_the_bit(values: list[float | None]) -> None:
    assert list(map(bits, unpack_floats(pack_floats(values)))) == list(map(bits, values))


def test_floats_by_hand() -> None:
    assert pack_floats([0.5, None, -20.48691701889038, 0.0, -0.0]) == "1p-1 - -1.47ca698p+4 0p+0 -0p+0"
    assert unpack_floats("1p-1 - -1.8p+1") == [0.5, None, -3.0]
    assert unpack_floats("") == []


@pytest.mark.parametrize("text", ["nan", "inf", "1p+9999", "0x1p3", "1.0", "1p", " ", "1p-1  1p-1", "\u0661p+0"])
def test_what_is_no_column_of_floats(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|float"):
        unpack_floats(text)


@pytest.mark.parametrize("value", [1, True, "1", math.nan, math.inf])
def test_what_cannot_be_packed_exactly(value: Any) -> None:
    with pytest.raises(ValueError, match="is no"):
        unpack_floats(pack_floats([value]))


@given(st.lists(st.booleans()))
def test_bits(values: list[bool]) -> None:
    assert unpack_bits(pack_bits(values)) == values


def test_letters_need_no_escape() -> None:
    found = letters(60_000)
    assert len(set(found)) == 60_000
    assert not any(letter in found for letter in ' "\\\n\x7f')
    assert "".join(found).encode()


COMPLETIONS = st.lists(
    st.fixed_dictionaries(
        {"text": st.text(max_size=8), "token_ids": st.lists(st.integers(0, 5), max_size=6), "finished": st.booleans()}
    )
)


@given(COMPLETIONS, st.none() | st.dictionaries(st.integers(0, 5), st.text(max_size=3)))
def test_completions_with_any_tokenizer_or_none(rows: list[dict[str, Any]], pieces: dict[int, str] | None) -> None:
    vocabulary = Vocabulary.of([row["token_ids"] for row in rows], pieces)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert unpack_completions(pack_completions(rows, vocabulary), again) == rows


def test_texts_that_follow_from_tokens_are_left_out() -> None:
    rows = [
        {"text": " a film", "token_ids": [7, 9], "finished": False},
        {"text": "odd", "token_ids": [9], "finished": True},
    ]
    packed = pack_completions(rows, Vocabulary.of([[7, 9], [9]], {7: " a", 9: " film"}))
    assert packed == {"tokens": "#! !", "texts": [[1, "odd"]], "finished": "01"}


def test_replies_with_all_that_they_may_hold() -> None:
    first = Reply(
        "A", "m", "ok", "stop", "id-1", {"prompt_tokens": 3}, 0.25, (TokenLogprob("A", -0.5, (("A", -0.5),)),)
    )
    replies = [first, Reply("B", "m", "refused")]
    packed = pack_replies([Record.of({"number": number}, reply) for number, reply in enumerate(replies)])
    assert packed["model"] == {"all": "m"}
    assert packed["raw"] == {"each": ["A", "B"]}
    assert unpack_replies(packed) == replies
    assert unpack_replies(pack_replies([])) == []


def test_replies_of_a_provider_are_packed_with_all_but_their_requests(made: Path, tmp_path: Path) -> None:
    """A judge that is a provider: its replies cannot be computed, and everything but them can."""
    (path,) = (made / "runs" / "imdb-tiny" / "certainty").glob("seed-000-*")
    copy = asked_elsewhere(Path(shutil.copytree(path, tmp_path / "run")))
    tables = gather([copy])
    lines = pack_run(copy, "x", tables)
    assert lines[0]["parts"]["oracle"]["replies"] is None
    kept = lines[0]["parts"]["judge"]["replies"]
    assert kept["response_id"]["each"][:2] == ["id-0", "id-1"]
    assert unpack_run(lines, tables).files == read_files(copy.path, copy.spec)
    assert tables.prompts[0][1] not in json.dumps(lines[0]["parts"])


def asked_elsewhere(path: Path) -> Run:
    """The run as if openai had judged its waypoints, and said A each time."""
    manifest = json.loads((path / "spec.json").read_text())
    judge = presets.resolve("imdb", "lite", "certainty", presets.Changes(judge="openai:gpt-4.1-mini"), 0).judge
    manifest["spec"]["judge"] = judge.to_table()
    tables = dict(manifest["spec"])
    spec = RunSpec.from_tables(tables.pop("preset"), {k: v for k, v in tables.items() if k != "seed"}, 0)
    (path / "spec.json").write_text(json.dumps({**manifest, "identity": spec.identity}))
    run, oracle = Run(path), create_oracle(spec.judge)
    old = run.judgments()
    records: dict[str, Record] = {}
    for place in places_of(spec):
        rows = [json.loads(line) for line in (path / place.file).read_text().splitlines()]
        if place.kind == "waypoint":
            pairs = waypoint_pairs(rows)
            judging = Judging(Wrapped(Answered(oracle.oracle, answers())), NoLedger(), Manner(Mode.OFF, "random"))
            judged = iter(judging.judge(pairs))
            rows = [{**row, **judged_row(next(judged))} if row["kind"] == "comparison" else row for row in rows]
            (path / place.file).write_text("".join(to_json(row) + "\n" for row in rows))
            records |= {record.key: record for item in judging.judge(pairs) for record in item.records}
        else:
            records |= {key: old[key] for row in rows for key in row.get("keys", ())}
    (path / "judgments.jsonl").write_bytes(b"".join(record.to_line() for record in records.values()))
    (path / "result.json").write_text(json.dumps(Run(path).summary(), indent=2) + "\n")
    return Run(path)


def answers() -> Iterator[Reply]:
    for number in count():
        yield Reply("Preferred: A", "gpt-4.1-mini", "ok", "stop", f"id-{number}", {"prompt_tokens": 90 + number}, 0.5)


def test_what_a_provider_never_says(made: Path) -> None:
    """Ids twice, long replies again and again, tokens that texts do not have."""
    text = "The first continuation is more positive, and the second repeats itself all the time; so: preferred A."
    used = {"prompt_tokens": 10**6}
    replies = [Reply(text, "m", response_id="same", usage=used) for _ in range(20)]
    records = {str(n): Record.of({"provider": "openai", "number": str(n)}, reply) for n, reply in enumerate(replies)}
    spec = presets.resolve("imdb", "lite", "certainty", presets.Changes(judge="openai:gpt-4.1-mini"), 0)
    run: Any = SimpleNamespace(spec=spec, records=records, place=lambda name: name)
    assert {flag.code for flag in _replies(run)} == {"V401", "V402", "V403"}
