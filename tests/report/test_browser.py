"""The page in a real browser: from a file, without a request, by keyboard, on a phone, in the dark, for everybody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from apl_bench.records import Run
from apl_bench.report.page import ReportOptions, write_report
from tests.browser import NO_AXE, TAB, Browser, missing
from tests.report.recorded import write_run

pytest.importorskip("matplotlib")
pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.usefixtures("loopback")]

HOSTILE = (
    "<script>window.owned = 1</script><img src=http://127.0.0.1:9/x onerror=window.owned=1> \u202eelif\u202c \x1b[31m"
)
NAMES = "return [...new Set([...document.querySelectorAll(arguments[0])].map(one => one.textContent))]"
LONG = "unbroken" * 60
DOWN = "\ue015"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two strategies, two seeds, and texts that try everything."""
    folder = tmp_path_factory.mktemp("report")
    names = ("random", "certainty", f"evil<b>{LONG[:80]}")
    runs = [Run(write_run(folder / "runs", name, seed, text=lambda place: f"{HOSTILE} {LONG} {place}",
                          reply=lambda place: f"{HOSTILE} reply {place}"))
            for name in names for seed in (0, 1)]  # fmt: skip
    return write_report(runs, folder / "out", ReportOptions(has_files=False))


def opened(browser: Browser, page: Path) -> None:
    browser.log()
    browser.go(page.as_uri())


def status(browser: Browser) -> str:
    return browser.text(".status")


def test_it_opens_from_a_file_asks_for_nothing_and_runs_nothing_else(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert status(browser) == "96 of 96 pairs"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.run("return window.owned") is None
    assert browser.run("return document.querySelectorAll('img, iframe, main script:not(.data), .text b').length") == 0
    assert {"U+202E", "U+202C", "U+001B"} <= set(browser.run(NAMES, ".cards .mark"))
    assert browser.log() == []


def test_what_is_added_to_it_is_refused(browser: Browser, page: Path) -> None:
    opened(browser, page)
    browser.run("""
        const script = document.createElement('script'); script.textContent = 'window.owned = 1';
        document.body.append(script);
        const image = document.createElement('img'); image.src = 'http://127.0.0.1:9/x.png';
        document.body.append(image);
        document.body.setAttribute('style', 'color: red');
    """)
    found: list[str] = []

    def all_refused() -> bool:
        found.extend(browser.log())
        return len(found) >= 3

    browser.wait(all_refused, "three refusals")
    assert browser.run("return window.owned") is None
    assert all("Content Security Policy" in message for message in found)


def test_pairs_are_found_by_keyboard_alone(browser: Browser, page: Path) -> None:
    opened(browser, page)
    browser.press_tab()
    for _ in range(200):
        if browser.run("return document.activeElement.name") == "strategy":
            break
        browser.press(TAB)
    assert browser.run("return document.activeElement.name") == "strategy"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press(DOWN)
    browser.wait(lambda: status(browser) == "32 of 96 pairs", "a third of the pairs")
    assert browser.run(NAMES, ".cards header b") == ["certainty"]
    browser.press(TAB, DOWN)  # the first seed
    browser.wait(lambda: status(browser) == "16 of 96 pairs", "one run's pairs")
    browser.press(TAB, DOWN)  # all labels
    browser.wait(lambda: status(browser) == "8 of 96 pairs", "one run's labels")
    browser.press(TAB, DOWN, DOWN)  # B preferred: one in four
    browser.wait(lambda: status(browser) == "2 of 96 pairs", "those with one verdict")
    browser.press(TAB, *"STEP-2")
    browser.wait(lambda: status(browser) == "1 of 96 pairs", "one pair, whatever the case of what was searched for")
    assert "label bought in step 2" in browser.text(".cards")
    assert "B preferred" in browser.text(".cards .verdict")
    browser.press(TAB, " ")  # show all
    browser.wait(lambda: status(browser) == "96 of 96 pairs", "all of them")


def test_nothing_found_is_said(browser: Browser, page: Path) -> None:
    opened(browser, page)
    browser.run("document.querySelector('[name=text]').focus()")
    browser.press(*"no such words")
    browser.wait(lambda: status(browser) == "0 of 96 pairs", "nothing")
    assert browser.run("return document.querySelectorAll('.cards article').length") == 0


def test_pages_turn(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert browser.text(".place") == "page 1 of 5"
    first = browser.text(".cards article header")
    browser.click("[name=on]")
    browser.wait(lambda: browser.text(".place") == "page 2 of 5", "the second page")
    assert browser.run("return document.querySelectorAll('.cards article').length") == 20
    browser.click("[name=back]")
    browser.wait(lambda: browser.text(".place") == "page 1 of 5", "the first page")
    assert browser.text(".cards article header") == first
    assert browser.run("return document.querySelector('[name=back]').disabled") is True


def test_it_is_readable_without_scripts(browser: Browser, page: Path) -> None:
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.devtools("Page.navigate", url=page.as_uri())
        browser.wait(lambda: _shown(browser, ".cards article") == 6, "the selection")
        assert _shown(browser, ".filters[hidden]") == 1
        assert _shown(browser, "figure svg") >= 6
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)


def _shown(browser: Browser, selector: str) -> int:
    """How many elements there are, asked of the browser and not of a script of the page."""
    root = browser.devtools("DOM.getDocument")["root"]["nodeId"]
    return len(browser.devtools("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_a_phone_and_follows_the_night(browser: Browser, page: Path, scheme: str, width: int) -> None:
    browser.show_as(width, 900 if width > 600 else 740, scheme)
    try:
        opened(browser, page)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        ground = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(22, 23, 26)") == (scheme == "dark")
        ink = browser.run("return getComputedStyle(document.querySelector('figure svg text')).fill")
        assert (ink == "rgb(236, 236, 234)") == (scheme == "dark")
        line = "return getComputedStyle(document.querySelector('figure svg [stroke=\"#0072b2\"]')).stroke"
        assert (browser.run(line) == "rgb(0, 114, 178)") == (scheme == "light")
        assert browser.log() == []
    finally:
        _back_to_normal(browser)


def _back_to_normal(browser: Browser) -> None:
    browser.devtools("Emulation.clearDeviceMetricsOverride")
    browser.devtools("Emulation.setEmulatedMedia", features=[])


@pytest.mark.skipif(bool(NO_AXE), reason=NO_AXE)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, page: Path, scheme: str) -> None:
    assert shutil.which("chromium")
    browser.show_as(1280, 900, scheme)
    try:
        opened(browser, page)
        browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        found = browser.axe()
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert serious == []
        assert found == []
    finally:
        _back_to_normal(browser)
