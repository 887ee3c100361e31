"""apl-bench plan: what a run would ask, pay and take, and what its design can show, before anything is asked."""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.asking import AskingOptions, asking_options
from apl_bench.cli.console import heading, number, safe, table
from apl_bench.cli.folders import ledger_folder
from apl_bench.cli.run_options import parse_seeds, run_options
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.planning.plan import Fit, PartPlan, Plan, Remote, Wish
    from apl_bench.spec import RunSpec

SCHEMA = "apl-plan/1"
WIDTH, LABEL_WIDTH = 110, 11
KINDS = {
    "local": "computed here: no call, no cost",
    "remote": "calls over a network",
    "people": "answered by people: apl-bench annotate",
    "other": "neither local nor over a network: what an answer costs is not known",
}
latency_option = click.option(
    "--latency", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="What one call takes  [default: the mean of recorded calls of the same model]",
)  # fmt: skip


@click.command()
@click.option("--strategy", help="Acquisition strategy; see: apl-bench list strategies")
@click.option("--strategies", help="Several of them, such as random,certainty: as many runs, one command each")
@run_options
@latency_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@asking_options
def plan_(strategy: str | None, strategies: str | None, as_json: bool, **rest: Any) -> None:
    """Say what `apl-bench run` with the same options would ask, pay and take, and what the design can show.

    Asks nobody and loads no model. What is exact and what is an estimate or a bound is said beside each figure.
    """
    from apl_bench.judgments.ledger import Ledger
    from apl_bench.planning.plan import plan

    asked: AskingOptions = rest.pop("asked")
    latency_s, out = rest.pop("latency"), rest.pop("out")
    specs = specs_of(_names(strategy, strategies), asked=asked, **rest)
    folder = ledger_folder(asked.ledger)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder)) if folder.is_dir() else None  # none is made for a look at it
        planned = plan(specs, out, ledger, wish_of(asked, latency_s))
    click.echo(to_json(planned) if as_json else to_text(planned))


def _names(strategy: str | None, strategies: str | None) -> list[str]:
    """The strategies that were named, each once; an alias is the name that it stands for."""
    from apl_bench.registry import STRATEGIES

    given = [strategy] if strategy else []
    given += [name.strip() for name in strategies.split(",")] if strategies else []
    if not given:
        raise SpecError("no strategy to plan for; expected --strategy NAME, or --strategies NAME,NAME")
    for name in given:
        STRATEGIES.load(name)
    return list(dict.fromkeys(STRATEGIES.entry(name).name for name in given))


def specs_of(
    names: list[str], task: str, preset: str, seeds: str, settings: tuple[str, ...], asked: AskingOptions
) -> list[RunSpec]:
    """What `apl-bench run` would run, strategy by strategy."""
    from apl_bench.presets import Changes, resolve
    from apl_bench.registry import TASKS

    TASKS.load(task)
    changes = Changes(settings, asked.oracle, asked.judge)
    return [resolve(task, preset, name, changes, seed) for name in names for seed in parse_seeds(seeds)]


def wish_of(asked: AskingOptions, latency_s: float | None) -> Wish:
    """How `apl-bench run` would ask."""
    from apl_bench.asking.budget import Caps
    from apl_bench.asking.prices import parse_price
    from apl_bench.judging import Mode
    from apl_bench.planning.plan import Wish
    from apl_bench.planning.units import PARTS

    mode = Mode(asked.mode or "record")
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    return Wish(
        mode=mode,
        remote_mode=Mode.REPLAY if asked.mode is None and in_ci else mode,
        generation=asked.generation,
        batch=frozenset(PARTS if asked.batch == "both" else filter(None, [asked.batch])),
        price=None if asked.price is None else parse_price(asked.price),
        concurrency=asked.concurrency,
        latency_s=latency_s,
        caps=Caps(asked.max_calls, asked.max_tokens, asked.max_cost),
    )


