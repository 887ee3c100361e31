"""Oracles as one writes them: what is meant, what is refused, and that what is printed can be pasted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.expressions import MAX_LENGTH, describe, parse
from apl_bench.spec import PluginSpec
from apl_bench.types import SpecError
from apl_bench.wrapping import create_oracle

FLIP = PluginSpec("flip", {"rate": 0.1})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("classifier", PluginSpec("classifier")),
        ("classifier:judge", PluginSpec("classifier", {"model": "judge"})),
        (" classifier( judge ) ", PluginSpec("classifier", {"model": "judge"})),
        ("classifier(model=judge)", PluginSpec("classifier", {"model": "judge"})),
        ('classifier(model="judge")', PluginSpec("classifier", {"model": "judge"})),
        ("flip(0.1, classifier)", PluginSpec("classifier", {}, (FLIP,))),
        ("flip(rate=0.1, classifier:judge)", PluginSpec("classifier", {"model": "judge"}, (FLIP,))),
        (
            "repeat(3, both_orders(flip(0.1, classifier)))",
            PluginSpec("classifier", {}, (FLIP, PluginSpec("both_orders"), PluginSpec("repeat", {"num": 3}))),
        ),
    ],
)
def test_an_expression_means_an_oracle_and_its_wrappers_the_innermost_first(text: str, meant: PluginSpec) -> None:
    assert parse(text) == meant
    assert parse(describe(meant)) == meant, "what is printed can be pasted"
    assert PluginSpec.from_table("oracle", meant.to_table()) == meant


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("clasifier", r"no oracle or wrapper called 'clasifier'\. Did you mean 'classifier'"),
        ("flop(0.1, classifier)", r"Did you mean 'flip'"),
        ("flip(0.1)", r"no oracle or wrapper called|is not an oracle"),
        ("flip", r"'flip' wraps nothing"),
        ("flip(rate=0.1)", r"wraps nothing"),
        ("flip(0.1, 0, 1, classifier)", r"gives 3 values to flip, which takes: rate, seed"),
        ("flip(rat=0.1, classifier)", r"no parameter of 'flip' called 'rat'\. Did you mean 'rate'"),
        ("flip(0.1, rate=0.2, classifier)", r"gives rate twice"),
        ("classifier(judge, oracle)", r"gives 2 values to classifier, which takes: model"),
        ("", r"is not an oracle"),
        ("classifier)", r"is not an oracle"),
        ("flip(0.1, classifier", r"is not an oracle"),
        ("flip(0.1,, classifier)", r"is not an oracle"),
        ("classifier(model=)", r"is not an oracle"),
        ("classifier:__import__('os')", r"gives 2 values"),
        ("classifier(__import__('os'))", r"is not an oracle"),
        ("classifier;rm", r"is not an oracle"),
        ("flip(" * 50 + "classifier" + ")" * 50, r"wraps nothing|wrappers; expected at most|no oracle"),
        ("both_orders(" * 17 + "classifier" + ")" * 17, r"has 17 wrappers; expected at most 16"),
        ("x" * (MAX_LENGTH + 1), r"has 2001 characters"),
    ],
)
def test_what_is_no_oracle_is_refused_with_what_to_write(text: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        parse(text)


def test_a_wrong_value_is_refused_where_the_oracle_is_made() -> None:
    with pytest.raises(SpecError, match="rate is 2; expected a number from 0 to 1"):
        create_oracle(parse("flip(2, classifier:judge)"))


PIECES = ["flip", "both_orders", "repeat", "classifier", "hf", "judge", "model", "rate", *'(()),:="[] 0.1 3', "\\"]


@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_is_an_oracle_or_a_clear_refusal(text: str) -> None:
    try:
        plugin = parse(text)
    except SpecError:
        return
    assert parse(describe(plugin)) == plugin
