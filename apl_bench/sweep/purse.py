"""Caps on spending that hold for all workers together: each cell gets a share of what is left, and gives back what it
did not spend."""

from __future__ import annotations

from apl_bench.asking.budget import Caps, Spent


class Purse:
    """What may still be spent. A share whose process died counts as spent, since nobody knows."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._out: dict[int, Caps] = {}
        self.spent = Spent()

    @property
    def num_out(self) -> int:
        """Shares that may still come back, at least in part; 0 where nothing is capped."""
        return len(self._out) if self._caps != Caps() else 0

    def take(self, slot: int, parts: int) -> Caps:
        """A share for this slot: what is left and not shared out, divided by `parts`."""
        out = self._out.values()
        tokens = _left(self._caps.tokens, self.spent.tokens, [share.tokens for share in out])
        calls = _left(self._caps.calls, self.spent.calls, [share.calls for share in out])
        cost = _left(self._caps.cost_usd, self.spent.cost_usd, [share.cost_usd for share in out])
        share = Caps(
            None if calls is None else int(calls // parts),
            None if tokens is None else int(tokens // parts),
            None if cost is None else cost / parts,
        )
        self._out[slot] = share
        return share

    def give_back(self, slot: int, spent: Spent | None) -> None:
        """The slot's cell ended: what it spent, None where nobody knows."""
        share = self._out.pop(slot)
        if spent is None:
            spent = Spent(share.calls or 0, share.tokens or 0, share.cost_usd or 0.0)
        self.spent = self.spent.plus(spent)


def _left(cap: float | None, spent: float | None, out: list[float | int | None]) -> float | None:
    """Of one cap; what was spent at an unknown price leaves nothing, and its cell has said so."""
    if cap is None:
        return None
    return 0.0 if spent is None else max(0.0, cap - spent - sum(share or 0 for share in out))
