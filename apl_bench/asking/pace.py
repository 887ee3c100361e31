"""How many calls run at once: up quickly while the provider keeps up, down when it says so, never before it allows."""

from __future__ import annotations

from dataclasses import dataclass

START = 4
CUT = 0.9
PROBE_AFTER = 10  # times the ceiling, in successes, before the first try to go above it; doubled at each failed try


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call as it was sent: how many were in flight with it, and how often the pace had been cut before."""

    num_in_flight: int
    epoch: int


class Pace:
    """Slow start: one more call for each success, which doubles their number in each round trip. A call that the
    provider throttles shows where the ceiling is: one fewer than were in flight with it. From then on the ceiling is
    held, and tried again more and more rarely, since each try costs a refused call.
    """

    def __init__(self, most: int) -> None:
        """`most`: never more than this at once."""
        self.most = most
        self.limit = min(START, most)
        self.ceiling: int | None = None
        self.num_throttled = 0
        self.not_before = 0.0  # seconds of the caller's clock: no call is sent earlier
        self._epoch = 0
        self._successes = 0
        self._patience = PROBE_AFTER

    def sent(self, num_in_flight: int) -> Ticket:
        """Note a call that makes `num_in_flight` with it."""
        return Ticket(num_in_flight, self._epoch)

    def succeeded(self) -> None:
        """A reply came."""
        self._successes += 1
        if self.ceiling is None or self.limit < self.ceiling:
            self.limit = min(self.limit + 1, self.most, self.ceiling or self.most)
        elif self._successes >= self._patience * self.ceiling and self.ceiling < self.most:
            self.limit = self.ceiling = self.ceiling + 1
            self._successes = 0

    def throttled(self, ticket: Ticket, now_s: float, retry_after_s: float | None) -> None:
        """The provider refused a call because there were too many; one burst cuts once."""
        self.num_throttled += 1
        if retry_after_s is not None:
            self.not_before = max(self.not_before, now_s + retry_after_s)
        below = max(1, ticket.num_in_flight - 1)
        if ticket.epoch == self._epoch:
            self._epoch += 1
            self._patience = PROBE_AFTER if self.ceiling is None else 2 * self._patience
            self._successes = 0
            self.limit = max(1, int(CUT * self.limit))
        elif self.ceiling is not None:
            below = min(below, self.ceiling)
        self.ceiling = below
        self.limit = min(self.limit, below)
