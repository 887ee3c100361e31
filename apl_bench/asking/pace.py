"""How many calls run at once: up quickly while the provider keeps up, down when it says so, never before it allows."""

from __future__ import annotations

from dataclasses import dataclass

START = 4
# Successes before a try to go above the ceiling, in times the ceiling; doubled where the try is refused.
PROBE_AFTER, PROBE_AT_LAST_AFTER = 10, 640
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 60.0  # after a refusal that does not say when to come back


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
        self._patience = self._usual = PROBE_AFTER
        self._pause_s = FIRST_PAUSE_S
        self._probing = False
        self._floor = 1

    def sent(self, num_in_flight: int) -> Ticket:
        """Note a call that makes `num_in_flight` with it."""
        return Ticket(num_in_flight, self._epoch)

    def succeeded(self) -> None:
        """A reply came."""
        self._successes += 1
        self._pause_s = FIRST_PAUSE_S
        if self.ceiling is None or self.limit < self.ceiling:
            self.limit = min(self.limit + 1, self.most, self.ceiling or self.most)
        elif self._successes >= self._patience * self.ceiling and self.ceiling < self.most:
            self.limit = self.ceiling = self.ceiling + 1
            self._successes, self._patience, self._probing = 0, 1, True  # if this holds, the next try comes soon

    def throttled(self, ticket: Ticket, now_s: float, retry_after_s: float | None) -> None:
        """The provider refused a call because there were too many; one burst cuts once."""
        self.num_throttled += 1
        if retry_after_s is not None:
            self.not_before = max(self.not_before, now_s + retry_after_s)
        if ticket.epoch != self._epoch:
            self._lower(ticket)
            return
        if retry_after_s is None:
            self.not_before = max(self.not_before, now_s + self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        if self._probing and self.ceiling is not None:
            self._usual = min(2 * self._usual, PROBE_AT_LAST_AFTER)
            self.ceiling = self._floor = self.ceiling - 1  # this held: a provider counts what it has just answered
        else:
            self.ceiling = max(1, ticket.num_in_flight - 1)
            self._floor = max(1, self.ceiling // 2)
        self._epoch, self._successes, self._patience, self._probing = self._epoch + 1, 0, self._usual, False
        self.limit = self.ceiling

    def _lower(self, ticket: Ticket) -> None:
        """Others of the burst that was cut show the ceiling more exactly, but do not halve it."""
        if self.ceiling is not None and ticket.epoch == self._epoch - 1:
            self.ceiling = max(min(self.ceiling, ticket.num_in_flight - 1), self._floor)
            self.limit = min(self.limit, self.ceiling)
