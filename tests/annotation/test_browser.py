"""The page in a real browser: keys, hostile texts, tabs, dark mode and a phone's width."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from apl_bench.annotation.items import Item
from apl_bench.annotation.page import Desk, Page
from apl_bench.annotation.queue import Queue
from tests.annotation.queues import item, reopened
from tests.browser import ENTER, TAB, Browser, missing

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.usefixtures("loopback")]

HOSTILE = {
    "script": "<script>window.owned = 1; document.title = 'owned'</script>",
    "attribute": '"><img src=x onerror="window.owned = 1">\'><svg onload=window.owned=1>',
    "template": "{{ 7 * 7 }}{% raw %}${7*7}</textarea></title></style><!--",
    "override": "good \u202eelbirret\u202c film\u2066x\u2069",
    "control": "a\x00b\x1b[31mc\x7fd\u2028e\ufefff",
    "emoji": "👩‍👩‍👧 🏳️‍🌈 👍🏽 ok",
    "rtl": "هذا فيلم رائع جدا",
    "long": "word " * 1000 + "x" * 5000,
    "spaces": "one  two\n\n   three\tfour",
}
INVISIBLE = "\u202e\u202c\u2066\u2069\x00\x1b\x7f\u2028\ufeff"
TAKES_KEYS = """
const loaded = performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd;
return loaded > 0 && performance.now() > loaded + 300 && document.hasFocus();
"""
NEXT = "return !window.before && document.readyState === 'complete'"


@contextmanager
def served(folder: Path, items: Sequence[Item]) -> Iterator[tuple[Page, Queue]]:
    queue = Queue(folder / "queue")
    queue.enqueue(items)
    page = Page(Desk(queue, "ann"))
    thread = threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield page, reopened(queue)
    finally:
        page.shutdown()
        thread.join()
        page.server_close()


def shown(browser: Browser) -> str:
    return str(browser.run("return (document.querySelector('[name=item]') || {}).value || ''"))


def press(browser: Browser, key: str) -> None:
    """Press a key once the page takes keys, and wait for the next page."""
    browser.wait(lambda: browser.run(TAKES_KEYS), "a page that takes keys")
    browser.run("window.before = true")
    browser.press(key)
    browser.wait(lambda: browser.run(NEXT), f"the page after {key}")


def test_a_queue_is_labelled_with_keys_alone(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, [item(number) for number in range(4)]) as (page, queue):
        browser.go(page.url)
        assert browser.text("h1") == "Which is better?"
        order = []
        for key in "abtS":
            order.append(shown(browser))
            press(browser, key)
        assert "All is answered" in browser.text("h1")
        said = {answer.item: answer.verdict for answer in queue.refresh().by("ann")}
        assert [said[name] for name in order] == ["A", "B", "T", "S"]
        assert "4 of 4 answered" in browser.text("header")
        answers = queue.refresh().by("ann")
        assert all(answer.started and answer.started <= answer.submitted for answer in answers)
        assert {answer.ui_version for answer in answers} == {"page/1"}


def test_undo_brings_the_last_item_back(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, [item(number) for number in range(3)]) as (page, queue):
        browser.go(page.url)
        first = shown(browser)
        press(browser, "a")
        second = shown(browser)
        press(browser, "u")
        assert shown(browser) == first
        assert "taken back" in browser.text("#notice")
        press(browser, "b")
        assert shown(browser) == second
        state = queue.refresh()
        assert [answer.verdict for answer in state.answers[first]] == ["B"]
        queue.take([first])
        press(browser, "u")
        assert "a run has used it" in browser.text("#notice")
        assert [answer.verdict for answer in queue.refresh().answers[first]] == ["B"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_shown_and_does_nothing(tmp_path: Path, browser: Browser, name: str) -> None:
    text = HOSTILE[name]
    one = Item("0" * 32, "label", "0" * 32, text, text, text, text + ".", 1)
    browser.log()
    with served(tmp_path, [one]) as (page, queue):
        browser.go(page.url)
        assert browser.run("return window.owned") is None
        assert browser.run("return document.title") == "0 of 1 answered"
        assert browser.run("return document.querySelectorAll('img, svg, iframe, main script').length") == 0
        seen = browser.text("#first")
        if name in ("override", "control"):
            hidden = {f"U+{ord(one):04X}" for one in text if one in INVISIBLE}
            marks = browser.run("return [...document.querySelectorAll('#first .mark')].map(one => one.textContent)")
            assert set(marks) == hidden
            assert not set(seen) & set(INVISIBLE)
        else:
            assert seen == text.strip()
        wide = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        press(browser, "a")
        assert len(queue.refresh().by("ann")) == 1
    assert browser.log() == []


def test_no_script_of_a_page_runs_but_its_own(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, [item(1)]) as (page, _):
        browser.go(page.url)
        browser.log()
        browser.run("""
            const script = document.createElement('script'); script.textContent = 'window.owned = 1';
            document.body.append(script);
            const image = document.createElement('img'); image.src = 'http://127.0.0.1:9/x.png';
            document.body.append(image);
        """)
        found: list[str] = []

        def both_refused() -> bool:
            found.extend(browser.log())
            return len(found) >= 2

        browser.wait(both_refused, "two refusals")
        assert browser.run("return window.owned") is None
        assert all("Content Security Policy" in message for message in found)


def test_two_tabs_neither_lose_nor_double_an_answer(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, [item(number) for number in range(3)]) as (page, queue):
        browser.go(page.url)
        first = shown(browser)
        other = browser.tab()
        browser.go(page.url)
        assert shown(browser) == first
        press(browser, "a")
        browser.to(other)
        press(browser, "b")
        assert "answered this one already" in browser.text("#notice")
        assert shown(browser) != first
        press(browser, "b")
        answers = queue.refresh().by("ann")
        assert [answer.verdict for answer in answers] == ["A", "B"]
        assert len({answer.item for answer in answers}) == 2
        browser.close_others()


def test_a_key_held_down_or_pressed_twice_answers_once(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, [item(number) for number in range(30)]) as (page, queue):
        browser.go(page.url)
        browser.wait(lambda: browser.run(TAKES_KEYS), "a page that takes keys")
        first = shown(browser)
        browser.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 't', repeat: true, bubbles: true}))")
        browser.wait(lambda: browser.run("return document.readyState === 'complete'"), "a page")
        assert shown(browser) == first
        browser.run("""
            document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', bubbles: true}));
            document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', repeat: true, bubbles: true}));
            document.dispatchEvent(new KeyboardEvent('keydown', {key: 'b', bubbles: true}));
        """)
        browser.wait(lambda: queue.refresh().by("ann"), "an answer")
        browser.wait(lambda: "1 of 30" in browser.text("header"), "the next page")
        browser.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', ctrlKey: true, bubbles: true}))")
        assert [answer.verdict for answer in queue.refresh().by("ann")] == ["A"]


def test_it_works_with_the_mouse_and_with_single_keys_switched_off(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, [item(number) for number in range(3)]) as (page, queue):
        browser.go(page.url)
        browser.click("#keys")
        browser.wait(lambda: browser.run(TAKES_KEYS), "a page that takes keys")
        browser.press("a")
        browser.click("button[value=T]")
        browser.wait(lambda: "1 of 3" in browser.text("header"), "the next page")
        checked = "return document.getElementById('keys').checked"
        browser.wait(lambda: browser.run(checked) is False, "a box that is not ticked")
        browser.click("#undo button")
        browser.wait(lambda: "0 of 3" in browser.text("header"), "the page before")
        assert queue.refresh().by("ann") == []
        browser.click("#keys")
        browser.wait(lambda: browser.run("return localStorage.getItem('keys')") == "on", "keys that are on again")


def focused(browser: Browser) -> object:
    return browser.run("return document.activeElement.value")


def test_it_can_be_used_from_the_keyboard_by_focus_and_is_labelled(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, [item(number) for number in range(3)]) as (page, queue):
        browser.go(page.url)
        browser.press_tab()
        browser.wait(lambda: focused(browser) == "A", "the focus on the first button")
        browser.press(TAB, TAB)
        browser.wait(lambda: focused(browser) == "T", "the focus on the third button")
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        browser.wait(lambda: browser.run(outline) == "solid", "a line around what has the focus")
        browser.press(ENTER)
        browser.wait(lambda: queue.refresh().by("ann"), "an answer")
        assert queue.refresh().by("ann")[0].verdict == "T"
        browser.wait(lambda: "1 of 3" in browser.text("header"), "the next page")
        tree = browser.devtools("Accessibility.getFullAXTree")["nodes"]
        named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if "role" in node}
        assert {("button", "A is better A"), ("region", "A"), ("region", "B"), ("region", "Prompt")} <= named
        assert ("progressbar", "1 of 3 answered") in named


CONTRAST = """
const light = (text) => {
  const parts = text.match(/[\\d.]+/g).map(Number).slice(0, 3).map(part => {
    const share = part / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) { return colour; }
  }
  return 'rgb(255, 255, 255)';
};
return [...document.querySelectorAll('h1, h2, .text, .mark, button:enabled, header label, .keys label, #notice')]
  .filter(node => node.textContent.trim() && node.offsetParent)
  .map(node => {
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
    return [node.tagName + '.' + node.className, (a + 0.05) / (b + 0.05)];
  });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 375])
