"""Algorithm 1 of Muldrew et al. (ICML 2024): buy labels where a strategy wants them, fine-tune with DPO, evaluate."""

from __future__ import annotations

from typing import Any

from apl_bench.acquisition import acquire
from apl_bench.evaluation import Evaluation
from apl_bench.experiment import Experiment
from apl_bench.journal import Journal
from apl_bench.protocols import Policy
from apl_bench.types import Preference


def run(experiment: Experiment, journal: Journal) -> dict[str, Any]:
    """Spend the budget, step by step, and return the result; goes on where an earlier call was stopped."""
    loop = experiment.spec.loop
    evaluation = Evaluation(experiment)
    theta_0 = experiment.materials.engine.reference()
    done, theta, labelled = journal.resume(experiment.materials.engine)  # theta_0 and nothing, at first
    journal.waypoint(0, lambda: evaluation.at(theta_0, 0))
    for step in range(done + 1, loop.num_steps + 1):
        bought = journal.step(step, lambda: acquire(experiment, step, theta, labelled))  # noqa: B023 - called at once
        labelled = [*labelled, *bought]
        theta = finetune(experiment, journal, step, theta, labelled)
        num_labels = step * loop.labels_per_step
        journal.waypoint(num_labels, lambda: evaluation.at(theta, num_labels))  # noqa: B023 - called at once
        journal.commit(step, theta, experiment.materials.engine)
    return journal.finish()


def finetune(experiment: Experiment, journal: Journal, step: int, theta: Policy, labelled: list[Preference]) -> Policy:
    """theta_{t+1}: from theta_0 on everything bought (restart), from theta_t on everything (continue), or from theta_t
    on the newest batch (online, appendix D)."""
    regime, engine = experiment.spec.loop.regime, experiment.materials.engine
    start = engine.reference() if regime == "restart" else theta
    batch = [preference for preference in labelled if preference.step == step] if regime == "online" else labelled
    tuned, report = engine.finetune(start, batch, experiment.spec.training, (experiment.spec.seed, "training", step))
    journal.trained(step, len(batch), report)
    return tuned
