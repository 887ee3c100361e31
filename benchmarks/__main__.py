"""Run the benchmarks and print the ratios."""

from __future__ import annotations

import argparse
import logging
import platform
import warnings

import torch

from apl_bench.engine.memory import keep_freed_memory
from benchmarks import asking, ledger, overhead, sampling, shapes, startup, training
from benchmarks.timing import interleave, report

SUITES = ("overhead", "sampling", "training", "asking", "ledger", "startup")


def main() -> None:
    """Measure what was asked for; all suites on the shipped policy's shape by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", default=SUITES, metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each contender that count")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--shape", choices=shapes.SHAPES, default="lite", help="the model's size and the lengths")
    parser.add_argument("--plain-allocator", action="store_true", help="leave the C library's allocator as it is")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite called {', '.join(map(repr, sorted(unknown)))}; there are: {', '.join(SUITES)}")
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    kept = False if options.plain_allocator else keep_freed_memory()
    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}; all contenders in one process, "
          f"allocator keeps freed memory: {kept}")  # fmt: skip
    if "overhead" in options.suites:  # first: its peak memory is the process's
        print(overhead.measure(), flush=True)
    shape = shapes.SHAPES[options.shape]()
    if "sampling" in options.suites:
        for num_each in (2, 8):
            for own_maximum in (False, True):
                draws = shapes.draws(shape, num_each, own_maximum)
                title = (f"\nSampling {len(draws)} completions, {num_each} a prompt, each prompt's own maximum: "
                         f"{own_maximum} ({shape.name})")  # fmt: skip
                turns = interleave(sampling.contenders(shape, draws, num_each), options.repeats)
                print(report(title, turns), flush=True)
    if "training" in options.suites:
        title = f"\nA DPO epoch of {shape.num_pairs} pairs, mini-batches of {shape.batch_size} ({shape.name})"
        print(report(title, interleave(training.contenders(shape), options.repeats)), flush=True)
    if "asking" in options.suites:
        print(asking.measure(), flush=True)
    if "ledger" in options.suites:
        for line in ledger.measure():
            print(line, flush=True)
    if "startup" in options.suites:
        print(report("\nStarting up", interleave(startup.contenders(), options.repeats)), flush=True)


if __name__ == "__main__":
    main()
