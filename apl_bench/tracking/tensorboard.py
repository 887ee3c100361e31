"""TensorBoard: event files in a folder for each run, written and read with TensorBoard's own code; no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from apl_bench.tracking.rows import Place, Row
from apl_bench.tracking.tracker import Subject

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

FOLDER = "tensorboard"


class TensorBoard:
    """Scalars by the time of their event, and the spec under HPARAMS. The event files say what is there already."""

    def __init__(self, argument: str | None) -> None:
        self._root = Path(argument or FOLDER)
        self._run: Subject | None = None
        self._writer: EventFileWriter | None = None

    def begin(self, run: Subject) -> set[Place]:
        """A folder of the run's name below the root; each process that has something to add adds a file to it."""
        self._run = run
        return logged(self._folder) if self._folder.exists() else set()

    def log(self, row: Row) -> None:
        """One event for the row, on disk before this returns."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
        self._add(Event(wall_time=row.time_s, step=row.x, summary=Summary(value=values)))

    def end(self, complete: bool) -> None:
        """Close the event file."""
        del complete
        if self._writer is not None:
            self._writer.close()

    @property
    def _folder(self) -> Path:
        assert self._run is not None, "begin comes first"
        return self._root / self._run.name

    def _add(self, event: object) -> None:
        if self._writer is None:
            self._writer = self._opened()
        self._writer.add_event(event)
        self._writer.flush()

    def _opened(self) -> EventFileWriter:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        assert self._run is not None, "begin comes first"
        is_new = not self._folder.exists()
        writer = EventFileWriter(str(self._folder))
        if is_new:
            writer.add_event(Event(summary=hparams_pb(dict(self._run.config), trial_id=self._run.identity)))
        return writer


def logged(folder: Path) -> set[Place]:
    """The places of all scalars in a folder's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {(tag, point.step) for tag in found.Tags()["scalars"] for point in found.Scalars(tag)}
