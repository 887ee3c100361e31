"""What may be spent on calls, and what was: reserved before a call is sent, settled by the usage that came back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from apl_bench.asking.prices import Price, Usage, usage_of
from apl_bench.types import Allowance, Reply, SpecError


class CapReachedError(SpecError):
    """The next call could go above a cap: which, what was spent, what to do."""


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that one command may spend; None is no cap."""

    calls: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls and tokens; `cost_usd` is None as soon as one call's price is unknown, and never a guess."""

    calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0

    def plus(self, other: Spent) -> Spent:
        known = self.cost_usd is not None and other.cost_usd is not None
        cost_usd = (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None
        return Spent(self.calls + other.calls, self.tokens + other.tokens, cost_usd)

    def __str__(self) -> str:
        cost = "price unknown" if self.cost_usd is None else f"${self.cost_usd:.4f}"
        return f"{self.calls} calls, {self.tokens} tokens, {cost}"


def _unheeded(_spent: Spent) -> bool:
    """Nobody else has to know."""
    return True


class Meter:
    """Counts what is spent and what is reserved, over all oracles of a command.

    `collected` are replies to what an earlier command sent: paid for by that one, and so within its caps. `note` is
    told what is spent and reserved together, before a call is sent and when one ended; False from it forbids the call.
    """

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.note: Callable[[Spent], bool] = _unheeded
        self.spent = Spent()
        self.collected = Spent()
        self._reserved: list[Spent] = []

    def reserve(self, allowance: Allowance, price: Price | None) -> Spent:
        """Set aside the most that a call can use. Raises CapReachedError where that could go above a cap, and
        SpecError where there is a cap on dollars and the price is unknown."""
        return self.reserve_all([allowance], price)[0]

    def reserve_all(self, allowances: Sequence[Allowance], price: Price | None) -> list[Spent]:
        """As `reserve`, for all of these calls or none."""
        if price is None and self.caps.cost_usd is not None:
            raise SpecError("--max-cost needs the price of the model, and the price table does not have it; give it "
                            "by --price INPUT:OUTPUT, or use --max-calls or --max-tokens")  # fmt: skip
        total, wanted = self.spent.plus(self.reserved), []
        for allowance in allowances:
            most = Usage(allowance.input_tokens, allowance.output_tokens)
            wanted.append(Spent(1, most.total, None if price is None else price.cost_usd(most)))
            total = total.plus(wanted[-1])
            self._refuse_above(total)
        if not self.note(total):
            raise CapReachedError("nothing may be spent here any more: whoever shared the caps out took this process "
                                  "for dead")  # fmt: skip
        self._reserved += wanted
        return wanted

    def settle(self, reserved: Spent, usage: Mapping[str, int], price: Price | None) -> None:
        """A reserved call ended: count what it used."""
        self._settle(reserved, _used(usage, price))

    def settle_unknown(self, reserved: Spent) -> None:
        """A reserved call ended and nobody knows what it used (no counts in the reply, no reply in time): all of it."""
        self._settle(reserved, reserved)

    def settle_reply(self, reserved: Spent, reply: Reply, price: Price | None) -> None:
        """A reserved call brought a reply: count what that says it used, all of the reservation where it is silent."""
        usage = usage_of(reply)
        if Usage.of(usage).total:
            self.settle(reserved, usage, price)
        else:
            self.settle_unknown(reserved)

    def release(self, reserved: Spent) -> None:
        """A reserved call was not made: it counts for nothing."""
        self._settle(reserved, Spent())

    def collect(self, reply: Reply, price: Price | None) -> None:
        """A reply came to what an earlier command sent; no cap of this one is touched."""
        self.collected = self.collected.plus(_used(usage_of(reply), price))

    @property
    def reserved(self) -> Spent:
        """The most that what is out can come to."""
        total = Spent()
        for part in self._reserved:
            total = total.plus(part)
        return total

    @property
    def num_reserved(self) -> int:
        """Calls that are out."""
        return len(self._reserved)

    def _settle(self, reserved: Spent, used: Spent) -> None:
        self._reserved.remove(reserved)
        self.spent = self.spent.plus(used)
        self.note(self.spent.plus(self.reserved))

    def _refuse_above(self, total: Spent) -> None:
        if self.caps.cost_usd is not None and total.cost_usd is None:
            raise CapReachedError("--max-cost cannot be kept: something was asked whose price is unknown; give it by "
                                  "--price INPUT:OUTPUT, or use --max-tokens")  # fmt: skip
        caps = (
            ("--max-calls", self.caps.calls, total.calls, "{:d}"),
            ("--max-tokens", self.caps.tokens, total.tokens, "{:d}"),
            ("--max-cost", self.caps.cost_usd, total.cost_usd, "{:.4f}"),
        )
        for name, cap, value, form in caps:
            if cap is not None and value is not None and value > cap:
                raise CapReachedError(
                    f"{name} {form.format(cap)} would be passed: with the next call it could be {form.format(value)} "
                    f"(spent so far: {self.spent}). What was answered is kept; the same command with a higher {name} "
                    "goes on from here"
                )


def _used(usage: Mapping[str, int], price: Price | None) -> Spent:
    """One call that used so many tokens."""
    used = Usage.of(usage)
    return Spent(1, used.total, price.cost_usd(used) if price else None if used.total else 0.0)
