"""How the summary oracle's coefficients were fitted, and how far they can be trusted.

    python -m recipes.summary --data tldr.jsonl.gz --out apl_bench/oracles/data/summary.json

Data: posts with a person's summary, a model's, and which of the two GPT-4 preferred (`gpt_preferred`: model or
reference), one JSON object a line; the 398 verdicts of vwxyzjn/summarize_from_feedback_details, of 398 posts. Needs
numpy only; a few seconds.

Logistic regression on the differences of measures, without an intercept (so that exchanging the two texts turns the
answer round, and nothing can learn on which side the model stands), the penalties as a fixed offset, no coefficient
below 0, a ridge that is light on length and heavy on the rest: where the verdicts say little, the score is length with
the penalties. Oracle and judge are fitted to the two halves of the verdicts, dealt by a hash of the post.

It prints, for each model, the agreement with GPT-4 of the whole procedure in 20 times 10-fold cross-validation on all
verdicts, and how much more that is than two rules that read nothing (always the model's, always the longer), with a
paired bootstrap over verdicts, Nadeau and Bengio's corrected resampled t (2003), which also counts that the folds'
training sets overlap, and McNemar's exact test of the mean score over the repetitions. Agreement is a coarse measure:
so it also prints the gain in log score, nats a verdict, over the length in characters alone, fitted in the same folds.
Measures and ridges were chosen with all of these verdicts in view, so every figure is flattered.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apl_bench.oracles.fluency import Penalty
from apl_bench.oracles.summary import English, Scorer
from apl_bench.oracles.summary_measures import MEASURES, Post

SEED = 0
NUM_REPEATS, NUM_FOLDS = 20, 10
NUM_RESAMPLES = 10_000
RIDGE = {"length": 1.0, "substance": 1.0}  # on columns scaled to a root mean square of 1
OTHER_RIDGE = 30.0
NUM_ITERATIONS = 500
T_95 = 1.972  # two-sided, 199 degrees of freedom
SOURCE = (
    "398 verdicts of GPT-4 in vwxyzjn/summarize_from_feedback_details (MIT) on OpenAI's summarize-from-feedback "
    "(modified MIT), posts and summaries from Webis-TLDR-17 (CC BY 4.0)"
)
LICENCE = "coefficients, which are statistics of those verdicts, no text: Apache-2.0, as the rest"
MEASURED_BY = {
    "oracle": ("length", "later", "own words", "care"),
    "judge": ("substance", "recall", "own phrases", "care"),
}
# level (about what one in twenty to a hundred of people's summaries shows), softness, nats for each unit above it
PENALTIES = {
    "repetition": (0.15, 0.05, 15.0),  # share of words
    "copying": (16.0, 4.0, 0.1),  # words in a row
    "incoherence": (0.15, 0.2, 4.0),  # nats of association: random word order is 1.2 above the usual
    "listing": (0.75, 0.03, 15.0),  # share of words that are no function words
    "unsupported": (0.7, 0.1, 8.0),  # share of content words
    "odd": (0.02, 0.01, 20.0),  # share of characters
    "markers": (0.0, 0.0, 2.0),  # each
    "unfinished": (0.0, 0.0, 0.3),
}


@dataclass(frozen=True)
class Verdicts:
    """Differences, model's summary less the person's: measures_VF and a fixed offset_V (nats). What GPT-4 preferred.
    What each measure's coefficient is shrunk by: ridge_F."""

    measures_VF: np.ndarray
    offset_V: np.ndarray
    model_won_V: np.ndarray
    ridge_F: np.ndarray

    def select(self, rows: np.ndarray) -> Verdicts:
        return replace(
            self, measures_VF=self.measures_VF[rows], offset_V=self.offset_V[rows], model_won_V=self.model_won_V[rows]
        )

    def score(self, coefficients: np.ndarray) -> np.ndarray:
        """The model's summary's score less the person's, nats."""
        return self.measures_VF @ coefficients + self.offset_V


def agrees(score_V: np.ndarray, model_won_V: np.ndarray) -> np.ndarray:
    """1, a half (no preference) or 0, by the sign of a score that is positive for the model's summary."""
    return (np.sign(score_V) * np.where(model_won_V, 1, -1) + 1) / 2


