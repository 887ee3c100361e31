"""Peak memory of DPO, each case in a process of its own: all weights and adapters, few labels and four times as many.

Few are two mini-batches: the first update leaves Adam's moments, and it is beside these that the second one runs.
What is measured is `finetune` as a run calls it, theta_0 and the reference's log-probabilities included, on a model
with random weights that was written to a file and is loaded as any other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig

from apl_bench.benchmarks import networks, shapes
from apl_bench.benchmarks.children import in_a_child, peak_memory_mb
from apl_bench.benchmarks.plan import Plan
from apl_bench.benchmarks.results import Facts
from apl_bench.engine.memory import keep_freed_memory
from apl_bench.engine.models import load_model
from apl_bench.spec import PolicySpec
from apl_bench.types import Completion, Preference, Prompt

MODULE = "apl_bench.benchmarks.memory"
TIMES = (2, 8)  # so many mini-batches of the shape
COLUMNS = ("trained", "labels", "updates", "peak MB", "of it model and imports, MB")


@dataclass(frozen=True)
class Case:
    """What a process is told: which weights are trained, on how many labels, the shape, and where its model is."""

    trained: str
    num_labels: int
    num_threads: int
    checkpoint: str
    shape: dict[str, Any]

    @classmethod
    def of(cls, shape: shapes.Shape, trained: str, num_labels: int, checkpoint: str) -> Case:
        """The case as it can be written down."""
        parts = {**asdict(replace(shape, config=None)), "config": shape.config.to_dict()}
        return cls(trained, num_labels, torch.get_num_threads(), checkpoint, parts)

    def to_shape(self) -> shapes.Shape:
        """The shape again."""
        parts = dict(self.shape)
        config = AutoConfig.for_model(**parts.pop("config"))
        lengths = shapes.Lengths(**{name: tuple(ends) for name, ends in parts.pop("lengths").items()})
        step = shapes.StepSizes(**parts.pop("step"))
        return shapes.Shape(**parts, config=config, lengths=lengths, step=step)


def measure(plan: Plan) -> Iterator[Facts]:
    """A process for each case."""
    nums = [times * plan.shape.batch_size for times in TIMES]
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(plan.shape, Path(folder))
        cases = [Case.of(plan.shape, trained, num, folder) for trained in networks.TRAINED for num in nums]
        rows = [cast("list[str]", in_a_child(MODULE, json.dumps(asdict(case)))) for case in cases]
    title = f"peak memory of DPO, mini-batches of {plan.shape.batch_size}"
    yield Facts("memory", plan.shape.name, title, COLUMNS, rows)


def write_checkpoint(shape: shapes.Shape, folder: Path) -> None:
    """The shape's model and tokenizer, as a run finds them."""
    shapes.build(shape).save_pretrained(folder)
    shapes.tokenizer(shape.config.vocab_size).save_pretrained(folder)


def run(case: Case) -> list[str]:
    """Fine-tune, and say what it took."""
    torch.set_num_threads(case.num_threads)
    keep_freed_memory()
    shape = case.to_shape()
    model, _ = load_model(PolicySpec(case.checkpoint, None, "float32", case.num_threads))
    engine = networks.engine(shape, networks.TRAINED[case.trained](shape, model.to(shape.device)))
    before = peak_memory_mb()
    _, report = engine.finetune(engine.reference(), preferences(shape, case.num_labels), shape.training, ("benchmark",))
    peak = torch.cuda.max_memory_allocated() / 1e6 if shape.device == "cuda" else peak_memory_mb()
    return [case.trained, str(case.num_labels), str(report.num_updates), f"{peak:.0f}", f"{before:.0f}"]


def preferences(shape: shapes.Shape, num: int) -> list[Preference]:
    """The shape's pairs, as what a run bought."""
    pairs = shapes.pairs(shape, num)
    rows = zip(pairs.prompts, pairs.chosen, pairs.rejected, strict=True)
    return [
        Preference(Prompt(f"p{row}", shapes.text(prompt)), _completion(chosen), _completion(rejected), step=1)
        for row, (prompt, chosen, rejected) in enumerate(rows)
    ]


def _completion(tokens: shapes.Tokens) -> Completion:
    return Completion(shapes.text(tokens), tokens, finished=False)


if __name__ == "__main__":
    print(json.dumps(run(Case(**json.loads(sys.argv[1])))))
