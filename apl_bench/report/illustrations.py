"""Which figures a comparison has, and what each of them says in words: under it, and to those who can't see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from apl_bench.report.costs import Taken
from apl_bench.report.figures import Axis, acquired, against, curves, differences, shown_steps, stages
from apl_bench.report.formats import count, figure, interval, percent
from apl_bench.report.reading import Findings
from apl_bench.report.results import Results
from apl_bench.report.view import stage_seconds


class Illustration(NamedTuple):
    """A figure: its file's name, its heading, what it shows, and the same for those who can't see it; `is_wide` where
    it needs the page's whole width."""

    name: str
    heading: str
    caption: str
    label: str
    figure: Figure
    is_wide: bool = False


def illustrations(results: Results, findings: Findings) -> list[Illustration]:
    """All that the runs have the numbers for, in the order of a page."""
    return [*_labels(results), *_costs(results, findings), *_time(results, findings), _bought(results)]


def _labels(results: Results) -> Iterator[Illustration]:
    ends = "; ".join(f"{arm.strategy} {figure(arm.last.rate.mean)} {interval(arm.last.rate)}"
                     for arm in results.arms)  # fmt: skip
    at = results.arms[0].last.num_labels
    yield Illustration(
        "curves",
        "Learning curves",
        f"Win rate against labels bought. Bands are intervals of 95 % over {_luck(results)}, each for its own "
        "waypoint. The line at 0.5: no better than the opponent's texts.",
        f"Learning curves. Win rates at {at} labels: {ends}. The table of all waypoints has every value.",
        curves(results),
    )
    drawn = differences(results)
    if drawn is None:
        return
    found = [(arm.strategy, arm.last.difference) for arm in results.arms if arm.last.difference]
    ends = "; ".join(f"{name} {figure(one.value.mean, signed=True)} {interval(one.value, signed=True)}"
                     for name, one in found)  # fmt: skip
    yield Illustration(
        "differences",
        f"Difference from {results.baseline}",
        f"Paired by seed and by test prompt, with intervals of 95 % over {_luck(results)}, not corrected for their "
        "number. Marks at one waypoint are set apart sideways so that they can be read.",
        f"Differences from {results.baseline} at {at} labels: {ends}.",
        drawn,
    )


def _luck(results: Results) -> str:
    """What the intervals are over, in words."""
    if all(len(arm.seeds) > 1 for arm in results.arms):
        return "seeds and test prompts (two-way)"
    return "seeds and test prompts (two-way), of a strategy with one seed over test prompts alone"


def _costs(results: Results, findings: Findings) -> Iterator[Illustration]:
    kl = {arm.strategy: [point.beside.get("kl") for point in arm.curve] for arm in results.arms}
    if _is_known(kl.values()):
        yield _against(results, "kl", "Win rate against KL", Axis("KL to theta_0, nats a completion", "", kl),
                       "How far the policy has moved for what it won. Compare at the same KL: a strategy that ends "
                       "further away may win more without having chosen better pairs.")  # fmt: skip
    work = "Of acquisition and training, summed up to each waypoint, mean over seeds; evaluation is left out. "
    flop = _column(results, findings, lambda taken: taken.flop)
    tokens = _column(results, findings, lambda taken: taken.num_tokens)
    if _is_known(flop.values()):
        axis = Axis("model FLOPs of acquisition and training", "FLOP", flop)
        yield _against(results, "compute", "Win rate against compute", axis,
                       work + "Model FLOPs are the matrix products that the tokens need.")  # fmt: skip
    elif _is_known(tokens.values()):
        axis = Axis("tokens of acquisition and training", "1", tokens)
        yield _against(results, "compute", "Win rate against compute", axis,
                       work + "In tokens fed to a model: FLOPs were not recorded.")  # fmt: skip
    yield from _dollars(results, findings)


def _dollars(results: Results, findings: Findings) -> Iterator[Illustration]:
    """Against labels' dollars, and against labels' and judge's together, where there are any."""
    labels = _column(results, findings, lambda taken: taken.label_usd)
    both = _column(results, findings, _both_usd)
    price = ("Dollars by list price, batches not taken off, an answer that several rows share counted once; mean over "
             "seeds. ")  # fmt: skip
    if _is_known(labels.values()):
        yield _against(results, "dollars-labels", "Win rate against dollars for labels",
                       Axis("dollars for labels", "$", labels), price + "The oracle's bill alone.")  # fmt: skip
    if _is_known(both.values()) and both != labels:
        yield _against(results, "dollars-all", "Win rate against dollars for labels and judging",
                       Axis("dollars for labels and judging", "$", both),
                       price + "The oracle's bill and the judge's, all evaluations until then included.")  # fmt: skip


def _both_usd(taken: Taken) -> float | None:
    return None if taken.label_usd is None or taken.judge_usd is None else taken.label_usd + taken.judge_usd


def _bought(results: Results) -> Illustration:
    num_shown, num_steps = len(shown_steps(results)), min(len(arm.acquired) for arm in results.arms)
    some = "" if num_shown == num_steps else f" {num_shown} of {num_steps} steps are shown."
    shares = "; ".join(f"{arm.strategy} {percent(arm.learned.get('share_wrong'))}" for arm in results.arms)
    return Illustration(
        "acquired",
        "What was bought, step by step",
        "The probability that the policy's implicit preference gave to each label before it was bought, over all seeds "
        "(figure 3 of the paper). Left of 0.5 it had the label the other way." + some,
        f"Histograms of what was bought. Share of labels that the implicit preference had the other way: {shares}.",
        acquired(results),
        is_wide=True,
    )


def _time(results: Results, findings: Findings) -> Iterator[Illustration]:
    seconds = stage_seconds(results, findings)
    if seconds:
        yield Illustration("stages", "Where the time went", "Seconds a run by stage, evaluation included, on the "
                           "machines that the runs were made on.", "Seconds a run by stage; the table below has them.",
                           stages(seconds))  # fmt: skip


def _against(results: Results, name: str, heading: str, axis: Axis, caption: str) -> Illustration:
    last = {arm.strategy: axis.values[arm.strategy][-1] for arm in results.arms}
    ends = "; ".join(f"{arm.strategy} {_amount(axis, last[arm.strategy])} for {figure(arm.last.rate.mean)}"
                     for arm in results.arms)  # fmt: skip
    label = f"{heading}. At the last waypoint, {axis.name}, and win rate: {ends}."
    return Illustration(name, heading, caption, label, against(results, axis))


def _amount(axis: Axis, value: float | None) -> str:
    return count(value) if axis.unit in ("FLOP", "1") else figure(value, 2)


def _column(
    results: Results, findings: Findings, value: Callable[[Taken], float | None]
) -> dict[str, Sequence[float | None]]:
    return {arm.strategy: [value(taken) for taken in findings.taken[arm.strategy]] for arm in results.arms}


def _is_known(columns: Iterable[Sequence[float | None]]) -> bool:
    """Whether every strategy has a value at every waypoint, and one of them is more than 0."""
    values = [value for column in columns for value in column]
    return None not in values and any(values)