def read(path: Path) -> list[dict[str, Any]]:
    """All rows."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def prompt_of(row: Mapping[str, Any]) -> str:
    """The prompt of a post."""
    return f"SUBREDDIT: r/{row['subreddit']} TITLE: {row['title']} POST: {row['post']} TL;DR:"


def verdicts(rows: Sequence[Mapping[str, Any]], model: str) -> Verdicts:
    """The differences that a model sees."""
    scorer = Scorer(dict.fromkeys(MEASURED_BY[model], 1.0), penalties(), English.shipped(model))
    values = np.array(
        [
            [_values(scorer, Post.read(prompt_of(row)), row[side]) for side in ("model_summary", "summary")]
            for row in rows
        ]
    )
    difference = values[:, 0] - values[:, 1]
    won = np.array([row["gpt_preferred"] == "model" for row in rows])
    ridge = np.array([RIDGE.get(name, OTHER_RIDGE) for name in MEASURED_BY[model]])
    return Verdicts(difference[:, :-1], difference[:, -1], won, ridge)


def length_alone(rows: Sequence[Mapping[str, Any]]) -> Verdicts:
    """What the rule `longer` sees, as a forecast: the logarithm of characters, and nothing else."""
    logs = [math.log(len(row["model_summary"]) / len(row["summary"])) for row in rows]
    won = np.array([row["gpt_preferred"] == "model" for row in rows])
    return Verdicts(np.array(logs)[:, None], np.zeros(len(rows)), won, np.array([RIDGE["length"]]))


def _values(scorer: Scorer, post: Post, text: str) -> list[float]:
    """Each measure, and last the sum of the penalties, as a loss."""
    faults = scorer.faults(post, text)
    loss = math.fsum(-scorer.penalties[name](value) for name, value in faults.items())
    return [*(MEASURES[name](post, text) for name in scorer.coefficients), loss]


def penalties() -> dict[str, Penalty]:
    return {name: Penalty(*values) for name, values in PENALTIES.items()}


def fit(data: Verdicts) -> np.ndarray:
    """Coefficients, nats a unit, none below 0: projected gradient descent on the ridge-penalised log loss."""
    scale = np.sqrt((data.measures_VF**2).mean(axis=0))
    scaled, sign = data.measures_VF / scale, np.where(data.model_won_V, 1.0, -1.0)
    step = 1 / (np.linalg.norm(scaled, 2) ** 2 / 4 + data.ridge_F.max())
    weights = np.zeros(scaled.shape[1])
    for _ in range(NUM_ITERATIONS):
        doubt = 1 / (1 + np.exp(sign * (scaled @ weights + data.offset_V)))
        weights = np.maximum(weights + step * (scaled.T @ (sign * doubt) - data.ridge_F * weights), 0.0)
    return weights / scale


def folds(num: int) -> np.ndarray:
    """The fold of each verdict in each repetition, shape (NUM_REPEATS, num): the same for all that is compared."""
    rng = np.random.default_rng(SEED)
    return np.array([rng.permutation(num) % NUM_FOLDS for _ in range(NUM_REPEATS)])


def cross_validate(data: Verdicts) -> np.ndarray:
    """The score of each verdict by coefficients fitted without its fold, nats, shape (NUM_REPEATS, verdicts)."""
    fold_RV = folds(len(data.model_won_V))
    score_RV = np.empty(fold_RV.shape)
    for repeat, fold in np.ndindex(NUM_REPEATS, NUM_FOLDS):
        test = fold_RV[repeat] == fold
        score_RV[repeat, test] = data.select(test).score(fit(data.select(~test)))
    return score_RV


def log_score(score_RV: np.ndarray, model_won_V: np.ndarray) -> np.ndarray:
    """log p of what was preferred, nats, the mean over repetitions, shape (verdicts,)."""
    return -np.log1p(np.exp(-score_RV * np.where(model_won_V, 1, -1))).mean(axis=0)


def mcnemar(right_V: np.ndarray, rule_V: np.ndarray) -> dict[str, float]:
    """How often only the score, and only the rule, is right; and the exact two-sided p. Halves are left out."""
    better, worse = int(((right_V == 1) & (rule_V == 0)).sum()), int(((right_V == 0) & (rule_V == 1)).sum())
    tail = math.fsum(math.comb(better + worse, k) for k in range(min(better, worse) + 1)) / 2 ** (better + worse)
    return {"only_the_score": better, "only_the_rule": worse, "p": min(1.0, 2 * tail)}


def bootstrap(difference_V: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean: percentiles over resampled verdicts."""
    rng, num = np.random.default_rng(SEED), len(difference_V)
    means = difference_V[rng.integers(num, size=(NUM_RESAMPLES, num))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def corrected(difference_RV: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean over repeated folds: Nadeau and Bengio's corrected resampled t."""
    fold_RV = folds(difference_RV.shape[1])
    means = [
        difference_RV[repeat, fold_RV[repeat] == fold].mean()
        for repeat in range(NUM_REPEATS)
        for fold in range(NUM_FOLDS)
    ]
    variance = float(np.var(means, ddof=1)) * (1 / len(means) + 1 / (NUM_FOLDS - 1))
    mean, half = float(np.mean(means)), T_95 * math.sqrt(variance)
    return mean - half, mean + half


def rules(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Whether the rules that read nothing meet each verdict; equal lengths count a half."""
    won = np.array([row["gpt_preferred"] == "model" for row in rows])
    longer = np.array([len(row["model_summary"]) - len(row["summary"]) for row in rows])
    return {"model": agrees(np.ones(len(rows)), won), "longer": agrees(longer, won)}


def alike_in_length(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Where the longer summary has at most a quarter more characters than the other."""
    lengths = np.array([[len(row["model_summary"]), len(row["summary"])] for row in rows])
    return lengths.max(axis=1) <= 1.25 * lengths.min(axis=1)


def half_of(rows: Sequence[Mapping[str, Any]], model: str) -> np.ndarray:
    """Which verdicts a model is fitted to: a bit of the post's hash decides."""
    bits = [hashlib.sha256(row["post"].encode()).digest()[0] % 2 for row in rows]
    return np.array(bits) == ("judge", "oracle").index(model)


def measure(rows: Sequence[Mapping[str, Any]], model: str) -> dict[str, Any]:
    """What a model is worth on the verdicts."""
    data, half, alike = verdicts(rows, model), half_of(rows, model), alike_in_length(rows)
    score_RV, shipped = cross_validate(data), fit(data.select(half))
    right_RV = agrees(score_RV, data.model_won_V)
    gain = log_score(score_RV, data.model_won_V) - log_score(cross_validate(length_alone(rows)), data.model_won_V)
    other = data.select(~half)
    report: dict[str, Any] = {
        "model": model,
        "cross_validated": float(right_RV.mean()),
        "interval": bootstrap(right_RV.mean(axis=0)),
        "log_score_over_length_alone": [float(gain.mean()), *bootstrap(gain)],
        "alike_in_length": [float(right_RV[:, alike].mean()), int(alike.sum())],
        "fitted_to": int(half.sum()),
        "on_the_other_half": float(agrees(other.score(shipped), other.model_won_V).mean()),
        "coefficients": dict(zip(MEASURED_BY[model], np.round(shipped, 3).tolist(), strict=True)),
        "on_all": dict(zip(MEASURED_BY[model], np.round(fit(data), 3).tolist(), strict=True)),
    }
    for name, met in rules(rows).items():
        difference = right_RV - met
        report[f"over_{name}"] = {
            "rule": float(met.mean()),
            "rule_on_the_other_half": float(met[~half].mean()),
            "rule_where_alike_in_length": float(met[alike].mean()),
            "difference": float(difference.mean()),
            "bootstrap": bootstrap(difference.mean(axis=0)),
            "corrected_t": corrected(difference),
            "mcnemar": mcnemar(agrees(score_RV.mean(axis=0), data.model_won_V), met),
        }
    return report


def agreement(rows: Sequence[Mapping[str, Any]], models: Mapping[str, Any]) -> float:
    """How often oracle and judge, as they ship, prefer the same one of a model's and a person's summary."""
    scorers = [Scorer(models[name]["coefficients"], penalties(), English.shipped(name)) for name in MEASURED_BY]
    signs = [[np.sign(_difference(scorer, row)) for row in rows] for scorer in scorers]
    return float(np.mean(np.array(signs[0]) == np.array(signs[1])))


def _difference(scorer: Scorer, row: Mapping[str, Any]) -> float:
    """The score of the model's summary less the person's."""
    post = Post.read(prompt_of(row))
    return scorer(post, row["model_summary"]).total - scorer(post, row["summary"]).total


def table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What ships."""
    models = {}
    for model, names in MEASURED_BY.items():
        coefficients = fit(verdicts(rows, model).select(half_of(rows, model)))
        rounded = [round(float(value), 3) for value in coefficients]
        models[model] = {"coefficients": dict(zip(names, rounded, strict=True)), "penalties": PENALTIES}
    return {"source": SOURCE, "licence": LICENCE, "recipe": "recipes/summary.py", "models": models}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    posts = read(options.data)
    rows = [row for row in posts if row.get("gpt_preferred")]
    made = table(rows)
    options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    for model in MEASURED_BY:
        print(json.dumps(measure(rows, model), indent=1), flush=True)
    others = [row for row in posts if not row.get("gpt_preferred")]
    agree = {name: agreement(of, made["models"]) for name, of in (("verdicts", rows), ("other posts", others))}
    print(json.dumps({"oracle and judge agree": agree}))


if __name__ == "__main__":
    main()
