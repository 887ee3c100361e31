"""What the runs of a submission share, gathered from them: prompts and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from apl_bench.leaderboard.packing.columns import Vocabulary
from apl_bench.leaderboard.packing.files import places_of
from apl_bench.leaderboard.packing.rows import Tables
from apl_bench.records import Run, read_jsonl
from apl_bench.spec import PolicySpec, require

_SHIPPED = "shipped:"


def gather(runs: Sequence[Run]) -> Tables:
    """The prompts and the tokens of complete runs."""
    prompts: dict[tuple[str, str], None] = {}
    completions = []
    for rows in (rows for run in runs for rows in _files(run)):
        for row in rows:
            if "prompt" in row:
                prompts.setdefault((row["prompt_id"], row["prompt"]))
                completions += [completion["token_ids"] for completion in _completions(row)]
    tokens = {token for completion in completions for token in completion}
    return Tables(tuple(prompts), Vocabulary.of(completions, _pieces(runs[0].spec.policy, tokens)))


def _files(run: Run) -> Iterator[list[dict[str, Any]]]:
    for place in places_of(run.spec):
        yield read_jsonl(run.path / place.file)


def _completions(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [*row.get("completions", ()), *(row[side] for side in ("policy", "opponent") if side in row)]


def _pieces(policy: PolicySpec, tokens: set[int]) -> dict[int, str] | None:
    """The text of each token as the policy's tokenizer writes it after another one; None where there is none here.

    A text that is not its tokens' one after another is kept beside them, so that a wrong piece costs bytes alone.
    """
    folder = _folder(policy)
    if folder is None or not (folder / "tokenizer.json").exists():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    before = tokenizer.encode("a", add_special_tokens=False).ids[-1:]
    head = tokenizer.decode(before)
    return {token: tokenizer.decode([*before, token]).removeprefix(head) for token in tokens}


def _folder(policy: PolicySpec) -> Path | None:
    """Where the policy's tokenizer is on this machine."""
    if policy.model.startswith(_SHIPPED):
        return shipped_folder(policy.model)
    from apl_bench.engine.models import find_checkpoint
    from apl_bench.types import SpecError

    try:
        return find_checkpoint(policy)
    except SpecError:
        return None


def shipped_folder(model: str) -> Path:
    """The folder of a policy that ships, `shipped:NAME`. Raises SpecError for a name that leads elsewhere."""
    from importlib.resources import files

    name = model.removeprefix(_SHIPPED)
    require(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None, "policy.model", model, "shipped:NAME")
    return Path(str(files("apl_bench.tasks"))) / "models" / name
