"""Caps on spending that hold for all workers together: each cell gets a share of what is left, and gives back what it
did not spend."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field, fields
from pathlib import Path

from apl_bench.asking.budget import Caps, Spent
from apl_bench.sweep.slips import Slip

FOLDER = ".spent"
DUST_USD = 1e-9  # what sums of fractions of dollars leave; far below the price of a token


@dataclass(frozen=True, slots=True)
class Share:
    """The most that may be spent on a cell, and where what was spent is noted before it is; no slip where nothing is
    capped."""

    caps: Caps = field(default_factory=Caps)
    slip: Slip | None = None


class Purse:
    """What may still be spent. What a process that died had spent or set aside, its slip says."""

    def __init__(self, caps: Caps, root: Path | None = None) -> None:
        """`root`: a folder that all workers see. It is needed where anything is capped."""
        assert caps == Caps() or root is not None, "caps need a folder for slips"
        self._caps = caps
        self._folder = root / FOLDER if root else None
        self._out: dict[int, Share] = {}
        self.spent = Spent()

    @property
    def most(self) -> Caps:
        """What would be free if all shares came back whole."""
        return _left(self._caps, self.spent)

    @property
    def free(self) -> Caps:
        """What is left and not shared out."""
        free = self.most
        for share in self._out.values():
            free = _left(free, Spent(share.caps.calls or 0, share.caps.tokens or 0, share.caps.cost_usd or 0.0))
        return free

    @property
    def is_out(self) -> bool:
        """Whether of something nothing is free, and others have some that they may give back."""
        return any(free == 0 < most for free, most in zip(_amounts(self.free), _amounts(self.most), strict=True))

    def take(self, slot: int, parts: int) -> Share:
        """A share for this slot: what is free, divided by `parts`."""
        free = self.free
        caps = Caps(
            None if free.calls is None else math.ceil(free.calls / parts),
            None if free.tokens is None else math.ceil(free.tokens / parts),
            None if free.cost_usd is None else free.cost_usd / parts,
        )
        self._out[slot] = Share(caps, self._slip())
        return self._out[slot]

    def give_back(self, slot: int, spent: Spent | None) -> Caps:
        """The slot's cell ended: what it spent, None where its process died. What it left of its share.

        The slip is closed, so that a process which is dead for us alone sends no further call.
        """
        share = self._out.pop(slot)
        noted = share.slip.close() if share.slip else None
        if spent is None:
            spent = noted or Spent(share.caps.calls or 0, share.caps.tokens or 0, share.caps.cost_usd or 0.0)
        self.spent = self.spent.plus(spent)
        return _left(share.caps, spent)

    def close(self) -> None:
        """Remove the slips of shares that never came back."""
        for share in self._out.values():
            if share.slip:
                share.slip.close()
        if self._folder and self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _slip(self) -> Slip | None:
        if self._caps == Caps() or self._folder is None:
            return None
        return Slip.new(self._folder / secrets.token_hex(8))


def _left(caps: Caps, spent: Spent) -> Caps:
    """What is left of caps; of dollars nothing where something was spent at an unknown price, as its cell has said."""
    unknown = caps.cost_usd is not None and spent.cost_usd is None
    return Caps(
        None if caps.calls is None else max(0, caps.calls - spent.calls),
        None if caps.tokens is None else max(0, caps.tokens - spent.tokens),
        None if caps.cost_usd is None else 0.0 if unknown else max(0.0, caps.cost_usd - (spent.cost_usd or 0.0)),
    )


def exceeds(one: Caps, other: Caps) -> bool:
    """Whether one of two rests of the same caps has more than the other of anything, and something of everything."""
    pairs = zip(_amounts(one), _amounts(other), strict=True)
    return 0 not in _amounts(one) and any(mine > theirs + DUST_USD for mine, theirs in pairs)


def _amounts(caps: Caps) -> list[float]:
    """Of what is capped."""
    values = [getattr(caps, each.name) for each in fields(caps)]
    return [0 if value < DUST_USD else value for value in values if value is not None]
