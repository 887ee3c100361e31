"""The queue keeps every answer, decides each label once, and hides what measures the annotator."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.annotation.items import majority
from apl_bench.annotation.queue import CHECK_GAP, LEASE_S, Queue, checked_name
from apl_bench.types import SpecError
from tests.annotation.queues import SetClock, check_of, item, queue_of, reopened


def answer_all(queue: Queue, annotator: str, verdict: str = "A", second_opinions: bool = False) -> list[str]:
    """Answer whatever is offered; returns the ids in the order in which they came."""
    seen: list[str] = []
    while (offer := queue.offer(annotator, second_opinions)).item:
        queue.submit(offer.item.id, verdict, annotator, None, "test/1")
        seen.append(offer.item.id)
    return seen


def test_each_item_is_offered_once_in_a_shuffled_order_of_ones_own(tmp_path: Path) -> None:
    items = [item(number) for number in range(30)]
    ann = answer_all(queue_of(tmp_path / "ann", items), "ann")
    bob = answer_all(queue_of(tmp_path / "bob", items), "bob")
    assert sorted(ann) == sorted(bob) == sorted(one.id for one in items)
    assert ann != bob
    assert ann != [one.id for one in items]
    assert ann == answer_all(queue_of(tmp_path / "again", items), "ann")


def test_the_first_answer_is_the_label_and_later_ones_are_not(tmp_path: Path) -> None:
    one = item(1)
    queue = queue_of(tmp_path, [one])
    queue.submit(one.id, "B", "ann", None, "test/1")
    queue.submit(one.id, "A", "bob", None, "test/1")
    assert [answer.verdict for answer in reopened(queue).take([one.id])[one.id]] == ["B"]


def test_an_annotator_answers_an_item_once(tmp_path: Path) -> None:
    one = item(1)
    queue = queue_of(tmp_path, [one])
    assert queue.submit(one.id, "B", "ann", None, "test/1")
    assert reopened(queue).submit(one.id, "A", "ann", None, "test/1") is None
    assert [answer.verdict for answer in queue.refresh().answers[one.id]] == ["B"]


def test_an_unknown_item_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no item"):
        queue_of(tmp_path, [item(1)]).submit(item(2).id, "A", "ann", None, "test/1")


def test_the_same_items_are_added_once_by_any_number_of_runs(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1)])
    assert reopened(queue).enqueue([item(1), item(2), item(2)]) == 1
    assert len(queue.refresh().items) == 2


@pytest.mark.parametrize(
    ("verdicts", "votes", "expected"),
    [
        ("A", 1, "A"), ("S", 1, "S"), ("", 1, None), ("A", 3, None), ("AA", 3, "A"), ("AB", 3, None), ("ABB", 3, "B"),
        ("ABT", 3, "T"), ("ABS", 3, "T"), ("SSA", 3, "S"), ("ABAB", 5, None), ("ABABT", 5, "T"), ("AAAB", 5, "A"),
    ],
)  # fmt: skip
def test_majority(verdicts: str, votes: int, expected: str | None) -> None:
    assert majority(list(verdicts), votes) == expected


@given(st.text("ABTS", min_size=1, max_size=9), st.sampled_from([1, 3, 5]))
def test_a_label_that_is_decided_is_never_changed_by_a_later_vote(verdicts: str, votes: int) -> None:
    decided = [majority(list(verdicts[:num]), votes) for num in range(1, min(len(verdicts), votes) + 1)]
    first = next((found for found in decided if found), None)
    assert all(found == first for found in decided[decided.index(first) :])
    if len(verdicts) >= votes:
        assert first


def test_several_votes_are_of_several_people(tmp_path: Path) -> None:
    one = item(1, votes=3)
    queue = queue_of(tmp_path, [one])
    for annotator, verdict in (("ann", "A"), ("bob", "B"), ("eve", "B")):
        assert queue.take([one.id]) == {}
        assert queue.offer(annotator).item == one
        queue.submit(one.id, verdict, annotator, None, "test/1")
    assert [answer.verdict for answer in queue.take([one.id])[one.id]] == ["A", "B", "B"]


def test_undo_takes_back_the_last_answer_and_offers_it_again(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(number) for number in range(5)])
    seen = answer_all(queue, "ann")
    undone = reopened(queue).undo("ann")
    assert undone
    assert undone.item == seen[-1]
    offered = queue.offer("ann").item
    assert offered
    assert offered.id == seen[-1]
    lines = (queue.folder / "answers-ann.jsonl").read_text().splitlines()
    assert len(lines) == 6  # nothing is edited: a retraction is a line of its own
    assert json.loads(lines[-1])["event"] == "retract"
    queue.submit(seen[-1], "B", "ann", None, "test/1")
    state = reopened(queue).refresh()
    assert [answer.verdict for answer in state.answers[seen[-1]]] == ["B"]
    assert [answer.item for answer in state.by("ann")] == seen


def test_undo_goes_back_one_by_one_and_stops_at_the_beginning(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(number) for number in range(3)])
    seen = answer_all(queue, "ann")
    undone = [queue.undo("ann") for _ in range(3)]
    assert [answer.item for answer in undone if answer] == seen[::-1]
    assert queue.undo("ann") is None


def test_what_a_run_has_taken_cannot_be_taken_back(tmp_path: Path) -> None:
    one = item(1)
    queue = queue_of(tmp_path, [one])
    queue.submit(one.id, "A", "ann", None, "test/1")
    reopened(queue).take([one.id])
    with pytest.raises(SpecError, match="a run has used it"):
        queue.undo("ann")
    queue.submit(one.id, "B", "bob", None, "test/1")
    assert queue.undo("bob")  # bob's is no label: it may go


def test_an_item_that_one_looks_at_is_not_offered_to_another(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1), item(2)])
    ann, bob = queue.offer("ann").item, reopened(queue).offer("bob").item
    assert None not in (ann, bob)
    assert ann != bob
    third = queue.offer("eve")
    assert (third.item, third.num_elsewhere) == (None, 2)


def test_two_tabs_of_one_annotator_show_the_same_item(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(number) for number in range(9)])
    assert queue.offer("ann").item == reopened(queue).offer("ann").item


def test_a_lease_ends_by_itself_or_when_it_is_given_back(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1)])
    queue.offer("ann")
    assert queue.offer("bob").item is None
    assert isinstance(queue.now, SetClock)
    queue.now.seconds += LEASE_S + 1
    assert queue.offer("bob").item == item(1)
    assert queue.offer("ann").item is None
    queue.release("bob")
    assert queue.offer("ann").item == item(1)


def test_a_late_answer_is_kept(tmp_path: Path) -> None:
    one = item(1)
    queue = queue_of(tmp_path, [one])
    queue.offer("ann")
    assert isinstance(queue.now, SetClock)
    queue.now.seconds += LEASE_S + 1
    queue.offer("bob")
    queue.submit(one.id, "B", "bob", None, "test/1")
    queue.submit(one.id, "A", "ann", None, "test/1")
    assert [answer.annotator for answer in queue.refresh().answers[one.id]] == ["bob", "ann"]


def test_broken_leases_hold_nothing(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1)])
    for content in ("", "[]", '{"ann": 3}', '{"ann": ["x"]}', "\x00"):
        (queue.folder / "leases.json").write_text(content)
        assert queue.offer("ann").item == item(1)
        queue.release("ann")


def test_checks_come_after_their_original_and_to_the_same_person_only(tmp_path: Path) -> None:
    items = [item(number) for number in range(40)]
    checks = [check_of(one, kind) for one in items[:5] for kind in ("repeat", "swap")]
    queue = queue_of(tmp_path, [*items, *checks])
    first = queue.offer("ann").item
    assert first
    queue.submit(first.id, "T", "ann", None, "test/1")
    bob = answer_all(queue, "bob")
    ann = [first.id, *answer_all(queue, "ann")]
    for check in checks:
        asked = ann if check.original in ann else bob
        assert check.id in asked
        assert (check.id in ann) != (check.id in bob)
        gap = asked.index(check.id) - asked.index(check.original)
        assert gap > CHECK_GAP or asked.index(check.original) > len(asked) - 25
    assert len(ann) + len(bob) == 50


def test_progress_counts_checks_before_they_are_shown(tmp_path: Path) -> None:
    items = [item(number) for number in range(12)]
    queue = queue_of(tmp_path, [*items, *(check_of(one, "repeat") for one in items[:4])])
    totals = set()
    while (offer := queue.offer("ann")).item:
        totals.add(offer.progress.num_answered + offer.progress.num_left)
        queue.submit(offer.item.id, "A", "ann", None, "test/1")
    assert totals == {16}
    assert queue.is_done("ann")


def test_second_opinions_change_no_label(tmp_path: Path) -> None:
    items = [item(number) for number in range(6)]
    queue = queue_of(tmp_path, items)
    answer_all(queue, "ann", "A")
    assert answer_all(queue, "bob", "B") == []
    assert len(answer_all(queue, "bob", "B", second_opinions=True)) == 6
    taken = queue.take([one.id for one in items])
    assert {answer.verdict for answers in taken.values() for answer in answers} == {"A"}


def test_a_torn_line_is_left_out_and_the_next_one_is_not_lost(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1), item(2)])
    queue.submit(item(1).id, "A", "ann", None, "test/1")
    path = queue.folder / "answers-ann.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event":"answer","item":"')
    second = reopened(queue)
    assert len(second.refresh().by("ann")) == 1
    assert second.notices == []
    second.submit(item(2).id, "B", "ann", None, "test/1")
    third = reopened(queue)
    assert [answer.verdict for answer in third.refresh().by("ann")] == ["A", "B"]
    assert len(third.notices) == 1
    assert "answers-ann.jsonl line 2 is left out: it is not JSON" in third.notices[0]
    queue.refresh()
    assert queue.state.answers == third.state.answers


BAD = (
    "[]", "null", "{}", '{"event":"answer"}', '{"event":"item"}', '{"event":"answer","item":"x","verdict":"A"}',
    "[" * 5000, '{"event":"retract","item":"x","annotator":"ann","sequence":true,"at":"x"}',
)  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_named_and_the_rest_is_read(tmp_path: Path, line: str) -> None:
    queue = queue_of(tmp_path, [item(1)])
    (queue.folder / "answers-ann.jsonl").write_text(line + "\n")
    queue.submit(item(1).id, "A", "ann", None, "test/1")
    assert len(reopened(queue).refresh().by("ann")) == 1
    assert "answers-ann.jsonl line 1 is left out" in queue.notices[0]


@pytest.mark.parametrize(
    "change",
    [{"verdict": "C"}, {"verdict": "AB"}, {"verdict": ["A"]}, {"annotator": "bob"}, {"submitted": "now"},
     {"sequence": 1.5}, {"item": "0" * 32}, {"more": 1}],
)  # fmt: skip
def test_an_answer_of_other_fields_is_left_out(tmp_path: Path, change: dict[str, object]) -> None:
    queue = queue_of(tmp_path, [item(1)])
    queue.submit(item(1).id, "A", "ann", None, "test/1")
    path = queue.folder / "answers-ann.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) + "\n")
    other = reopened(queue)
    assert other.refresh().by("ann") == []
    assert len(other.notices) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "x" * 65, "a\n", None, 3])
def test_names_lead_nowhere_else(name: object) -> None:
    with pytest.raises(SpecError, match="letters, digits"):
        checked_name(name, "the queue")


def test_a_queue_that_no_run_has_made_is_named_with_those_there_are(tmp_path: Path) -> None:
    Queue.named("films").enqueue([item(1)])
    with pytest.raises(SpecError, match=r"no queue called 'film'.*there are: films"):
        Queue.existing("film")
    assert Queue.existing("films").refresh().items


def _answer_many(folder: Path, annotator: str, start: Barrier) -> None:
    queue = Queue(folder)
    start.wait()
    answer_all(queue, annotator)


def test_many_processes_lose_nothing(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(number) for number in range(120)])
    context = multiprocessing.get_context("spawn")
    names = ["ann", "ann", "bob", "eve"]
    start = context.Barrier(len(names))
    workers = [context.Process(target=_answer_many, args=(queue.folder, name, start)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    queue.refresh()
    answers = [answer for found in queue.state.answers.values() for answer in found]
    assert len(answers) == 120  # leases: nobody answers what another looks at
    assert sorted(answer.sequence for answer in answers) == list(range(1, 121))
    assert queue.notices == []


KILLED = """
import sys
from pathlib import Path
from apl_bench.annotation.queue import Queue
queue = Queue(Path(sys.argv[1]))
while (offer := queue.offer("ann")).item:
    queue.submit(offer.item.id, "A", "ann", None, "test/1")
    print(offer.item.id, flush=True)
"""


def test_an_answer_that_was_confirmed_survives_a_kill(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(number) for number in range(4000)])
    worker = subprocess.Popen([sys.executable, "-c", KILLED, str(queue.folder)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout
    confirmed = [worker.stdout.readline().strip() for _ in range(20)]
    time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    confirmed += [line.strip() for line in worker.stdout.read().splitlines() if len(line.strip()) == 32]
    worker.wait()
    worker.stdout.close()
    kept = {answer.item for answer in reopened(queue).refresh().by("ann")}
    assert set(confirmed) <= kept
    assert len(kept) <= len(set(confirmed)) + 1