def to_json(planned: Plan) -> str:
    """The plan and its sums; what is unknown is null."""
    sums = {
        "tokens_expected": planned.total(lambda bill: bill.tokens_expected),
        "tokens_at_most": planned.total(lambda bill: bill.tokens_at_most),
        "usd_expected": planned.total(lambda bill: bill.usd_expected),
        "usd_at_most": planned.total(lambda bill: bill.usd_at_most),
    }
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(planned), "total": sums}, indent=2, allow_nan=False)


def to_text(planned: Plan) -> str:
    """The plan as people read it."""
    sections = [_counts(planned), *map(part_text, planned.parts), _sums(planned), _model(planned), _design(planned)]
    notices = [f"note: {safe(notice)}" for notice in planned.notices]
    return "\n\n".join(section for section in [*sections, "\n".join(notices)] if section)


def _counts(planned: Plan) -> str:
    from apl_bench.comparison import format_seeds

    num = len(planned.strategies) * len(planned.seeds)
    title = (f"Plan: {planned.name}, {', '.join(planned.strategies)}, seeds {format_seeds(planned.seeds)}: {num} runs, "
             f"{planned.num_complete} complete, {planned.num_begun} begun")  # fmt: skip
    lines = (
        ("verdicts", "verdicts"),
        ("recorded in these runs", "recorded"),
        ("the same for several of them", "shared"),
        ("answers a verdict", "answers_per_verdict"),
        ("answers known to be in the ledger", "in_ledger"),
        ("answers to get, at most", "at_most"),
        ("answers to get, expected", "expected"),
    )
    rows = [[name, *(getattr(part.count, field) for part in planned.parts)] for name, field in lines]
    said = "At most: identical texts are never sent, and the ledger may hold more than can be known beforehand."
    return "\n".join([heading(title), "", table(["", "oracle", "judge"], rows), "", said])


def part_text(part: PartPlan) -> str:
    """What is asked of the oracle or of the judge, and what that takes."""
    lines = [heading(f"{part.part}: {part.oracle}"), *_entry("asked", f"{KINDS[part.kind]}; mode {part.mode}")]
    if part.mode == "replay":
        lines += _entry("", "a replay asks nobody: it stops at the first answer that was not recorded")
    elif part.mode == "audit":
        lines += _entry("", "an audit asks one in twenty of the recorded answers again, which is not counted here")
    if part.people is not None:
        lines += _entry("people", f"about {part.people} answers, with votes and with what is asked twice")
    return "\n".join([*lines, *(_remote(part.remote) if part.remote else ())])


def _remote(remote: Remote) -> Iterator[str]:
    call, bill = remote.call, remote.bill
    expected = f"{call.expected_input:.0f} + {call.expected_output:.0f} tokens (input + output) expected"
    yield from _entry("a call", f"{expected}, {call.most_input} + {call.most_output} at most, every byte a token")
    yield from _entry("", f"expected from {call.basis}")
    yield from _entry("tokens", f"{_many(bill.tokens_expected)} expected, {_many(bill.tokens_at_most)} at most")
    if bill.usd_expected is None or bill.usd_at_most is None:
        yield from _entry("dollars", remote.price)
    else:
        yield from _entry("dollars", f"${bill.usd_expected:.2f} expected, ${bill.usd_at_most:.2f} at most "
                          f"({remote.price})")  # fmt: skip
    if remote.num_batches is not None:
        yield from _entry("time", f"{remote.num_batches} batches, one after another where they are of one run; each "
                          "takes minutes to a day")  # fmt: skip
    elif remote.seconds is None or remote.latency_s is None:
        yield from _entry("time", remote.latency)
    else:
        each = f"{remote.latency_s:.2f} s each ({remote.latency})"
        yield from _entry("time", f"{_time(remote.seconds)} of calls, {each}, where the provider takes as many at once "
                          "as --concurrency allows")  # fmt: skip


