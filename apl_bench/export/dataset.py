"""The preferences of runs as a data set: rows, card and list, in a folder that is whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apl_bench.export.card import Described, dataset_card, run_table
from apl_bench.export.folders import new_folder
from apl_bench.export.formats import FORMATS, require_installed, table_of
from apl_bench.export.order import in_order
from apl_bench.export.preferences import Acquired, Style, acquired, schema, styled
from apl_bench.records import Run, write_atomically
from apl_bench.types import SpecError


@dataclass(frozen=True)
class Wanted:
    """Where an export goes, and in which form."""

    out: Path
    format: str = "jsonl"
    style: Style = "plain"
    replace: bool = False


def export_preferences(runs: Sequence[Run], wanted: Wanted) -> list[Acquired]:
    """Write what complete runs bought; the same runs give the same bytes, wherever they lie and in whatever order.

    Raises SpecError for runs of several tasks or data sets, which have their own licences, for a run that is there
    twice, for no preference at all, and for a folder that may not be written.
    """
    require_installed(wanted.format)
    ordered = in_order(runs)
    _require_one_source(ordered)
    bought = [acquired(run) for run in ordered]
    rows = [styled(row, wanted.style) for run in bought for row in run.rows]
    if not rows:
        raise SpecError(f"the {len(runs)} runs bought no preference: every label is a tie or could not be read")
    about = {"kind": "preferences", "format": wanted.format, "style": wanted.style,
             "runs": [run_table(run) for run in bought]}  # fmt: skip
    table = table_of(rows, schema(wanted.style))
    card = dataset_card(Described(bought, wanted.style, wanted.format, table.nbytes))
    with new_folder(wanted.out, wanted.replace, about) as folder:
        FORMATS[wanted.format].write(table, folder)
        write_atomically(folder / "README.md", card)
    return bought


def _require_one_source(runs: Sequence[Run]) -> None:
    sources = {(run.spec.task.name, str(run.manifest["data"].get("source"))): run for run in runs}
    if len(sources) > 1:
        names = "; ".join(f"{run.path}: task {task}, source {source}" for (task, source), run in sources.items())
        raise SpecError(f"runs of {len(sources)} tasks or sources have prompts of different licences: {names}. Export "
                        "each of them into a folder of its own")  # fmt: skip