def test_it_is_readable_by_day_by_night_and_on_a_phone(
    tmp_path: Path, browser: Browser, scheme: str, width: int
) -> None:
    pictures = os.environ.get("APL_BENCH_PICTURES")
    one = Item("1" * 32, "label", "1" * 32, "Which continuation of the movie review is better? Prefer the more "
               "positive one, as long as it is grammatical, makes sense and does not repeat itself.",
               "I saw this film last week, with no idea of what it was about. It was",
               " a delight from start to finish, and the two leads carry every scene. I would gladly see it again.",
               " fine, I guess. The story takes its time,\u202e and in the end it all comes together, "
               "though the music is too loud.", 1)  # fmt: skip
    browser.show_as(width, 800 if width > 600 else 667, scheme)
    try:
        with served(tmp_path, [one, *(item(number) for number in range(2))]) as (page, queue):
            for number in range(2):
                queue.submit(item(number).id, "A", "ann", None, "test/1")
            browser.go(page.url)
            assert browser.run("return document.documentElement.scrollWidth") <= width
            contrast = browser.run(CONTRAST)
            assert len(contrast) > 8
            assert [pair for pair in contrast if pair[1] < 4.5] == []  # WCAG AA
            dark = browser.run("return getComputedStyle(document.body).backgroundColor")
            assert (dark == "rgb(22, 23, 26)") == (scheme == "dark")
            first, second = (browser.run(f"return document.getElementById('{name}').getBoundingClientRect().top")
                             for name in ("first", "second"))  # fmt: skip
            assert (first == second) == (width > 600)
            bottom = browser.run("return document.querySelector('[value=S]').getBoundingClientRect().bottom")
            assert bottom <= browser.run("return innerHeight")
            if pictures:
                browser.screenshot(Path(pictures) / f"annotate-{'phone' if width < 600 else 'page'}-{scheme}.png")
    finally:
        browser.devtools("Emulation.clearDeviceMetricsOverride")
        browser.devtools("Emulation.setEmulatedMedia", features=[])
