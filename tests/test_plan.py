"""Plans against what runs then do: counts, what is asked once, tokens, dollars, and what is recorded already."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench.asking.asking import Asking
from apl_bench.asking.prices import Price
from apl_bench.experiment import Materials, Means, build, prepare
from apl_bench.journal import Journal
from apl_bench.judging import Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.planning import texts
from apl_bench.planning.calls import (
    CallTokens,
    Identity,
    Recorded,
    bill,
    call_tokens,
    num_batches,
    recorded_calls,
    requests,
    seconds_for,
)
from apl_bench.planning.counting import EXAMPLES, Source, known
from apl_bench.planning.design import DIFFERENCES, design
from apl_bench.planning.plan import Plan, Wish, _within, plan, price_for
from apl_bench.planning.standing import look
from apl_bench.planning.units import ALIKE_AT_FIRST, Share, units
from apl_bench.pool import PromptPool
from apl_bench.presets import Changes, resolve
from apl_bench.randomness import stream
from apl_bench.records import Run, RunWriter, run_path
from apl_bench.registry import STRATEGIES
from apl_bench.runner import run
from apl_bench.spec import PluginSpec, RunSpec
from apl_bench.types import JSON, LengthBounds, Pair, Reply, SpecError
from apl_bench.wrapping import Wrapped
from tests.asking.provider import Scripted
from tests.fakes import constant, prompt_pool, prompts

RESULTS = Path(__file__).parent.parent / "docs" / "results"
BOUNDS = LengthBounds(8, 12)
GPT = PluginSpec("openai", {"model": "gpt-4.1-mini", "template": "paper-sentiment-v1"})
TINY = (
    "loop.budget=8", "loop.labels_per_step=4", "loop.prompts_per_step=12", "loop.oversample=2",
    "loop.num_entropy_samples=2", "loop.waypoints=[0, 4, 8]", "training.epochs=1", "training.batch_size=4",
    "evaluation.num_prompts=12", "evaluation.num_probe_prompts=2", "policy.num_threads=1",
)  # fmt: skip


def tiny(strategy: str, *settings: str, judge: str | None = None, seed: int = 0) -> RunSpec:
    return resolve("imdb", "lite", strategy, Changes((*TINY, *settings), judge=judge), seed)


def counts(planned: Plan, field: str) -> list[int]:
    """Of the oracle and the judge."""
    return [getattr(part.count, field) for part in planned.parts]


@pytest.fixture(scope="module")
def materials() -> Materials:
    return prepare(tiny("random"))


class Folder:
    """Runs and a ledger, planned and run."""

    def __init__(self, root: Path, materials: Materials) -> None:
        self.out, self.ledger, self._materials = root / "runs", root / "ledger", materials

    def plan(self, *specs: RunSpec, wish: Wish | None = None) -> Plan:
        with Ledger(self.ledger) as ledger:
            return plan(specs, self.out, ledger, wish or Wish())

    def run(self, *specs: RunSpec) -> list[int]:
        """New records of the oracle and of the judge."""
        before = self._records()
        for spec in specs:
            with Ledger(self.ledger) as ledger:
                experiment = build(spec, self._materials, Means(ledger, Asking()))
                writer = RunWriter(run_path(self.out, spec))
                writer.open(experiment.manifest())
                run(experiment, Journal(writer, self._materials.clock))
                writer.close()
        return [after - earlier for earlier, after in zip(before, self._records(), strict=True)]

    def keys(self, part: str, *specs: RunSpec) -> dict[Share, list[str | None]]:
        """The keys that each share asked for: the same in every run that has it."""
        found: dict[Share, list[str | None]] = {}
        for spec in specs:
            recorded = Run(run_path(self.out, spec))
            for unit in (unit for unit in units(spec) if unit.part == part):
                rows = (recorded.step_rows if part == "oracle" else recorded.waypoint_rows)(unit.place) or []
                keys = [(row["keys"] or [None])[0] for row in rows if row["kind"] in ("label", "comparison")]
                assert found.setdefault(unit.share, keys) == keys
        return found

    def _records(self) -> list[int]:
        with Ledger(self.ledger) as ledger:
            models = [str(record.request["model"]) for record in ledger.records()]
        return [sum(part in model for model in models) for part in ("classifier-oracle", "classifier-judge")]


@pytest.fixture
def folder(tmp_path: Path, materials: Materials) -> Folder:
    return Folder(tmp_path, materials)


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


def test_answers_behind_one_verdict() -> None:
    def answers(order: str, *wrappers: PluginSpec) -> int:
        return Source.of(PluginSpec("classifier", {"model": "judge"}, wrappers), order).answers_per_verdict

    both = PluginSpec("both_orders")
    assert [answers("random"), answers("both"), answers("random", PluginSpec("flip", {"rate": 0.1}))] == [1, 2, 1]
    assert answers("both", both) == 2  # the same two pages twice


def test_repeats_are_answers_of_their_own_where_the_request_has_the_repeat() -> None:
    plugin = replace(GPT, wrappers=(PluginSpec("repeat", {"num": 3}), PluginSpec("both_orders")))
    assert Source.of(plugin, "random").answers_per_verdict == 6


def remote(num_records: int) -> tuple[Source, Recorded]:
    source = Source(Wrapped(Scripted()), "random")
    recorded = Recorded()
    for _ in range(num_records):
        usage = {"prompt_tokens": 320, "completion_tokens": 60}
        recorded.add(Record.of({"model": "m"}, Reply("A", "m", usage=usage, latency_s=1.5)))
    return source, recorded


def test_tokens_by_characters_or_by_recorded_usage() -> None:
    """Each of the two texts has 36 characters, its neighbours 24 = 96 in all, over 4, and 10 for the request."""
    pairs = [texts.filled(prompt, BOUNDS, 3.0) for prompt in prompts(5)]
    for pair in pairs:
        assert len(pair.first.text) == 36
    source, few = remote(19)
    call = call_tokens(source, texts.Texts(pairs, pairs, "five films"), few)
    others = len("scripted") + len("longer") + len("Film 0 was")
    assert call.expected_input == (72 + others) / 4 + 10
    assert (call.most_input, call.most_output) == (100, 50)
    assert "five films" in call.basis
    call = call_tokens(source, texts.Texts(pairs, pairs, "five films"), remote(20)[1])
    assert (call.expected_input, call.expected_output) == (320, 60)
    assert call.basis == "the usage of 20 recorded calls of this model with these parameters"
    assert remote(20)[1].latency_s == 1.5
    assert remote(19)[1].latency_s is None


def test_only_calls_of_the_same_model_and_parameters_count() -> None:
    sources = [Source.of(replace(GPT, params={**GPT.params, **other}), "random")
               for other in ({}, {"temperature": 0.5}, {"model": "gpt-4.1"}, {"seed": 5})]  # fmt: skip
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    records = [Record.of(request, Reply("", "m", usage=usage)) for request in requests_of(sources[0], EXAMPLES)]
    wanted = {str(place): Identity.of(source) for place, source in enumerate(sources)}
    assert [found.num for found in recorded_calls(records, wanted).values()] == [2, 0, 0, 2]  # a seed costs nothing


def requests_of(source: Source, pairs: Sequence[Pair]) -> list[dict[str, JSON]]:
    return [dict(request) for request in requests(source, pairs)]


def test_a_bill_by_hand() -> None:
    """1000 calls of 300 + 50 tokens at $2 and $10 a million: $.60 + $.50; at most 1200 of 1000 + 100: $2.40 + $1.20."""
    call = CallTokens(300.0, 50.0, 1000, 100, "")
    charged = bill(call, 1000, 1200, Price(2.0, 10.0, 0.5, "here"))
    assert (charged.tokens_expected, charged.tokens_at_most) == (350_000, 1_320_000)
    assert (charged.usd_expected, charged.usd_at_most) == pytest.approx((1.1, 3.6))
    assert bill(call, 1000, 1200, None).usd_expected is None


def test_rounds_do_not_overlap() -> None:
    """100 calls are 2 rounds of 64 at once, 64 are 1, 65 are 2: 5 latencies; as batches of 70: 2 + 1 + 1."""
    assert seconds_for([100, 64, 65], 64, 2.0) == 10.0
    assert num_batches([100, 64, 65], 70) == 4


def test_an_unknown_price_stays_unknown() -> None:
    source = Source.of(replace(GPT, params={**GPT.params, "model": "gpt-99"}), "random")
    price, said = price_for(Identity.of(source), None)
    assert price is None
    assert "has no 'gpt-99'" in said
    assert "2026-" in said  # the date of the table
    assert price_for(Identity.of(source), Price(1, 2, 1, "--price"))[1] == "--price"
    price, said = price_for(Identity({"provider": "elsewhere", "model": "m"}), None)
    assert "no price table of 'elsewhere'" in said


def test_caps() -> None:
    assert [_within(10, *pair) for pair in ((5, 9), (5, 11), (11, 20), (None, 3))] == [
        "always", "expected", "no", "unknown",
    ]  # fmt: skip


def test_a_judge_over_a_network_is_priced_on_the_tasks_prompts(tmp_path: Path) -> None:
    spec = replace(tiny("random"), judge=GPT)
    judge = plan([spec], tmp_path, None, Wish(latency_s=2.0)).parts[1].remote
    assert judge is not None
    words = len("Which of the following movie reviews is better?")
    assert words < judge.call.expected_input < judge.call.most_input
    assert judge.bill.usd_expected == pytest.approx(
        36 * (judge.call.expected_input * 0.4 + judge.call.expected_output * 1.6) / 1e6, rel=1e-3
    )
    assert judge.seconds == 6.0  # three waypoints, each of 12 calls at once
    batched = plan([spec], tmp_path, None, Wish(batch=frozenset({"judge"}))).parts[1].remote
    assert batched is not None
    assert batched.num_batches == 3
    assert batched.bill.usd_expected == pytest.approx((judge.bill.usd_expected or 0) / 2)


def test_what_a_run_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has no batch API"):
        plan([tiny("random")], tmp_path, None, Wish(batch=frozenset({"judge"})))
    with pytest.raises(SpecError, match="at most the 2469 held-out prompts"):
        plan([replace(tiny("random", "evaluation.num_prompts=9999"), judge=GPT)], tmp_path, None, Wish())
    with pytest.raises(SpecError, match="parameter of the strategy"):
        plan([tiny("random", "strategy.width=3")], tmp_path, None, Wish())


def test_people_answer_with_their_votes_and_checks(tmp_path: Path) -> None:
    people = PluginSpec("human", {"queue": "q", "template": "people-sentiment-v1", "votes": 3, "repeats": 0.25,
                                  "swaps": 0.0})  # fmt: skip
    planned = plan([replace(tiny("random"), oracle=people)], tmp_path, None, Wish())
    assert (planned.parts[0].kind, planned.parts[0].people) == ("people", 26)  # 8 x 3.25


def test_the_shipped_tokenizer_is_the_policys(materials: Materials) -> None:
    path = texts.tokenizer_file(tiny("random").policy)
    assert path is not None
    mine, theirs = texts.FileTokenizer(path), materials.engine.reference().tokenizer
    for prompt in [*materials.test[:50], *materials.train[:50]]:
        ids = theirs.encode(prompt.text)
        assert mine.encode(prompt.text) == ids
        assert mine.decode(ids) == theirs.decode(ids)


@given(st.text())
def test_pieces_are_put_together_again(text: str) -> None:
    tokenizer = texts.PieceTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text.rstrip()


def test_a_policy_that_is_not_here_is_stood_in_for(tmp_path: Path) -> None:
    spec = replace(tiny("random", f"policy.model={tmp_path}/none"), judge=GPT)
    judge = plan([spec], tmp_path, None, Wish()).parts[1].remote
    assert judge is not None
    assert "is not on this machine" in judge.call.basis


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


def test_known_looks_into_the_generation_of_a_refresh() -> None:
    asked: list[int] = []

    def find(keys: Sequence[str], generation: int) -> set[str]:
        asked.append(generation)
        return set(keys)

    for mode, generation in ((Mode.RECORD, None), (Mode.AUDIT, 4), (Mode.REFRESH, 4)):
        assert known(mode, generation, find).find(["k"]) == {"k"}
    assert known(Mode.OFF, None, find).find(["k"]) == set()
    assert asked == [0, 0, 4]
