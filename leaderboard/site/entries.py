"""What the site is built from: each submission with what was recorded of it and what happened to it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apl_bench.leaderboard.findings import Finding
from apl_bench.leaderboard.site.controls import Control
from apl_bench.leaderboard.site.history import BADGES, ENDINGS, Event
from apl_bench.leaderboard.site.outcomes import Outcomes
from apl_bench.leaderboard.submission import Submission
from apl_bench.types import SpecError
from apl_bench.wording import quantity


@dataclass(frozen=True)
class Badge:
    """`recomputed` is given by the verifier, the others by people; `why` is the reason that readers see."""

    name: str
    date: str
    why: str


@dataclass(frozen=True)
class Verified:
    """What `apl-bench verify` said when the submission was recorded; `flags` refuse nothing."""

    date: str
    version: str
    num_runs: int
    num_judgments: int
    flags: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """What was derived from a submission's runs, by the name of the comparison; `has_report`: its report is there."""

    outcomes: Mapping[str, Outcomes]
    verified: Verified
    controls: Mapping[str, Sequence[Control]] = field(default_factory=dict)
    has_report: bool = False


@dataclass(frozen=True)
class Entry:
    """A submission as the site shows it, with its events in their order."""

    submission: Submission
    recorded: Recorded
    events: tuple[Event, ...] = ()

    @property
    def id(self) -> str:
        return self.submission.id

    @property
    def date(self) -> str:
        """The day on which it was made."""
        return self.submission.created[:10]

    @property
    def comparisons(self) -> tuple[Mapping[str, Any], ...]:
        """Those of its results.json, schema apl-comparison/1."""
        return self.submission.results

    @property
    def ending(self) -> Event | None:
        """The event that took it off the tables, None while it stands."""
        return next((event for event in self.events if event.event in ENDINGS), None)

    @property
    def badges(self) -> list[Badge]:
        """Recomputed, then what people gave."""
        verified = self.recorded.verified
        why = (
            f"apl-bench {verified.version} recomputed every number of {quantity(verified.num_runs, 'run')} from the "
            f"recorded texts and {verified.num_judgments} raw replies, offline, and found what is claimed"
        )
        given = [Badge(event.event, event.date, f"{event.why} ({event.by})") for event in self.events
                 if event.event in BADGES]  # fmt: skip
        return [Badge("recomputed", verified.date, why), *given]

    def outcomes(self, comparison: str) -> Outcomes:
        """Of one of its comparisons. Raises SpecError where they were not recorded."""
        if comparison not in self.recorded.outcomes:
            raise SpecError(f"{self.id}: the outcomes of {comparison} are not recorded; run: "
                            f"apl-bench leaderboard record {self.id}")  # fmt: skip
        return self.recorded.outcomes[comparison]
