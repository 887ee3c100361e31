"""The terminal shows what the page shows, and keeps what it keeps."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from apl_bench.annotation.items import Item
from apl_bench.annotation.queue import Queue
from apl_bench.annotation.terminal import Session
from tests.annotation.queues import item, queue_of, reopened


def label(queue: Queue, keys: str) -> tuple[int, str]:
    """Press these keys; returns how many were answered, and all that was printed."""
    printed = io.StringIO()
    pressed: Iterator[str] = iter(keys)
    console = Console(file=printed, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    session = Session(queue, "ann", False, console, lambda: next(pressed))
    return session.run(), printed.getvalue()


def test_keys_answer_and_undo(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(number) for number in range(4)])
    num_answered, printed = label(queue, "axubTsB")
    assert num_answered == 4
    assert [answer.verdict for answer in queue.refresh().by("ann")] == ["B", "T", "S", "B"]
    assert "All is answered" in printed
    assert "0 of 4 answered" in printed
    assert "Your last answer is taken back" in printed


def test_quitting_keeps_answers_and_gives_the_item_back(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1), item(2)])
    assert label(queue, "aq")[0] == 1
    other = reopened(queue)
    assert other.offer("bob").item
    assert "Others are answering" in label(queue, "")[1]


def test_what_a_run_used_stays(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [item(1), item(2)])
    label(queue, "aq")
    queue.take([item(1).id, item(2).id])
    assert "a run has used it" in label(queue, "uq")[1]
    assert "no answer to take back" in label(queue_of(tmp_path / "new", [item(1)]), "uq")[1]


def test_a_text_is_no_markup_and_no_control(tmp_path: Path) -> None:
    text = "[bold red]x[/bold red] [link=file:///etc/passwd]y[/link] \x1b]0;title\x07 \x1b[2J \u202e :smile: [/]"
    one = Item("0" * 32, "label", "0" * 32, text, text, text, text + ".", 1)
    printed = label(queue_of(tmp_path, [one]), "q")[1]
    assert "[bold red]x[/bold red]" in printed
    assert ":smile:" in printed
    assert "U+001B" in printed
    assert "\x1b]" not in printed
    assert "\x1b[2J" not in printed
    assert not set("\x07\u202e") & set(printed)


def test_the_command_in_a_real_terminal(tmp_path: Path) -> None:
    Queue.named("films").enqueue([item(1), item(2)])
    main, side = pty.openpty()
    command = [sys.executable, "-m", "apl_bench", "annotate", "terminal", "films", "--annotator", "ann"]
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env={**os.environ, "TERM": "xterm"})
    os.close(side)
    printed = b""
    keys, num_pressed = (b"a", b"B"), 0
    quiet_since = began = time.monotonic()
    while time.monotonic() < began + 120 and b"2 answered as ann" not in printed:
        if select.select([main], [], [], 0.2)[0]:
            try:
                printed += os.read(main, 65536)
            except OSError:
                break
        elif num_pressed < min(printed.count(b"[Q]uit"), len(keys)):  # one key a question
            os.write(main, keys[num_pressed])
            num_pressed += 1
        elif num_pressed and time.monotonic() > quiet_since + 10:  # it came before the terminal took keys, and is lost
            os.write(main, keys[num_pressed - 1])
        else:
            continue
        quiet_since = time.monotonic()
    assert process.wait(timeout=60) == 0, printed.decode()
    os.close(main)
    assert [answer.verdict for answer in Queue.named("films").refresh().by("ann")] == ["A", "B"]
