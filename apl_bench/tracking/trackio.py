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
        self._run: Run | None = None
        self._notes: Notes | None = None

    def begin(self, run: Subject) -> set[Place]:
        """Begin or resume it."""
        import trackio
        from trackio.utils import TRACKIO_DIR

        with redirect_stdout(StringIO()):  # it advertises its dashboard
            self._run = trackio.init(
                project=self._project, name=run.name, group=f"{run.comparison}/{run.strategy}",
                config=dict(run.config), resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
        self._notes = Notes(Path(TRACKIO_DIR) / "apl-bench" / self._project / f"{run.identity}.jsonl")
        return self._notes.read()

    def log(self, row: Row) -> None:
        """One entry, with its place on its axis."""
        assert self._run is not None, "begin comes first"
        assert self._notes is not None
        self._run.log({**row.values, row.axis: row.x})
        self._notes.add(row)

    def end(self, complete: bool) -> None:
        """Wait until everything is written."""
        del complete
        if self._run is not None:
            with redirect_stdout(StringIO()):
                self._run.finish()
