"""The options by which a command says how oracles are asked, and what they come to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apl_bench.cli.console import safe
from apl_bench.cli.folders import ledger_folder
from apl_bench.cli.offline import no_sockets
from apl_bench.types import SpecError

if TYPE_CHECKING:
    from apl_bench.asking.budget import Caps
    from apl_bench.experiment import Means

MODES = ("record", "replay", "refresh", "audit", "off")

_BATCH = {
    None: frozenset[str](),
    "oracle": frozenset({"oracle"}),
    "judge": frozenset({"judge"}),
    "both": frozenset({"oracle", "judge"}),
}
_OPTIONS = (
    click.option("--oracle", metavar="ORACLE",
                 help="Who labels, such as classifier, openai:MODEL or flip(0.1, classifier)"),
    click.option("--judge", metavar="ORACLE", help="Who decides the evaluation, in the same form"),
    click.option("--ledger", type=click.Path(path_type=Path),
                 help="Where judgments are kept between runs  [default: ~/.cache/apl-bench/judgments]"),
    click.option("--mode", type=click.Choice(MODES),
                 help="record: ask for what the ledger lacks; replay: never ask; refresh: ask all again beside what is "
                      "there; audit: ask a sample again; off: leave the ledger alone  [default: record; with CI set, "
                      "replay for oracles that are not local]"),
    click.option("--generation", type=click.IntRange(min=1),
                 help="Of --mode refresh or audit: go on with this one  [default: a new one]"),
    click.option("--batch", type=click.Choice(["oracle", "judge", "both"]), help="Go through the provider's batch API"),
    click.option("--no-wait", is_flag=True, help="Stop as awaiting labels where a batch has not ended"),
    click.option("--max-calls", type=click.IntRange(min=0), help="Never send more calls than this"),
    click.option("--max-tokens", type=click.IntRange(min=0), help="Never use more tokens than this"),
    click.option("--max-cost", type=click.FloatRange(min=0), metavar="DOLLARS", help="Never spend more than this"),
    click.option("--price", metavar="INPUT:OUTPUT",
                 help="Dollars a million tokens, where the price table is not right"),
    click.option("--concurrency", type=click.IntRange(min=1), default=64, show_default=True,
                 help="Calls at once, at most"),
    click.option("--deadline", type=click.FloatRange(min=0, min_open=True), default=120.0, show_default=True,
                 metavar="SECONDS", help="How long one call may take, those of batches too"),
)  # fmt: skip


@dataclass(frozen=True)
class AskingOptions:
    """What the options said."""

    oracle: str | None = None
    judge: str | None = None
    ledger: Path | None = None
    mode: str | None = None
    generation: int | None = None
    batch: str | None = None
    no_wait: bool = False
    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    price: str | None = None
    concurrency: int = 64
    deadline: float = 120.0

    def given(self) -> list[tuple[str, object]]:
        """The options by which another strategy is asked for in the same way: who is asked, and the ledger."""
        return [("--oracle", self.oracle), ("--judge", self.judge), ("--ledger", self.ledger)]


def asking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, as one parameter `asked`."""

    def wrapped(**values: Any) -> Any:
        names = AskingOptions.__dataclass_fields__
        asked = AskingOptions(**{name: values.pop(name) for name in names})
        return command(asked=asked, **values)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


@contextmanager
def opened(asked: AskingOptions) -> Iterator[Means]:
    """The ledger and all that asking needs; at the end says what was spent, what was asked again, and notices."""
    asked = with_generation(asked)
    with means_for(asked, caps_of(asked), _tell) as means:
        try:
            yield means
        finally:
            for line in _account(means):
                click.echo(line)
            for notice in means.ledger.notices:
                click.echo(f"ledger: {safe(notice)}", err=True)


def with_generation(asked: AskingOptions) -> AskingOptions:
    """The same with the generation stated where the mode writes one: a new one unless it is, and then it is said.

    Raises SpecError where the options contradict one another.
    """
    from apl_bench.judgments.ledger import Ledger

    if asked.batch and asked.mode in ("off", "refresh", "audit"):
        raise SpecError(f"--batch does not go with --mode {asked.mode}: what comes of a batch is the ledger's first "
                        "generation; use --mode record, or leave --batch out")  # fmt: skip
    if asked.mode not in ("refresh", "audit"):
        return replace(asked, generation=None)
    with Ledger(ledger_folder(asked.ledger)) as ledger:
        generation = asked.generation or ledger.newest_generation() + 1
    click.echo(f"{asked.mode}: generation {generation}; after a stop, go on with --generation {generation}")
    return replace(asked, generation=generation)


@contextmanager
def means_for(asked: AskingOptions, caps: Caps, tell: Callable[[str], None]) -> Iterator[Means]:
    """The ledger and all that asking needs, in whatever process; `caps` stand in for those of the options."""
    from apl_bench.asking.asking import Asking
    from apl_bench.experiment import Means
    from apl_bench.judging import Mode
    from apl_bench.judgments.ledger import Ledger

    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    mode = Mode(asked.mode or "record")
    remote_mode = Mode.REPLAY if asked.mode is None and in_ci else mode
    with (
        no_sockets() if mode is Mode.REPLAY else nullcontext(),
        Ledger(ledger_folder(asked.ledger)) as ledger,
        Asking(_terms(asked, caps, tell), ledger.folder / "batches") as asking,
    ):
        yield Means(ledger, asking, mode, remote_mode, asked.generation or 0, _BATCH[asked.batch])


def caps_of(asked: AskingOptions) -> Caps:
    """The most that the command may spend."""
    from apl_bench.asking.budget import Caps

    return Caps(asked.max_calls, asked.max_tokens, asked.max_cost)


def _account(means: Means) -> Iterator[str]:
    """What was spent, and what a second asking said."""
    meter = means.asking.meter
    if meter.spent.calls:
        yield f"spent: {meter.spent}"
    if meter.reserved.calls:
        yield f"in batches that are out: {meter.reserved} at most; the same command collects them"
    if meter.collected.calls:
        yield f"collected: {meter.collected}; sent, and counted against its caps, by an earlier command"
    again = {item.key: item for item in means.reasked()}.values()  # oracle and judge may have wanted the same
    if again:
        changed = sum(item.before is not item.after for item in again)
        yield f"asked again: {len(again)} comparisons, {changed} with another verdict ({changed / len(again):.1%})"


def _terms(asked: AskingOptions, caps: Caps, tell: Callable[[str], None]) -> Any:
    from apl_bench.asking.asking import Terms
    from apl_bench.asking.batches import Waiting
    from apl_bench.asking.dispatch import Patience
    from apl_bench.asking.prices import parse_price

    return Terms(
        caps=caps,
        most_at_once=asked.concurrency,
        price=None if asked.price is None else parse_price(asked.price),
        patience=Patience(deadline_s=asked.deadline),
        waiting=Waiting(patience_s=0.0) if asked.no_wait else Waiting(),
        tell=tell,
    )


def _tell(line: str) -> None:
    click.echo(f"batch: {safe(line)}", err=True)
