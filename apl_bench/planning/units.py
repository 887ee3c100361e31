"""What a run asks at once: the labels of a step, or the judgments of a waypoint; and which runs ask the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from apl_bench.comparison import strategy_label
from apl_bench.spec import RunSpec

PARTS = ("oracle", "judge")
# While theta_t is theta_0 every margin is 0, and the order of equals is the permutation that `random` takes its pairs
# from; completions of theta_0 are those of theta_t. So these buy the same pairs in step 1 (a test runs all of them).
ALIKE_AT_FIRST = frozenset({"random", "offline", "certainty", "uncertainty"})

Share: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Unit:
    """Verdicts that a run wants at once. `place` is the step, or the waypoint's labels.

    Units of one `share` ask the same questions, in whichever run. Where it is not `certain` they do if these runs have
    the same oracle and training repeats to the digit, as it does on one machine's CPU.
    """

    part: str
    strategy: str
    seed: int
    place: int
    num_verdicts: int
    share: Share
    certain: bool


def units(spec: RunSpec) -> Iterator[Unit]:
    """All that a run asks, in its order."""
    loop, label, seed = spec.loop, strategy_label(spec), spec.seed
    num_prompts = spec.evaluation.num_prompts
    if 0 in loop.waypoints:  # theta_0 against its opponent, on random numbers that know no strategy
        yield Unit("judge", label, seed, 0, num_prompts, ("waypoint 0", seed), certain=True)
    for step in range(1, loop.num_steps + 1):
        name = "alike" if step == 1 and label in ALIKE_AT_FIRST else label
        num_labels = step * loop.labels_per_step
        yield Unit("oracle", label, seed, step, loop.labels_per_step, (f"{name}, step {step}", seed), step == 1)
        if num_labels in loop.waypoints:
            yield Unit("judge", label, seed, num_labels, num_prompts, (f"{name}, after step {step}", seed), False)
