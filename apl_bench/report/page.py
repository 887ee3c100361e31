"""A report on recorded runs: one HTML file that needs nothing else, and figures for papers beside it.

Everything in it that others wrote (names, prompts, completions, replies) is hostile: the template escapes it, the
script puts it in as text, hidden characters are spelled out, and the page's own policy runs no script and no style but
the two whose hashes it names, and asks for nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apl_bench.comparison import Plan, compare
from apl_bench.comparison.grouping import groups_of
from apl_bench.comparison_json import comparison_json
from apl_bench.records import Run, file_name, write_atomically
from apl_bench.report import cards, formats, view
from apl_bench.report.pairs import Shown
from apl_bench.report.reading import Findings, read_findings
from apl_bench.report.results import Results
from apl_bench.types import SpecError

if TYPE_CHECKING:
    import jinja2

    from apl_bench.report.illustrations import Illustration

PAGE = "report.html"
FIGURES = "figures"
NUM_PAIRS = 1200
DEFAULT_PLAN = Plan()
MAX_PAIR_BYTES = 3_200_000  # of all pairs together, where no number is asked for: the page stays below 5 MB
INSTALL_PLOTS = "a report has figures, which need matplotlib: pip install 'apl-bench[plots]'"


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """`num_pairs`: single pairs on the page, over all comparisons; None: 1,200, or fewer where they are long.
    `title`: of the page. `has_files`: whether figures are written as PNG and SVG as well. `plan`: what was decided
    before the runs were seen.
    """

    num_pairs: int | None = None
    title: str = "Report"
    has_files: bool = True
    plan: Plan = DEFAULT_PLAN

    def __post_init__(self) -> None:
        if self.num_pairs is not None and self.num_pairs < 0:
            raise SpecError(f"--pairs is {self.num_pairs}; expected 0 or more")


@dataclass(frozen=True)
class Section:
    """A comparison of a report: its results, what else its runs say, its figures, and the pairs that are shown."""

    name: str
    results: Results
    findings: Findings
    drawn: Sequence[Illustration]
    pairs: Sequence[Shown]
    runs: Sequence[Run]


def write_report(runs: Sequence[Run], out: Path, options: ReportOptions) -> Path:
    """Write the page of these runs, `report.html` in the folder `out`, and figures below `figures`; returns the page.

    Runs that are not complete are left out, and named on the page. Raises SpecError where none is complete, for runs
    that cannot be compared or lack files, and where matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise SpecError(INSTALL_PLOTS)
    complete = [run for run in runs if run.complete]
    if not complete:
        raise SpecError(f"none of the {len(runs)} runs is complete; finish them with the command that began them")
    sections = list(_sections(complete, options))
    html = _render(sections, [run for run in runs if not run.complete], options)
    if options.has_files:
        for section in sections:
            _write_figures(section, out / FIGURES / section.name)
    write_atomically(out / PAGE, html)
    return out / PAGE


def _sections(runs: Sequence[Run], options: ReportOptions) -> Iterator[Section]:
    from apl_bench.report.illustrations import illustrations

    by_path = {run.path: run for run in runs}
    groups, comparisons = groups_of(runs), compare(runs, options.plan)
    num_pairs = (NUM_PAIRS if options.num_pairs is None else options.num_pairs) // len(groups)
    max_bytes = MAX_PAIR_BYTES // len(groups) if options.num_pairs is None else None
    names = [file_name(comparison.name) for comparison in comparisons]
    for number, (group, comparison) in enumerate(zip(groups, comparisons, strict=True)):
        name = names[number] if names.count(names[number]) == 1 else f"{names[number]}-{number + 1}"
        own = [by_path[run.path] for run in group.runs]
        findings = read_findings(own, num_pairs)
        results = Results.read(comparison_json(comparison))
        pairs = cards.within(findings.pairs, max_bytes)
        yield Section(name, results, findings, illustrations(results, findings), pairs, own)


def _write_figures(section: Section, folder: Path) -> None:
    from apl_bench.report.files import SUFFIXES, save_for_papers
    from apl_bench.report.health_figure import draw_health

    save_for_papers({one.name: one.figure for one in section.drawn}, folder)
    for suffix in SUFFIXES:
        draw_health(section.findings.judges, folder / f"judges{suffix}")


def _render(sections: Sequence[Section], left_out: Sequence[Run], options: ReportOptions) -> str:
    style, script = _asset("report.css"), _asset("report.js")
    policy = (f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
              "form-action 'none'")  # fmt: skip
    return _template().render(
        title=options.title,
        policy=policy,
        style=style,
        script=script,
        sections=[_shown(number, section) for number, section in enumerate(sections, start=1)],
        left_out=[run.path.name for run in left_out],
    )


def _shown(number: int, section: Section) -> dict[str, Any]:
    """What the template needs of a section."""
    import markupsafe

    from apl_bench.report.drawing import inline_svg

    results, findings = section.results, section.findings
    seconds = view.stage_seconds(results, findings)
    stage_names, stage_rows = view.stage_rows(seconds, findings)
    drawn = [
        (one, markupsafe.Markup(inline_svg(one.figure, f"f{number}-{one.name}-", formats.visible(one.label))))
        for one in section.drawn
    ]
    return {
        "id": f"c{number}",
        "folder": f"{FIGURES}/{section.name}",
        "results": results,
        "rows": view.result_rows(results),
        "kl_table": view.kl_table(results),
        "num_seeds": sorted({len(arm.seeds) for arm in results.arms}),
        "figures": drawn,
        "judges": list(view.judges(findings)),
        "stage_names": stage_names,
        "stage_rows": stage_rows,
        "taken": findings.taken,
        "cards": cards.cards(section.pairs),
        "num_pairs": len(section.pairs),
        "num_all": sum(view.num_pairs_of(run) for run in section.runs),
        "data": markupsafe.Markup(cards.pairs_data(section.pairs)),
        "versions": view.versions(section.runs),
    }


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return files("apl_bench.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    import jinja2  # 30 ms that only a page needs

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    named = ("visible", "figure", "interval", "count", "dollars", "percent", "saved")
    filters = {name: getattr(formats, name) for name in named} | {"p": formats.p_value}
    environment.filters.update(filters)
    return environment.from_string(_asset("report.jinja"))
