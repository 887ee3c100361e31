"""How checks are run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from apl_bench.contract import Finding

T = TypeVar("T")
Check: TypeAlias = Callable[[T], Iterable[Finding]]
Stage: TypeAlias = Sequence[Check[T]]


def run_stages(subject: T, stages: Sequence[Stage[T]]) -> list[Finding]:
    """The findings of the first stage that has any, one for each code: later checks rely on earlier ones."""
    for stage in stages:
        found = [finding for check in stage for finding in _guarded(check, subject)]
        if found:
            return list({finding.code: finding for finding in reversed(found)}.values())[::-1]
    return []


def fresh(plugin: T | Callable[[], T]) -> Callable[[], T]:
    """Makes a new instance at each call, of a class, a factory, or an instance as it is now (which is copied)."""
    if callable(plugin):
        return plugin
    pristine = copy.deepcopy(plugin)
    return lambda: copy.deepcopy(pristine)


def _guarded(check: Check[T], subject: T) -> Iterator[Finding]:
    try:
        yield from check(subject)
    except Exception as error:  # a plugin may fail in any way, and saying so is what the kit is for
        yield Finding(
            "raises",
            f"{check.__name__.strip('_').replace('_', ' ')}: {type(error).__name__}: {error}",
            "run the method that failed on a small pool of your own and mend it",
        )
