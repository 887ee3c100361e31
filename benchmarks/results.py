"""What was measured: contenders side by side with every turn's seconds, and figures that are no race."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from apl_bench.types import JSON

SCHEMA = "apl-bench-speed/1"
MANNER = (
    "Figures are ratios within one run: all contenders in one process, on the same threads, with the same allocator,",
    "took turns, after one turn each that was not counted. A ratio is the median over turns of that turn's ratio, and",
    "stands with the smallest and the largest. Seconds of different runs or machines are not to be compared.",
)
RATIO_COLUMNS = ("suite", "shape", "against", "times as fast", "turns from", "to")


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast the first contender is: the median over turns of each turn's ratio, the smallest, and the
    largest. Neighbours in time share the machine's mood, so a turn is compared with itself alone."""

    median: float
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class Race:
    """Contenders side by side: `seconds` of each counted turn, by contender; the first one is ours.

    `profile` says where the time of one of ours went, where that was asked for.
    """

    suite: str
    shape: str
    title: str
    seconds: Mapping[str, Sequence[float]]
    profile: str = ""

    @property
    def first(self) -> str:
        """The contender that the others are compared with."""
        return next(iter(self.seconds))

    def ratio(self, name: str) -> Ratio:
        """How many times as fast the first contender is as this one."""
        pairs = zip(self.seconds[name], self.seconds[self.first], strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    @property
    def ratios(self) -> dict[str, Ratio]:
        """The same for each of the others."""
        return {name: self.ratio(name) for name in self.seconds if name != self.first}

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return ("contender", "median s", *RATIO_COLUMNS[3:])

    @property
    def rows(self) -> list[list[str]]:
        """A row for each contender."""
        medians = {name: f"{statistics.median(values):.3f}" for name, values in self.seconds.items()}
        return [[self.first, medians[self.first], "", "", ""]] + [
            [name, medians[name], *_digits(ratio)] for name, ratio in self.ratios.items()
        ]

    def to_json(self) -> dict[str, JSON]:
        """Every turn's seconds, and the ratios."""
        contenders: list[JSON] = [
            {"name": name, "seconds": list(values), "median_s": statistics.median(values),
             "ratio": asdict(self.ratio(name))}
            for name, values in self.seconds.items()
        ]  # fmt: skip
        return {"kind": "race", **_head(self), "contenders": contenders}


@dataclass(frozen=True, slots=True)
class Facts:
    """Figures that are no race: `rows` under `columns`. `profile` as in a race."""

    suite: str
    shape: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    profile: str = ""

    def to_json(self) -> dict[str, JSON]:
        """A mapping for each row."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"kind": "facts", **_head(self), "rows": rows}


Result: TypeAlias = "Race | Facts"


@dataclass(frozen=True, slots=True)
class Report:
    """A run of the benchmarks: `environment` is what it was measured on, `shapes` says what each shape is."""

    environment: Mapping[str, JSON]
    shapes: Mapping[str, JSON]
    results: Sequence[Result]

    @property
    def races(self) -> list[Race]:
        """The results that are ratios."""
        return [result for result in self.results if isinstance(result, Race)]

    @property
    def ratio_rows(self) -> list[list[str]]:
        """Every ratio of the run, under RATIO_COLUMNS."""
        return [
            [race.suite, race.shape, f"{name}: {race.title}", *_digits(ratio)]
            for race in self.races
            for name, ratio in race.ratios.items()
        ]

    def to_json(self) -> str:
        """Everything, as text."""
        results = [result.to_json() for result in self.results]
        content = {"schema": SCHEMA, "environment": self.environment, "shapes": self.shapes, "results": results}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """The same tables that are printed."""
        return "\n".join(self._markdown())

    def _markdown(self) -> Iterator[str]:
        yield "# Speed and memory\n"
        yield from _table(("machine", ""), [[name, str(value)] for name, value in self.environment.items()])
        if self.shapes:
            yield from _table(("shape", ""), [[name, str(text)] for name, text in self.shapes.items()])
        if self.races:
            yield "## Ratios\n"
            yield from MANNER
            yield ""
            yield from _table(RATIO_COLUMNS, self.ratio_rows)
        for result in self.results:
            yield f"## {heading_of(result)}\n"
            yield from _table(result.columns, result.rows)
            if result.profile:
                yield f"```\n{result.profile}\n```\n"


def heading_of(result: Result) -> str:
    """The line above a result's table."""
    return f"{result.suite}: {result.title}" + (f" ({result.shape})" if result.shape else "")


def _head(result: Result) -> dict[str, JSON]:
    told = {"suite": result.suite, "shape": result.shape, "title": result.title}
    return {**told, "profile": result.profile} if result.profile else {**told}


def _digits(ratio: Ratio) -> list[str]:
    return [f"{value:.2f}" for value in (ratio.median, ratio.smallest, ratio.largest)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    yield from ("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)
    yield ""
