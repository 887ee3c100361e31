"""The page's server as a stranger meets it: nothing is told, and nothing taken, but by its own page."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from apl_bench.annotation.page import MAX_FORM_BYTES, Desk, Page
from apl_bench.annotation.queue import Queue
from apl_bench.annotation.showing import Piece, pieces
from tests.annotation.queues import item, reopened

pytestmark = pytest.mark.usefixtures("loopback")
FORM = "application/x-www-form-urlencoded"


class Stranger:
    """A client that sends what it likes."""

    def __init__(self, page: Page, queue: Queue) -> None:
        self.page = page
        self.queue = queue
        self.host = f"127.0.0.1:{page.server_port}"
        self.origin = f"http://{self.host}"

    def get(self, path: str, host: str | None = None, method: str = "GET") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.page.server_port, timeout=20)
        connection.putrequest(method, path, skip_host=True)
        if host != "":
            connection.putheader("Host", host or self.host)
        connection.endheaders()
        return connection.getresponse()

    def post(
        self, path: str = "answer", fields: dict[str, str] | None = None, **headers: str | None
    ) -> http.client.HTTPResponse:
        """A good answer, but for the fields and headers given; None leaves a header out."""
        given = {"secret": self.page.desk.secret, "item": item(1).id, "verdict": "A", **(fields or {})}
        body = urlencode(given).encode()
        usual = {"Host": self.host, "Origin": self.origin, "Content-Type": FORM, "Content-Length": str(len(body))}
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.page.server_port, timeout=20)
        connection.putrequest("POST", f"/{self.page.token}/{path}", skip_host=True)
        for name, value in {**usual, **changed}.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse()

    def num_answers(self) -> int:
        return len(reopened(self.queue).refresh().by("ann"))


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    queue = Queue(tmp_path / "queue")
    queue.enqueue([item(1), item(2)])
    page = Page(Desk(queue, "ann"))
    thread = threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Stranger(page, queue)
    page.shutdown()
    thread.join()
    page.server_close()


def test_a_good_answer_is_taken(stranger: Stranger) -> None:
    answer = stranger.post()
    assert answer.status == 303
    assert answer.headers["Location"] == "./"
    assert stranger.num_answers() == 1


def test_it_listens_on_this_machine_alone(stranger: Stranger) -> None:
    assert stranger.page.server_address[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", stranger.page.url)


def test_two_servers_have_different_tokens_and_secrets(tmp_path: Path, stranger: Stranger) -> None:
    other = Page(Desk(Queue(tmp_path / "other"), "ann"))
    assert len({other.token, other.desk.secret, stranger.page.token, stranger.page.desk.secret}) == 4
    other.server_close()


@pytest.mark.parametrize("path", ["/", "/x/", "/{token}", "/{token}x/", "/{TOKEN}/", "/favicon.ico",
                                  "/x/page.js", "/%00/", "/../{token}/", "*"])  # fmt: skip
def test_without_the_token_nothing_is_here(stranger: Stranger, path: str) -> None:
    token = stranger.page.token
    answer = stranger.get(path.format(token=token, TOKEN=token.swapcase()))
    assert answer.status == 404
    said = answer.read().decode()
    assert token not in said
    assert "Which" not in said


@pytest.mark.parametrize("path", ["page.html", "../page.css", "page.py", "%2e%2e/page.css", "page.css/", "items.jsonl"])
def test_behind_the_token_are_the_page_and_its_two_files(stranger: Stranger, path: str) -> None:
    assert stranger.get(f"/{stranger.page.token}/{path}").status == 404


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1",
                                  "0.0.0.0:{port}", "[::1]:{port}", "localhost.evil.example:{port}",
                                  "127.0.0.1:{port}, x"])  # fmt: skip
def test_another_host_is_refused(stranger: Stranger, host: str) -> None:
    wrong = host.format(port=stranger.page.server_port)
    assert stranger.get(f"/{stranger.page.token}/", host=wrong).status == 403
    if wrong:
        assert stranger.post(Host=wrong, Origin=f"http://{wrong}").status == 403
    assert stranger.num_answers() == 0


def test_localhost_is_this_server_too(stranger: Stranger) -> None:
    host = f"localhost:{stranger.page.server_port}"
    assert stranger.get(f"/{stranger.page.token}/", host=host).status == 200
    assert stranger.post(Host=host, Origin=f"http://{host}").status == 303
    assert stranger.post(Host=host).status == 403  # a page of the other name is another origin


def test_a_get_cannot_answer(stranger: Stranger) -> None:
    query = urlencode({"secret": stranger.page.desk.secret, "item": item(1).id, "verdict": "A"})
    for path in ("answer", "undo"):
        assert stranger.get(f"/{stranger.page.token}/{path}?{query}").status == 405
    assert stranger.get(f"/{stranger.page.token}/?{query}").status == 200
    assert stranger.get(f"/{stranger.page.token}/", method="PUT").status == 501
    assert stranger.num_answers() == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "multipart/form-data"}, 415),
        ({"Content_Type": None}, 415),
        ({"Content_Length": None}, 413),
        ({"Content_Length": "-1"}, 413),
        ({"Content_Length": str(MAX_FORM_BYTES + 1)}, 413),
        ({"Content_Length": "0" * 12 + "9999999"}, 413),
        ({"Content_Length": "٣"}, 413),
    ],
)
def test_an_answer_from_elsewhere_is_refused(stranger: Stranger, headers: dict[str, str | None], status: int) -> None:
    if headers.get("Content_Length") == "٣":
        headers = {"Content_Length": "²"}  # a digit to Python, in a header's alphabet
    for path in ("answer", "undo"):
        assert stranger.post(path, None, **headers).status == status
    assert stranger.num_answers() == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"secret": ""}, 403),
        ({"secret": "x" * 32}, 403),
        ({"secret": "é"}, 403),
        ({"verdict": "C"}, 400),
        ({"verdict": "AB"}, 400),
        ({"verdict": ""}, 400),
        ({"item": "f" * 32}, 303),
        ({"item": "../x"}, 303),
    ],
)
def test_a_form_that_is_not_the_pages_is_refused(stranger: Stranger, fields: dict[str, str], status: int) -> None:
    answer = stranger.post(fields=fields)
    assert answer.status == status
    assert answer.headers["Location"] == ("./?said=gone" if status == 303 else None)
    assert stranger.num_answers() == 0


def test_a_form_sent_twice_counts_once(stranger: Stranger) -> None:
    assert stranger.post().headers["Location"] == "./"
    assert stranger.post(fields={"verdict": "B"}).headers["Location"] == "./?said=again"
    assert [answer.verdict for answer in reopened(stranger.queue).refresh().by("ann")] == ["A"]


def test_many_forms_at_once_count_once(stranger: Stranger) -> None:
    threads = [threading.Thread(target=stranger.post) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stranger.num_answers() == 1


def test_every_answer_has_the_headers_that_keep_others_out(stranger: Stranger) -> None:
    for answer in (stranger.get(f"/{stranger.page.token}/"), stranger.get("/"), stranger.post()):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_page_has_no_script_style_or_handler_of_its_own_and_no_address_elsewhere(stranger: Stranger) -> None:
    html = stranger.get(f"/{stranger.page.token}/").read().decode()
    assert re.findall(r"<script[^>]*>[^<]+", html) == []
    assert "<style" not in html
    assert re.findall(r"\son\w+=|\sstyle=|https?:", html) == []


def test_what_is_said_is_one_of_our_sentences(stranger: Stranger) -> None:
    html = stranger.get(f"/{stranger.page.token}/?said=%3Cscript%3Ealert(1)%3C/script%3E").read().decode()
    assert "alert" not in html


def test_a_disk_that_is_full_is_said_and_the_answer_is_not_counted(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        answer = stranger.post()
    assert answer.status == 500
    assert "Not saved: No space left on device" in answer.read().decode()
    assert stranger.num_answers() == 0
    assert stranger.post(fields={"verdict": "B"}).headers["Location"] == "./"
    assert [one.verdict for one in reopened(stranger.queue).refresh().by("ann")] == ["B"]


def test_a_client_that_goes_away_harms_nobody(stranger: Stranger, capfd: pytest.CaptureFixture[str]) -> None:
    for start in (b"", b"GET", b"POST /" + stranger.page.token.encode() + b"/answer HTTP/1.1\r\nHost: x"):
        with socket.create_connection(("127.0.0.1", stranger.page.server_port)) as connection:
            connection.sendall(start)
    assert stranger.post().status == 303
    out, err = capfd.readouterr()
    assert stranger.page.token not in out + err


def test_done_is_said_once_nothing_is_left_for_anybody(stranger: Stranger) -> None:
    other = reopened(stranger.queue)
    stranger.post()
    other.offer("bob")
    html = stranger.get(f"/{stranger.page.token}/").read().decode()
    assert "Others are answering the last ones" in html
    assert not stranger.page.desk.done_shown.is_set()
    assert not stranger.page.desk.is_done()
    other.submit(item(2).id, "A", "bob", None, "test/1")
    assert "All is answered" in stranger.get(f"/{stranger.page.token}/").read().decode()
    assert stranger.page.desk.done_shown.is_set()
    assert stranger.page.desk.is_done()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" plain ", [("plain", False)]),
        ("", [("empty", True)]),
        ("\n ", [("empty", True)]),
        ("a\u202eb", [("a", False), ("U+202E", True), ("b", False)]),
        ("a\r\nb\rc", [("a\nb", False), ("U+000D", True), ("c", False)]),
        ("\x1b[31m", [("U+001B", True), ("[31m", False)]),
        ("a\u200db", [("a", False), ("U+200D", True), ("b", False)]),
        ("\u0645\u06cc\u200c\u062e", [("\u0645\u06cc\u200c\u062e", False)]),  # Persian writes with non-joiners
        ("\U0001f469\u200d\U0001f467", [("\U0001f469\u200d\U0001f467", False)]),
        ("\ud800", [("U+D800", True)]),
        ("\u2067\u2069", [("U+2067", True), ("U+2069", True)]),
    ],
)
def test_what_cannot_be_seen_is_shown(text: str, expected: list[tuple[str, bool]]) -> None:
    assert pieces(text) == [Piece(*piece) for piece in expected]