def _sums(planned: Plan) -> str:
    text = sums_text(planned.parts, planned.fits)
    if planned.fits and len(planned.strategies) > 1:
        aside = _entry("", "a cap is of one command, and these figures of all strategies together")
        return "\n".join([text, *aside])
    return text


def sums_text(parts: Sequence[PartPlan], fits: Sequence[Fit]) -> str:
    """Dollars in all, and the caps."""
    from apl_bench.planning.plan import total

    lines: list[str] = []
    expected, at_most = (total(parts, get) for get in (lambda b: b.usd_expected, lambda b: b.usd_at_most))
    if not any(part.remote for part in parts):
        lines += _entry("in all", "$0.00: no call over a network")
    elif expected is None or at_most is None:
        lines += _entry("in all", "dollars unknown, as a price is")
    else:
        lines += _entry("in all", f"${expected:.2f} expected, ${at_most:.2f} at most")
    for fit in fits:
        lines += _entry("cap", _fit(fit))
    return "\n".join(lines)


def _fit(fit: Fit) -> str:
    form = "${:.2f}" if fit.option == "--max-cost" else "{:.0f}"
    cap = f"{fit.option} {fit.cap:g}"
    if fit.expected is None or fit.at_most is None:
        return f"{cap}: a run would refuse it, as the price is unknown; give --price INPUT:OUTPUT"
    expected, at_most = form.format(fit.expected), form.format(fit.at_most)
    return {
        "always": f"{cap} is enough, also for the {at_most} that it can be at most",
        "expected": f"{cap} is expected to be enough ({expected}) and may be reached ({at_most} at most): then the run "
        "stops, keeps every answer, and goes on with a higher cap",
        "no": f"{cap} is not enough: {expected} expected. The run would stop there and keep every answer",
    }[fit.within]


def _model(planned: Plan) -> str:
    measured = {name: seconds for name, seconds in planned.model_seconds.items() if seconds is not None}
    if not measured:
        return "\n".join(_entry("policy", "not measured here: no run of these settings is complete"))
    shown = [
        f"{name} {_time(measured[name]) if name in measured else 'not measured'}" for name in planned.model_seconds
    ]
    return "\n".join(_entry("policy", f"{', '.join(shown)}: sampling, training and files, as long as complete runs of "
                            "these settings took, one after another"))  # fmt: skip


def _design(planned: Plan) -> str:
    from apl_bench.planning.design import DIFFERENCES
    from apl_bench.power import fewest_for_sign_flips

    num = len(planned.seeds)
    title = heading(f"What {num} seeds and {planned.num_prompts} test prompts can show at the full budget")
    columns = ["difference", "sd seeds", "detectable", *(f"seeds for {each}" for each in DIFFERENCES)]
    rows = [[each.between, number(each.sd), number(each.difference),
             *("> 10000" if needed is None else needed for needed in each.seeds_needed)]
            for each in planned.design]  # fmt: skip
    sources = dict.fromkeys(f"sd seeds: {each.source}" for each in planned.design)
    lines = [title, "", table(columns, rows), "", *(safe(source) for source in sources)]
    lines.append("Detectable: with probability .8, by a two-sided t-test at .05 of differences paired by seed; not "
                 "corrected for the\nnumber of strategies.")  # fmt: skip
    fewest = fewest_for_sign_flips()
    lines.append(
        f"{num} seeds give no sign-flip p below {planned.smallest_p:.3g}"
        + ("." if num >= fewest else f": nothing can be significant at .05 with fewer than {fewest}.")
    )
    return "\n".join(lines)


def _entry(label: str, text: str) -> list[str]:
    """A labelled line, wrapped under itself."""
    first, rest = f"  {label:<{LABEL_WIDTH - 2}}", " " * LABEL_WIDTH
    return textwrap.wrap(safe(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip


def _many(num: int) -> str:
    return f"{num / 1e6:.1f} million" if num >= 1_000_000 else str(num)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
