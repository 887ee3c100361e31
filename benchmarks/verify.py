"""Verifying a submission of 36 runs and 170,000 judgments: seconds, and the memory of all its processes together.

The runs are made by apl-bench itself, with every prompt, score, label and judgment as in a real run, and with a policy
that puts words of reviews together in the place of a model: nine seeds of four strategies in half an hour of nothing
but sampling would be the same to a verifier.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from apl_bench.asking.asking import Asking
from apl_bench.benchmarks.results import Facts
from apl_bench.checks.toys import WordTokenizer
from apl_bench.clock import Clock, TimedEngine
from apl_bench.experiment import Materials, Means, build
from apl_bench.journal import recording
from apl_bench.judgments.ledger import Ledger
from apl_bench.leaderboard import building
from apl_bench.leaderboard.derived import derive
from apl_bench.leaderboard.submission import Submitter
from apl_bench.presets import Changes, resolve
from apl_bench.protocols import AfterEpoch, Policy, Tokenizer
from apl_bench.randomness import keyed_digest, stream
from apl_bench.records import Run, find_runs, run_path
from apl_bench.registry import TASKS
from apl_bench.runner import run
from apl_bench.spec import RunSpec, TrainingSpec
from apl_bench.types import Completion, Machine, Preference, Prompt, Sample, SampleRequest, TrainingReport, Work

if TYPE_CHECKING:
    from apl_bench.benchmarks.plan import Plan

STRATEGIES, SEEDS = ("random", "certainty", "uncertainty", "entropy"), range(9)
SETTINGS = ("loop.budget=640", "loop.waypoints=[0, 256, 512, 640]")  # 36 x (4 x 1024 + 640) = 170,496 judgments
_POLL_S = 0.05


def measure(_plan: Plan) -> Iterator[Facts]:
    """Made in a temporary folder, packed, and verified by the command in two processes."""
    yield of_submission(len(SEEDS))


def of_submission(num_seeds: int) -> Facts:
    """Seconds and MB of each part, for so many seeds of four strategies."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_runs(root, num_seeds)
        runs = find_runs([root / "runs"])
        start = time.perf_counter()
        folder = building.build(runs, _statement(len(runs)), root / "out")
        pack_s = time.perf_counter() - start
        raw, packed = (sum(path.stat().st_size for path in below.rglob("*") if path.is_file())
                       for below in (root / "runs", folder))  # fmt: skip
        seconds, peak_mb, said = verified(folder)
    rows = [["recorded", f"{raw / 1e6:.1f} MB", f"{raw / len(runs) / 1e3:.0f} kB a run"],
            ["packed", f"{packed / 1e6:.1f} MB", f"{packed / len(runs) / 1e3:.0f} kB a run, in {pack_s:.0f} s"],
            ["verified in", f"{seconds:.1f} s", "two processes beside the command's own"],
            ["memory of all processes", f"{peak_mb:.0f} MB", "the most at one time, shared pages once"],
            ["failures", str(len(said["failures"])), f"flags: {len(said['flags'])}"]]  # fmt: skip
    title = f"a submission of {said['num_runs']} runs and {said['num_judgments']} judgments"
    return Facts("verify", "", title, ("what", "how much", ""), rows)


