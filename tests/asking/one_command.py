"""A command of its own process that wants some pairs judged in one batch, for tests of what several do at once.

    python -m tests.asking.one_command LEDGER URL NUM

Says `ready`, waits for a line on its standard input, and prints the verdicts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from apl_bench.asking.asking import Asking, Terms
from apl_bench.asking.batches import Waiting
from apl_bench.judging import Judging, Manner, Mode
from apl_bench.judgments.ledger import Ledger
from apl_bench.oracles.openai_chat import OpenAIChat
from apl_bench.types import Completion, Pair, Prompt

QUICK = Waiting(first_look_s=0.02, last_look_s=0.05)


def pairs(num: int) -> list[Pair]:
    """The second of every other one is the better."""
    sides = [(f" {i} was good", f" {i} was good and good" if i % 2 else f" {i} was bad") for i in range(num)]
    return [Pair(Prompt("p", "The film"), *(Completion(text, (), finished=True) for text in side)) for side in sides]


def main() -> None:
    folder, url, num = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    oracle = OpenAIChat("m", "sentiment-v2", base_url=url, max_output_tokens=64)
    with Ledger(folder) as ledger, Asking(Terms(waiting=QUICK), folder / "batches") as asking:
        judging = Judging(oracle, ledger, Manner(Mode.RECORD, "fixed", batch=True), asking)
        print("ready", flush=True)
        sys.stdin.readline()
        print(" ".join(judged.verdict.name for judged in judging.judge(pairs(num))), flush=True)


if __name__ == "__main__":
    main()
