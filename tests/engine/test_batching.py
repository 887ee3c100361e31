"""Padding is a function of one sequence's length; runs are even and lose nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apl_bench.engine.batching import fill_up, group_by, min_rows, padded_length, split_evenly


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 4, 16]))
def test_padding_covers_the_sequence_and_is_small(length: int, limit: int, step: int) -> None:
    padded = padded_length(length, limit, step)
    assert length <= padded <= max(length, limit)
    assert padded - length < max(step, length / 8 + 1)


def test_padded_lengths_by_hand() -> None:
    assert [padded_length(length, 1000, 4) for length in (1, 4, 5, 31, 33, 100, 513)] == [4, 4, 8, 32, 36, 104, 576]
    assert [padded_length(length, 1000, 16) for length in (8, 16, 17, 513)] == [16, 16, 32, 576]
    assert padded_length(13, 14, 4) == 14


@given(st.lists(st.integers(), max_size=60), st.integers(1, 12))
def test_runs_are_even_and_complete(items: list[int], limit: int) -> None:
    runs = split_evenly(items, limit)
    assert [item for run in runs for item in run] == items
    assert len(runs) == -(-len(items) // limit)
    sizes = [len(run) for run in runs]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert max(sizes, default=0) <= limit


def test_a_limit_of_nothing_still_takes_one_at_a_time() -> None:
    assert split_evenly([7, 8], 0) == [[7], [8]]


def test_groups_keep_input_order_and_come_in_key_order() -> None:
    assert group_by([8, 4, 8, 4, 12]) == [[1, 3], [0, 2], [4]]


def test_filling_up_repeats_the_last_and_never_cuts() -> None:
    assert fill_up([1, 2], 4) == [1, 2, 2, 2]
    assert fill_up([1, 2, 3], 2) == [1, 2, 3]


def test_every_thread_gets_eight_rows() -> None:
    assert [min_rows(threads) for threads in (1, 2, 3, 16)] == [16, 16, 24, 128]
