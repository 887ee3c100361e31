"""Weights & Biases, online or offline (WANDB_MODE), below the folder that WANDB_DIR names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from apl_bench.tracking.notes import Notes
from apl_bench.tracking.rows import GROUPS, Place, Row
from apl_bench.tracking.tracker import Subject

if TYPE_CHECKING:
    from wandb import Run

PROJECT = "apl-bench"


class Wandb:
    """A run whose id is the start of the run's identity, so that it is taken up again, grouped by strategy.

    An offline run cannot be asked what is in it: that is noted in `apl-bench/` in wandb's own folder. Nothing is sent
    but the numbers and the spec: no code, no git state, no console, no figures of the machine.
    """

    def __init__(self, argument: str | None) -> None:
        self._project = argument or os.environ.get("WANDB_PROJECT") or PROJECT
        self._subject: Subject | None = None
        self._notes: Notes | None = None
        self._run: Run | None = None

    def begin(self, run: Subject) -> set[Place]:
        """Look up what it was given; wandb itself begins, or resumes, with the first row that is new."""
        import wandb

        self._subject = run
        folder = Path(wandb.setup().settings.wandb_dir) / "apl-bench" / self._project
        self._notes = Notes(folder / f"{run.identity}.jsonl")
        return self._notes.read()

    def log(self, row: Row) -> None:
        """One history row, with its place on its axis."""
        assert self._notes is not None, "begin comes first"
        if self._run is None:
            self._run = self._opened()
        self._run.log({**row.values, row.axis: row.x})
        self._notes.add(row)

    def end(self, complete: bool) -> None:
        """Finish, as crashed where the run is not complete."""
        if self._run is not None:
            self._run.finish(exit_code=0 if complete else 1)

    def _opened(self) -> Run:
        """The run in wandb, with both x axes."""
        import wandb

        assert self._subject is not None, "begin comes first"
        subject = self._subject
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, disable_job_creation=True,
            save_code=False, x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
        )  # fmt: skip
        run = wandb.init(
            project=self._project, id=subject.identity[:32], name=subject.name, group=subject.group,
            config=dict(subject.config), resume="allow", settings=settings,
        )  # fmt: skip
        for axis, groups in GROUPS.items():
            for group in groups:
                run.define_metric(f"{group}/*", step_metric=axis)
        return run
