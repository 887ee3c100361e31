"""The fields that apl-comparison/1 has had from the start: every results.json has them.

Frozen: a field that the schema gets later is not added here, since submissions of before lack it and are never edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Required: TypeAlias = "Mapping[str, Required] | list[Required] | None"

ALL = None  # whatever there is has to be stated
NOTHING: Required = {}  # what is stated has to be true, and nothing has to be stated

_ESTIMATE: Required = dict.fromkeys(["mean", "se_seeds", "se_two_way", "interval"], ALL)
_DIFFERENCE: Required = dict.fromkeys(
    ["mean", "se_seeds", "se_two_way", "interval", "worst", "best", "sd_seeds", "num_seeds", "p", "p_two_way", "p_holm",
     "smallest_detectable", "smallest_detectable_holm"], ALL)  # fmt: skip
_LABELS: Required = dict.fromkeys(["target", "num_labels", "interval", "censored"], ALL)
_POINT: Required = {
    **dict.fromkeys(["num_labels", "win_rate", "se_seeds", "se_two_way", "interval", "win_rate_worst", "win_rate_best",
                     "share_invalid", "share_first_shown", "by_seed"], ALL),
    "length_controlled": dict.fromkeys(["win_rate", "se", "slope"], ALL),
    "difference": _DIFFERENCE,
    "beside": dict.fromkeys(["kl", "mean_length", "repetition", "perplexity"], ALL),
}  # fmt: skip
_ACQUIRED: Required = {
    "by_step": [dict.fromkeys(["step", "histogram", "share_wrong"], ALL)],
    **dict.fromkeys(["share_wrong", "accuracy", "brier", "calibration_error", "score_error_correlation",
                     "share_invalid", "share_first_shown"], ALL),
}  # fmt: skip
_COSTS: Required = dict.fromkeys(
    ["num_labels", "num_judge_calls", "acquisition_generated_tokens", "acquisition_scored_tokens", "generated_tokens",
     "scored_tokens", "trained_tokens", "seconds", "cost_usd"], ALL)  # fmt: skip
_ROW: Required = {
    **dict.fromkeys(["strategy", "version", "seeds", "shared_seeds", "ranked", "unranked_because", "rank", "tied_with"],
                    ALL),
    "curve": [_POINT],
    "area": _ESTIMATE,
    "area_difference": _DIFFERENCE,
    "labels_to_target": _LABELS,
    "labels_saved": _LABELS,
    "acquired": _ACQUIRED,
    "costs": _COSTS,
}  # fmt: skip
COMPARISON: Required = {
    **dict.fromkeys(["schema", "name", "task", "preset", "regime", "settings", "num_prompts", "baseline", "notes"],
                    ALL),
    "family": {**dict.fromkeys(["alpha", "rule", "declared"], ALL),
               "hypotheses": [dict.fromkeys(["strategy", "num_labels"], ALL)]},
    "rows": [_ROW],
}  # fmt: skip


def inside(required: Required, name: str) -> Required:
    """What is required of a field's value."""
    return required.get(name, NOTHING) if isinstance(required, Mapping) else required


def of_item(required: Required) -> Required:
    """What is required of each item of a list."""
    return required[0] if isinstance(required, list) else required
