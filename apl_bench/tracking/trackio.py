"""Trackio: a project in its local database (TRACKIO_DIR), or wherever its own settings say."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from apl_bench.tracking.notes import Notes
from apl_bench.tracking.rows import Place, Row
from apl_bench.tracking.tracker import Subject

if TYPE_CHECKING:
    from trackio import Run

PROJECT = "apl-bench"


class Trackio:
    """A run of the run's own name, taken up again by it. What it was given is noted in `apl-bench/` in its folder."""

    def __init__(self, argument: str | None) -> None:
        self._project = argument or os.environ.get("TRACKIO_PROJECT") or PROJECT
        self._subject: Subject | None = None
        self._notes: Notes | None = None
        self._run: Run | None = None

    def begin(self, run: Subject) -> set[Place]:
        """Look up what it was given; Trackio itself begins, or resumes, with the first row that is new."""
        from trackio.utils import TRACKIO_DIR

        self._subject = run
        self._notes = Notes(Path(TRACKIO_DIR) / "apl-bench" / self._project / f"{run.identity}.jsonl")
        return self._notes.read()

    def log(self, row: Row) -> None:
        """One entry, whose step is the place on the row's own axis."""
        assert self._notes is not None, "begin comes first"
        if self._run is None:
            self._run = self._opened()
        self._run.log(dict(row.values), step=row.x)
        self._notes.add(row)

    def end(self, complete: bool) -> None:
        """Wait until everything is written."""
        import trackio

        del complete
        if self._run is not None:
            with redirect_stdout(StringIO()):
                trackio.finish()

    def _opened(self) -> Run:
        import trackio

        assert self._subject is not None, "begin comes first"
        subject = self._subject
        with redirect_stdout(StringIO()):  # it advertises its dashboard
            return trackio.init(
                project=self._project, name=subject.name, group=subject.group, config=dict(subject.config),
                resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
