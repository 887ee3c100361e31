"""A draw is a function of its stream's name."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.randomness import stream, uniforms, unit_interval

NAMES = st.tuples(st.integers(0, 9), st.sampled_from(["completion", "entropy"]), st.integers(1, 9), st.text(max_size=3))


def test_a_stream_starts_over_when_it_is_called_again() -> None:
    assert stream(7, "prompts").random(3).tolist() == stream(7, "prompts").random(3).tolist()


def test_draws_are_the_same_on_every_machine() -> None:
    # the digits of the first release: if they change, every published run changes
    assert stream(0, "completion", 1, "imdb-000000000000", 0).integers(0, 2**32, 3).tolist() == [
        3814629472,
        421249221,
        3935835224,
    ]


def test_a_text_and_a_number_name_different_streams() -> None:
    assert stream(1).random() != stream("1").random()
    assert stream(1, 23).random() != stream(12, 3).random()


@given(st.lists(NAMES, min_size=2, max_size=5, unique=True))
def test_different_names_are_different_streams(names: list[tuple[int, str, int, str]]) -> None:
    assert len({stream(*name).random() for name in names}) == len(names)


@given(st.lists(NAMES, max_size=6), st.randoms(use_true_random=False))
def test_uniforms_do_not_depend_on_what_else_is_drawn(names: list[tuple[int, str, int, str]], random: object) -> None:
    together = uniforms(list(names), 4)
    alone = [uniforms([name], 4)[0] for name in names]
    assert together.shape == (len(names), 4)
    assert together.tolist() == [row.tolist() for row in alone]


def test_a_longer_draw_starts_with_the_shorter_one() -> None:
    np.testing.assert_array_equal(uniforms([(3, "x")], 9)[0, :4], uniforms([(3, "x")], 4)[0])


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1]  # type: ignore[index]
    uniforms([(1, "x")], 100)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_a_number_of_a_text_is_the_first_53_bits_of_its_keyed_hash() -> None:
    parts = b"".join(len(part).to_bytes(8, "big") + part for part in (b"a film", "caf\u00e9".encode()))
    first = int(hashlib.blake2b(parts, digest_size=8, key=b"salt").hexdigest(), 16)
    assert unit_interval("salt", "a film", "caf\u00e9") == first // 2**11 / 2**53


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_other_texts_have_another_number(one: list[str], other: list[str]) -> None:
    assert 0 <= unit_interval("k", *one) < 1
    assert (unit_interval("k", *one) == unit_interval("k", *other)) == (one == other)
    assert unit_interval("k", *one) != unit_interval("l", *one)


def test_half_a_surrogate_pair_has_a_number_too() -> None:
    assert unit_interval("k", "\ud800") != unit_interval("k", "\udc00")
