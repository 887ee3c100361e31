"""A DPO epoch against TRL's DPOTrainer (with precomputed reference log-probabilities) and the reference procedure.

The reference procedure is the textbook's update: two policy and two reference forwards with full logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apl_bench.benchmarks import networks, peers, shapes
from apl_bench.benchmarks.plan import Contenders, Plan, Turn
from apl_bench.benchmarks.reference import with_reference
from apl_bench.benchmarks.results import Race
from apl_bench.engine import dpo
from apl_bench.engine.network import Network


def measure(plan: Plan) -> Iterator[Race]:
    """One epoch on the shape's pairs."""
    shape = plan.shape
    title = f"a DPO epoch of {shape.num_pairs} pairs, mini-batches of {shape.batch_size}"
    yield plan.race("training", title, contenders(shape))


def contenders(shape: shapes.Shape) -> Contenders:
    """Each trains a fresh copy of the same policy for one epoch on the same token ids; copying is part of all."""
    pairs = shapes.pairs(shape, shape.num_pairs)
    token_pairs = with_reference(networks.network(shape, shapes.build(shape)), pairs)
    reference = peers.ReferenceLogps(token_pairs.reference_chosen.tolist(), token_pairs.reference_rejected.tolist())
    theta_0 = shapes.build(shape)
    theta = shapes.nudged(theta_0)
    policy = networks.network(shape, shapes.nudged(theta_0))
    return {
        "apl-bench": lambda: ours(shape, policy, token_pairs),
        "TRL DPOTrainer, precomputed reference": trl(shape, pairs, reference),
        "two policy + two reference forwards, full logits": lambda: peers.textbook(theta_0, theta, pairs, shape),
    }


def ours(shape: shapes.Shape, policy: Network, pairs: dpo.TokenPairs) -> Turn:
    """The engine's training loop on a copy of the policy."""
    report = dpo.train(policy.copy(("benchmark",)), pairs, shape.training, ("benchmark",))
    return Turn(report.num_tokens, report.num_updates, report.epoch_losses[-1])


def trl(shape: shapes.Shape, pairs: shapes.Pairs, reference: peers.ReferenceLogps) -> Callable[[], Turn]:
    """TRL's `train` for an epoch; building the trainer is not measured."""
    initial = shapes.nudged(shapes.build(shape))
    made = peers.trainer(shape, shapes.nudged(shapes.build(shape)), pairs, reference, epochs=1)

    def work() -> Turn:
        made.model.load_state_dict(initial.state_dict())  # type: ignore[union-attr]
        made.optimizer = made.lr_scheduler = None
        return peers.train(made, pairs.num_tokens)

    return work
