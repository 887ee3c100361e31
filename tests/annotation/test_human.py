"""People as an oracle: what a run asks, what it gets, and how it waits."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.annotation.queue import Queue
from apl_bench.checks import check_oracle
from apl_bench.failures import AwaitingLabels
from apl_bench.judgments.keys import request_key
from apl_bench.judgments.record import Record
from apl_bench.oracles.human import TEMPLATES, Human
from apl_bench.presets import Changes, resolve
from apl_bench.registry import ORACLES
from apl_bench.types import Reply, SpecError, Verdict
from apl_bench.wrapping import create_oracle
from tests.annotation.queues import comparison, human

GOLDEN = {  # of requests as they are today; a change makes recorded answers of people unreachable
    "people-sentiment-v1": "57b52e18839ac770f36d444dfa6c49c87d11a0b6c8855928f95f455d25ae1073",
    "people-summary-v1": "1fbadb265849de2957b0989adcc0c10fec525af8a8f9be4c7be2ca1c0c11a55a",
    "people-general-v1": "1784ae2f2bdfa48142e26da01d5d72bbdf07260c607d03221353ce74b15c2402",
}
LETTERS = {"A": Verdict.FIRST, "B": Verdict.SECOND, "T": Verdict.TIE, "S": Verdict.INVALID}


def answer(verdicts: str, annotator: str = "ann") -> None:
    """Answer what is offered with these letters."""
    queue = Queue.named("films")
    for verdict in verdicts:
        offer = queue.offer(annotator)
        assert offer.item
        queue.submit(offer.item.id, verdict, annotator, "2026-11-21T12:00:00.000Z", "test/1")


def collect(oracle: Human, num: int) -> tuple[dict[int, Reply], AwaitingLabels | None]:
    replies: dict[int, Reply] = {}
    try:
        for position, reply in oracle.answers([comparison(number) for number in range(num)]):
            replies[position] = reply
    except AwaitingLabels as waiting:
        return replies, waiting
    return replies, None


def test_it_keeps_the_contract_of_oracles() -> None:
    assert check_oracle(human()) == []
    assert issubclass(ORACLES.load("human"), Human)
    assert not human().local


def test_a_run_stops_for_labels_and_goes_on_with_them() -> None:
    oracle = human()
    replies, waiting = collect(oracle, 3)
    assert replies == {}
    assert waiting
    assert waiting.num_missing == 3
    assert "apl-bench annotate page films" in str(waiting)
    answer("AB")
    replies, waiting = collect(oracle, 3)
    assert len(replies) == 2
    assert waiting
    assert waiting.num_missing == 1
    answer("T")
    replies, waiting = collect(oracle, 3)
    assert waiting is None
    assert sorted(oracle.read(reply).verdict.value for reply in replies.values()) == ["first", "second", "tie"]
    assert [reply for _, reply in sorted(replies.items())] == oracle.ask([comparison(number) for number in range(3)])
    assert len(Queue.named("films").refresh().items) == 3


def test_a_reply_is_canonical_and_can_be_recorded() -> None:
    oracle = human()
    collect(oracle, 1)
    answer("B")
    reply = collect(oracle, 1)[0][0]
    table = json.loads(reply.raw)
    assert rfc8785.dumps(table).decode() == reply.raw
    assert table == {"verdict": "B", "annotator": "ann", "started": "2026-11-21T12:00:00.000Z",
                     "submitted": table["submitted"], "ui_version": "test/1"}  # fmt: skip
    request = oracle.request(comparison(0))
    record = Record.of(request, reply)
    assert Record.from_line(record.to_line()).reply == record.reply
    assert record.key == request_key(request)


@pytest.mark.parametrize("verdict", LETTERS)
def test_what_each_key_means(verdict: str) -> None:
    oracle = human()
    collect(oracle, 1)
    answer(verdict)
    reply = collect(oracle, 1)[0][0]
    assert oracle.read(reply).verdict is LETTERS[verdict]
    assert oracle.read(reply).p_first is None
    assert reply.outcome == ("refused" if verdict == "S" else "ok")


def test_it_asks_in_the_order_shown() -> None:
    plain, swapped = (human().request(comparison(0, swapped)) for swapped in (False, True))
    assert (plain["first"], plain["second"]) == (swapped["second"], swapped["first"])
    repeated = human().request(comparison(0, repeat=1))
    assert len({request_key(request) for request in (plain, swapped, repeated)}) == 3


def test_shares_of_checks_change_no_key_and_make_no_label() -> None:
    checked = human(repeats=1.0, swaps=1.0)
    assert checked.request(comparison(0)) == human().request(comparison(0))
    assert checked.identity() != human().identity()
    collect(checked, 2)
    items = Queue.named("films").refresh().items.values()
    assert sorted(item.kind for item in items) == ["label", "label", "repeat", "repeat", "swap", "swap"]
    for item in items:
        original = next(one for one in items if one.id == item.original)
        shown = (item.second, item.first) if item.kind == "swap" else (item.first, item.second)
        assert shown == (original.first, original.second)
    answer("AA")
    answer("BBBB")
    replies, waiting = collect(checked, 2)
    assert waiting is None
    assert len(replies) == 2


def test_a_share_of_checks_is_about_kept() -> None:
    oracle = human(repeats=0.2, swaps=0.1)
    collect(oracle, 1000)
    kinds = [item.kind for item in Queue.named("films").refresh().items.values()]
    assert 150 < kinds.count("repeat") < 250  # binomial: 200 +- 4 * 12.6
    assert 62 < kinds.count("swap") < 138


def test_a_majority_of_several_people() -> None:
    oracle = human(votes=3)
    collect(oracle, 1)
    answer("A", "ann")
    answer("B", "bob")
    assert collect(oracle, 1)[0] == {}
    answer("B", "eve")
    reply = collect(oracle, 1)[0][0]
    assert oracle.read(reply).verdict is Verdict.SECOND
    assert [vote["annotator"] for vote in json.loads(reply.raw)["votes"]] == ["ann", "bob", "eve"]
    assert request_key(oracle.request(comparison(0))) != request_key(human().request(comparison(0)))


def test_people_who_disagree_make_a_tie() -> None:
    oracle = human(votes=3)
    collect(oracle, 1)
    for verdict, annotator in zip("ABS", ("ann", "bob", "eve"), strict=True):
        answer(verdict, annotator)
    assert oracle.read(collect(oracle, 1)[0][0]).verdict is Verdict.TIE


def test_nothing_in_an_item_says_where_it_comes_from() -> None:
    collect(human(repeats=1.0), 1)
    lines = (Queue.named("films").folder / "items.jsonl").read_text().splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [
        ["event", "first", "id", "kind", "original", "prompt", "question", "second", "votes"]
    ] * 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"queue": "../films"}, "the queue is '../films'"),
        ({"template": "people-sentimnt-v1"}, "Did you mean 'people-sentiment-v1'"),
        ({"template": 3}, "no template for people called '3'"),
        ({"repeats": 1.5}, "repeats is 1.5"),
        ({"swaps": "all"}, "swaps is 'all'"),
        ({"repeats": True}, "repeats is True"),
        ({"votes": 2}, "votes is 2"),
        ({"votes": True}, "votes is True"),
        ({"votes": 27}, "votes is 27"),
    ],
)
def test_parameters_that_cannot_be(params: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        human(**params)


def test_words_of_a_template_are_not_changed_without_a_new_name() -> None:
    keys = {name: request_key(human(template=name).request(comparison(0))) for name in TEMPLATES}
    assert keys == GOLDEN


def test_the_question_is_that_of_the_task_and_stands_in_the_spec() -> None:
    spec = resolve("imdb", "imdb-lite", "random", Changes(oracle="human:films"), seed=0)
    assert spec.oracle.params == {
        "queue": "films", "template": "people-sentiment-v1", "repeats": 0.05, "swaps": 0.05, "votes": 1
    }  # fmt: skip
    assert create_oracle(spec.oracle).oracle.identity()["question"] == TEMPLATES["people-sentiment-v1"]


GOOD = '{"annotator":"ann","started":null,"submitted":"2026-11-21T12:00:00.000Z","ui_version":"page/1","verdict":"A"}'


def test_a_reply_is_read_strictly() -> None:
    assert human().read(Reply(GOOD, "human")).verdict is Verdict.FIRST
    for raw in (
        GOOD.replace('"A"', '"C"'), GOOD.replace('"A"', '["A"]'), GOOD.replace('"A"', '"AB"'), GOOD.replace("{", "[{"),
        GOOD.replace('"verdict":"A"', '"verdict":"A","verdict":"B"'), GOOD + " ", '{"votes":[]}', '{"votes":{}}',
        '{"votes":[' + GOOD + ',{"verdict":"A"}]}', '{"verdict":"A"}', "A", '"A"',
    ):  # fmt: skip
        assert human().read(Reply(raw, "human")).verdict is Verdict.INVALID, raw
    assert human().read(Reply(GOOD, "human", "truncated")).verdict is Verdict.INVALID


@given(st.text())
def test_no_garbage_is_a_label(raw: str) -> None:
    assert human().read(Reply(raw, "human")).verdict is Verdict.INVALID
