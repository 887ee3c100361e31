"""The page on which one annotator answers a queue: a server of this machine alone, without a script from elsewhere.

Only 127.0.0.1 is listened to. Every address begins with a random token; the Host header has to be this server's, so
that no other site's name can be pointed at it; answers are POSTed with a second secret and from the same origin.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from apl_bench.annotation.items import VERDICTS
from apl_bench.annotation.queue import Queue, utc
from apl_bench.annotation.showing import Piece, pieces
from apl_bench.types import SpecError

if TYPE_CHECKING:
    import jinja2

UI_VERSION = "page/1"
MAX_FORM_BYTES = 4096
SOCKET_TIMEOUT_S = 30.0
ASSETS = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NOTICES = {
    "again": "You have answered this one already: your first answer stands. Undo takes back your last answer.",
    "undone": "Your last answer is taken back. Answer again.",
    "nothing": "There is no answer to take back.",
    "used": "The last answer cannot be taken back: a run has used it as a label.",
    "gone": "This item is not in the queue.",
}


@dataclass(frozen=True, slots=True)
class View:
    """All that a page says; `item` is empty where there is nothing to answer, and `heading` says why."""

    secret: str
    notice: str
    num_answered: int
    num_total: int
    item: str = ""
    question: tuple[Piece, ...] = ()
    prompt: tuple[Piece, ...] = ()
    first: tuple[Piece, ...] = ()
    second: tuple[Piece, ...] = ()
    heading: str = ""
    remark: str = ""


class Desk:
    """What the page does, without a network: shows what is next, takes an answer, takes one back."""

    def __init__(self, queue: Queue, annotator: str, second_opinions: bool = False) -> None:
        self.secret = secrets.token_urlsafe(24)
        self.done_shown = threading.Event()
        self._queue = queue
        self._annotator = annotator
        self._second_opinions = second_opinions
        self._started: dict[str, str] = {}
        self._lock = threading.Lock()  # requests come in threads; the queue's own lock is between processes

    def view(self, said: str) -> View:
        """The next page. `said` names one of NOTICES, or nothing."""
        with self._lock:
            offer = self._queue.offer(self._annotator, self._second_opinions)
            progress, item = offer.progress, offer.item
            notice, total = NOTICES.get(said, ""), progress.num_answered + progress.num_left
            if item:
                self.done_shown.clear()
                self._started.setdefault(item.id, utc(self._queue.now()))
                texts = (item.question, item.prompt, item.first, item.second)
                question, prompt, first, second = (tuple(pieces(text)) for text in texts)
                return View(self.secret, notice, progress.num_answered, total,
                            item.id, question, prompt, first, second)  # fmt: skip
            if offer.num_elsewhere:
                heading, remark = "Nothing for you right now", "Others are answering the last ones."
            else:
                heading, remark = "All is answered", "Thank you. The run goes on with the command that began it."
                self.done_shown.set()
            return View(self.secret, notice, progress.num_answered, total, heading=heading, remark=remark)

    def answer(self, item: str, verdict: str) -> str:
        """Write an answer down; returns what to say about it, one of NOTICES or nothing."""
        with self._lock:
            started = self._started.get(item)
            try:
                kept = self._queue.submit(item, verdict, self._annotator, started, UI_VERSION)
            except SpecError:
                return "gone"
            return "" if kept else "again"

    def undo(self) -> str:
        """Take the last answer back; returns what to say about it."""
        with self._lock:
            try:
                answer = self._queue.undo(self._annotator)
            except SpecError:
                return "used"
            if answer:
                self._started.pop(answer.item, None)
            return "undone" if answer else "nothing"

    def is_done(self) -> bool:
        """True when nothing is left for this annotator, here or elsewhere."""
        with self._lock:
            return self._queue.is_done(self._annotator, self._second_opinions)

    def leave(self) -> None:
        """Give back what was shown and not answered."""
        with self._lock:
            self._queue.release(self._annotator)


class Page(ThreadingHTTPServer):
    """The server of one desk, on a port of its own or the one given; `url` is where the annotator goes."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, desk: Desk, port: int = 0) -> None:
        """Raises OSError where the port is taken."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.desk = desk
        self.token = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, str]:
        """The names by which this server may be called."""
        return f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no news."""


class _Refused(Exception):  # noqa: N818 - how a request ends, not a fault
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Page
    server_version = "apl-bench"
    sys_version = ""
    timeout = SOCKET_TIMEOUT_S

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, respond: Any) -> None:
        try:
            respond(self._address())
        except _Refused as refusal:
            self._send(refusal.status, "text/plain; charset=utf-8", f"{refusal}\n".encode())
        except OSError as error:
            sentence = f"Not saved: {error.strerror or error}. Free some space, then go back and answer again.\n"
            self._send(500, "text/plain; charset=utf-8", sentence.encode())

    def _address(self) -> str:
        """What stands behind the token, for a request by one of this server's names."""
        if self.headers.get("Host") not in self.server.hosts:
            raise _Refused(403, "This server answers to its own name alone.")
        token, slash, rest = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(404, "Nothing is here. Use the address that `apl-bench annotate page` printed.")
        return rest

    def _get(self, address: str) -> None:
        if address in ASSETS:
            self._send(200, ASSETS[address], _asset(address))
        elif address in ("answer", "undo"):
            raise _Refused(405, "Answers are given with the buttons of the page.")
        elif address:
            raise _Refused(404, "Nothing is here.")
        else:
            said = parse_qs(urlsplit(self.path).query).get("said", [""])[0]
            html = _template().render(view=self.server.desk.view(said))
            self._send(200, "text/html; charset=utf-8", html.encode("utf-8", "replace"))

    def _post(self, address: str) -> None:
        if address not in ("answer", "undo"):
            raise _Refused(404, "Nothing is here.")
        form = self._form()
        if not secrets.compare_digest(form.get("secret", "").encode(), self.server.desk.secret.encode()):
            raise _Refused(403, "This form is not of the page as it is now: reload it.")
        if address == "undo":
            said = self.server.desk.undo()
        elif form.get("verdict") in tuple(VERDICTS):
            said = self.server.desk.answer(form.get("item", ""), form["verdict"])
        else:
            raise _Refused(400, f"Expected a verdict of {', '.join(VERDICTS)}.")
        self._send(303, "text/plain; charset=utf-8", b"", {"Location": f"./?said={said}" if said else "./"})

    def _form(self) -> dict[str, str]:
        """The fields of a form that this server's own page sent."""
        if self.headers.get("Origin") != f"http://{self.headers['Host']}":
            raise _Refused(403, "Answers are taken from this server's own page alone.")
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise _Refused(403, "Answers are taken from this server's own page alone.")
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            raise _Refused(415, "Expected a form.")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 8) or int(length) > MAX_FORM_BYTES:
            raise _Refused(413, f"Expected a form of at most {MAX_FORM_BYTES} bytes.")
        fields = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        return {name: values[0] for name, values in fields.items()}

    def _send(self, status: int, kind: str, body: bytes, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **(more or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: an address has the token in it."""


@cache
def _asset(name: str) -> bytes:
    return files("apl_bench.annotation").joinpath(name).read_bytes()


@cache
def _template() -> jinja2.Template:
    import jinja2  # 30 ms that only the page needs

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_asset("page.html").decode())