def verified(folder: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds, the most memory in MB, and what `apl-bench verify --json` said."""
    command = [sys.executable, "-m", "apl_bench", "verify", str(folder), "--json", "--workers", "2"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        watch = Watch(child.pid)
        watch.start()
        output = child.communicate()[0]
    return time.perf_counter() - start, watch.peak_mb, json.loads(output)[0]


class Watch(threading.Thread):
    """Looks at a process and all that it started, until it ends. Linux only: elsewhere it sees nothing."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.peak_mb = 0.0

    def run(self) -> None:
        while (now := sum(map(_memory_mb, _tree(self._pid)))) > 0:
            self.peak_mb = max(self.peak_mb, now)
            time.sleep(_POLL_S)


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return [pid]
    return [pid, *(below for child in text.split() for below in _tree(int(child)))]


def _memory_mb(pid: int) -> float:
    """Memory of a process, pages that several share by their part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


class Reviewer:
    """A policy that puts halves of what people wrote together; its log-probabilities are numbers of the text alone."""

    def __init__(self, halves: Sequence[str], name: str) -> None:
        self._halves = halves
        self._name = name
        self.tokenizer: Tokenizer = WordTokenizer()

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        del temperature
        return [self._draw(request) for request in requests]

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        rows = zip(prompts, completions, strict=True)
        return np.array([self._logp(prompt, completion.text) for prompt, completion in rows])

    def _draw(self, request: SampleRequest) -> Sample:
        first, second = stream(*request.stream, self._name).integers(len(self._halves), size=2)
        text = self._halves[first] + self._halves[second]
        completion = Completion(text, tuple(self.tokenizer.encode(text)), finished=False)
        return Sample(completion, self._logp(request.prompt, text))

    def _logp(self, prompt: Prompt, text: str) -> float:
        drawn = int.from_bytes(keyed_digest("logp", 4, self._name, prompt.id, text), "big")
        return -1.0 - len(text) / 2 - drawn / 2**26


class ReviewEngine:
    """Fine-tuning that gives another reviewer."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        words = [(prompt.human_completion or "").split() for prompt in prompts]
        self._halves = [f" {' '.join(found[:8])}" for found in words if len(found) >= 8]
        self._reference = Reviewer(self._halves, "theta_0")

    def reference(self) -> Policy:
        return self._reference

    def finetune(
        self,
        start: Policy,
        preferences: Sequence[Preference],
        training: TrainingSpec,
        stream: tuple[int | str, ...],
        after_epoch: AfterEpoch | None = None,
    ) -> tuple[Policy, TrainingReport]:
        del start, training, after_epoch
        learned = keyed_digest("learned", 8, *(preference.chosen.text for preference in preferences)).hex()
        tuned = Reviewer(self._halves, f"{stream}, {learned}")
        return tuned, TrainingReport((0.69, 0.5), len(preferences), len(preferences))

    def save(self, policy: Policy, path: Path) -> None:
        del policy
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def load(self, path: Path) -> Policy:
        raise NotImplementedError(path)

    def identity(self) -> Mapping[str, Any]:
        return {"architecture": "reviewer", "torch": "", "transformers": "", "device": "cpu", "dtype": "float32",
                "num_threads": 1}  # fmt: skip

    def work(self) -> Work:
        return Work()

    def spared(self) -> Work:
        return Work()

    def machine(self) -> Machine:
        return Machine("cpu", 1, "float32", 1.0)

    def peak_device_bytes(self) -> int | None:
        return None

    @property
    def any_batch(self) -> bool:
        return True

    def forget(self) -> None:
        return


def make_runs(root: Path, num_seeds: int) -> None:
    """Runs of all strategies and so many seeds, recorded below root/runs."""
    record(root, [resolve("imdb", "lite", strategy, Changes(SETTINGS), seed)
                  for strategy in STRATEGIES for seed in range(num_seeds)])  # fmt: skip


def record(root: Path, specs: Sequence[RunSpec]) -> None:
    """Runs of these specs, of one task, recorded below root/runs."""
    materials = materials_of(specs[0])
    with Ledger(root / "ledger") as ledger:
        for spec in specs:
            experiment = build(spec, materials, Means(ledger, Asking()))
            path = run_path(root / "runs", spec)
            with recording(experiment, path) as journal:
                run(experiment, journal)
            assert Run(path).complete


def materials_of(spec: RunSpec) -> Materials:
    """The task's own prompts, and the reviewers."""
    derived, clock = derive(spec), Clock()
    assert derived is not None, "imdb is installed with apl-bench"
    engine = TimedEngine(ReviewEngine([*derived.train, *derived.test]), clock)
    task = TASKS.create(spec.task.name, spec.task.params)
    return Materials(task, engine, derived.train, derived.test, clock)


def _statement(num_runs: int) -> building.Statement:
    return building.Statement("Benchmark of the verifier", Submitter("apl-bench", "", ""), "open", num_runs, "CC0-1.0",
                              "", None)  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(of_submission(int(sys.argv[1])).to_json(), indent=1))
