"""Small runs and a ledger, planned and run."""

from __future__ import annotations

from pathlib import Path

from apl_bench.asking.asking import Asking
from apl_bench.experiment import Materials, Means, build
from apl_bench.journal import recording
from apl_bench.judgments.ledger import Ledger
from apl_bench.planning.plan import Plan, Wish, plan
from apl_bench.planning.units import Share, units
from apl_bench.presets import Changes, resolve
from apl_bench.records import Run, run_path
from apl_bench.runner import run
from apl_bench.spec import PluginSpec, RunSpec

GPT = PluginSpec("openai", {"model": "gpt-4.1-mini", "template": "paper-sentiment-v1"})
TINY = (
    "loop.budget=8", "loop.labels_per_step=4", "loop.prompts_per_step=12", "loop.oversample=2",
    "loop.num_entropy_samples=2", "loop.waypoints=[0, 4, 8]", "training.epochs=1", "training.batch_size=4",
    "evaluation.num_prompts=12", "evaluation.num_probe_prompts=2", "policy.num_threads=1",
)  # fmt: skip


def tiny(strategy: str, *settings: str, judge: str | None = None, seed: int = 0) -> RunSpec:
    return resolve("imdb", "lite", strategy, Changes((*TINY, *settings), judge=judge), seed)


class Folder:
    """Runs and a ledger, planned and run."""

    def __init__(self, root: Path, materials: Materials) -> None:
        self.out, self.ledger, self._materials = root / "runs", root / "ledger", materials

    def plan(self, *specs: RunSpec, wish: Wish | None = None) -> Plan:
        with Ledger(self.ledger) as ledger:
            return plan(specs, self.out, ledger, wish or Wish())

    def run(self, *specs: RunSpec) -> list[int]:
        """New records of the oracle and of the judge."""
        before = self._records()
        for spec in specs:
            with Ledger(self.ledger) as ledger:
                experiment = build(spec, self._materials, Means(ledger, Asking()))
                with recording(experiment, run_path(self.out, spec)) as journal:
                    run(experiment, journal)
        return [after - earlier for earlier, after in zip(before, self._records(), strict=True)]

    def keys(self, part: str, *specs: RunSpec) -> dict[Share, list[str | None]]:
        """The keys that each share asked for: the same in every run that has it."""
        found: dict[Share, list[str | None]] = {}
        for spec in specs:
            recorded = Run(run_path(self.out, spec))
            for unit in (unit for unit in units(spec) if unit.part == part):
                rows = (recorded.step_rows if part == "oracle" else recorded.waypoint_rows)(unit.place) or []
                keys = [(row["keys"] or [None])[0] for row in rows if row["kind"] in ("label", "comparison")]
                assert found.setdefault(unit.share, keys) == keys
        return found

    def _records(self) -> list[int]:
        with Ledger(self.ledger) as ledger:
            models = [str(record.request["model"]) for record in ledger.records()]
        return [sum(part in model for model in models) for part in ("classifier-oracle", "classifier-judge")]
