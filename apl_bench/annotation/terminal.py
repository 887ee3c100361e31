"""The queue in a terminal: the same items, keys and files as the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from apl_bench.annotation.items import VERDICTS, Item
from apl_bench.annotation.queue import Queue, utc
from apl_bench.annotation.showing import pieces
from apl_bench.types import SpecError

UI_VERSION = "terminal/1"
KEYS = "[A] is better   [B] is better   [T]ie   [S]kip   [U]ndo   [Q]uit"
_SAID = {"A": "A is better", "B": "B is better", "T": "tie", "S": "skipped"}


@dataclass
class Session:
    """One annotator at a terminal; `read_key` waits for a key and gives its character."""

    queue: Queue
    annotator: str
    second_opinions: bool
    console: Console
    read_key: Callable[[], str]

    def run(self) -> int:
        """Show one item after the other until none is left or the annotator quits; returns how many were answered."""
        num_answered = 0
        try:
            while True:
                offer = self.queue.offer(self.annotator, self.second_opinions)
                if offer.item is None:
                    self._say("Others are answering the last ones." if offer.num_elsewhere else "All is answered.")
                    return num_answered
                total = offer.progress.num_answered + offer.progress.num_left
                self._show(offer.item, f"{offer.progress.num_answered} of {total} answered")
                change = self._answer(offer.item)
                if change is None:
                    return num_answered
                num_answered = max(0, num_answered + change)  # undo may reach answers of an earlier session
        finally:
            self.queue.release(self.annotator)

    def _show(self, item: Item, progress: str) -> None:
        """Rich is given Text objects alone, in which nothing is markup."""
        self.console.print()
        self.console.print(Text(progress, style="dim"))
        self.console.print(_styled(item.question, "bold"))
        for name, text in (("prompt", item.prompt), ("A", item.first), ("B", item.second)):
            self.console.print(Panel(_styled(text), title=Text(name), title_align="left"))
        self.console.print(Text(KEYS))

    def _answer(self, item: Item) -> int | None:
        """Wait for a key that means something: the change of the number answered, or None to quit."""
        started = utc(self.queue.now())
        while True:
            key = self.read_key().upper()
            if key in ("Q", "\x04", "\x1b", ""):
                return None
            if key in tuple(VERDICTS):
                kept = self.queue.submit(item.id, key, self.annotator, started, UI_VERSION)
                self._say(_SAID[key] if kept else "You have answered this one already: your first answer stands.")
                return 1 if kept else 0
            if key == "U":
                return self._undo()
            self._say(KEYS)

    def _undo(self) -> int:
        try:
            answer = self.queue.undo(self.annotator)
        except SpecError as error:
            self._say(str(error))
            return 0
        self._say("Your last answer is taken back." if answer else "There is no answer to take back.")
        return -1 if answer else 0

    def _say(self, sentence: str) -> None:
        self.console.print(Text(sentence, style="italic"))


def _styled(text: str, style: str = "") -> Text:
    shown = Text(style=style)
    for piece in pieces(text):
        shown.append(piece.text.expandtabs(4), style="reverse" if piece.is_mark else "")
    return shown
