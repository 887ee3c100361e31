"""A provider on loopback for the real SDKs: OpenAI's chat completions, Anthropic's messages, files and batches of both.

    with FakeProvider(latency_s=0.05, max_concurrent=32, faults=["500", None, "truncated"]) as server:
        ... OpenAIChat(base_url=server.base_url, ...) or AnthropicMessages(base_url=server.root_url, ...)
        server.calls, server.counts(), server.answered(), server.peak

It prefers the text with more "good" and less "bad" in it (`tests.fake_answers.merit`), whichever is shown first.
`faults` are the names of FAULTS: a list, of which each call to a model takes the next (None: answer well; after its end
all are answered well), or a function of the Call that gives a name or None, for chaos. A name may carry a number after
a colon: "rate-limit:0.2" asks for 0.2 s, "stall:3" says nothing for 3 s. Above `max_concurrent` it answers 429.

In a process of its own: `python -m tests.fake_provider --port 0 --latency 0.05 --max-concurrent 32` prints its URL.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeAlias

from tests.fake_answers import comparison_id, question_of
from tests.fake_batches import Batches, BatchPlan
from tests.fake_faults import FAULTS, Answer, good_answer, rate_limited


@dataclass(slots=True)
class Call:
    """A request to a model: what it asked, the name of the fault it met, and the status it got (0: none)."""

    path: str
    comparison: str
    body: dict[str, Any]
    headers: dict[str, str]
    fault: str | None = None
    status: int = 0


Faults: TypeAlias = "Iterable[str | None] | Callable[[Call], str | None]"


@dataclass
class FakeProvider:
    """See the module. `batches` says how batches go; `port` 0 takes a free one."""

    latency_s: float = 0.0
    max_concurrent: int | None = None
    faults: Faults = ()
    retry_after_s: float | None = None
    batch_plan: BatchPlan = field(default_factory=BatchPlan)
    port: int = 0
    calls: list[Call] = field(default_factory=list, init=False)
    peak: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.batches = Batches(self.batch_plan)
        self.num_running = 0
        self.num_connections = 0
        self._script = None if callable(self.faults) else iter(self.faults)
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.provider = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def root_url(self) -> str:
        """What Anthropic's SDK takes as base_url."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What OpenAI's SDK takes as base_url."""
        return f"{self.root_url}/v1"

    def counts(self) -> Counter[str]:
        """Calls by comparison (`tests.fake_answers.comparison_id` of the messages), failed ones included."""
        return Counter(call.comparison for call in list(self.calls))

    def answered(self) -> Counter[str]:
        """Calls by comparison that got a whole reply of status 200: what a provider would bill."""
        return Counter(call.comparison for call in list(self.calls) if call.status == 200)

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def enter(self, call: Call) -> bool:
        """Note a call that comes in and choose its fault; False where there are too many at once."""
        with self.lock:
            self.calls.append(call)
            self.num_running += 1
            self.peak = max(self.peak, self.num_running)
            if self.max_concurrent is not None and self.num_running > self.max_concurrent:
                return False
            call.fault = self.faults(call) if callable(self.faults) else next(self._script or iter(()), None)
            return True

    def leave(self) -> None:
        with self.lock:
            self.num_running -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    provider: FakeProvider

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.provider.lock:
            self.server.provider.num_connections += 1

    def finish(self) -> None:
        """The client is gone, and all that it was sent has been counted."""
        try:
            super().finish()
        finally:
            with self.server.provider.lock:
                self.server.provider.num_connections -= 1

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path not in ("/v1/chat/completions", "/v1/messages"):
            self._send(self.server.provider.batches.post(self.path, self.headers.get("content-type", ""), data))
            return
        body = json.loads(data)
        call = Call(self.path, comparison_id(question_of(body)), body, {k.lower(): v for k, v in self.headers.items()})
        provider = self.server.provider
        try:
            accepted = provider.enter(call)
            if accepted and provider.latency_s:
                provider.closing.wait(provider.latency_s)
            answer = self._answer(call) if accepted else rate_limited(provider.retry_after_s)
            if answer.delay_s:
                provider.closing.wait(answer.delay_s)
        finally:
            provider.leave()
        call.status = answer.status if answer.whole else 0  # before the client has it, who may ask at once
        try:
            self._send(answer)
        except OSError:
            call.status = 0
            raise

    def do_GET(self) -> None:
        self._send(self.server.provider.batches.get(self.path, self.server.provider.root_url))

    def _answer(self, call: Call) -> Answer:
        number = len(self.server.provider.calls)
        if call.fault is None:
            return good_answer(call.path, call.body, number)
        name, _, value = call.fault.partition(":")
        return FAULTS[name](call, number, value)

    def _send(self, answer: Answer) -> None:
        """Head and body in one write where nothing is to go wrong between them."""
        self.close_connection = not answer.whole
        if answer.data is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        size = answer.claimed_bytes or len(answer.data)
        head = [f"HTTP/1.1 {answer.status} Fake", f"content-type: {answer.content_type}", f"content-length: {size}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        head_bytes = "\r\n".join([*head, "", ""]).encode()
        if not answer.drip_s:
            self.wfile.write(head_bytes + answer.data)
            return
        self.wfile.write(head_bytes)
        step = max(1, len(answer.data) // 20)
        for start in range(0, len(answer.data), step):
            self.server.provider.closing.wait(answer.drip_s / 20)
            self.wfile.write(answer.data[start : start + step])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake provider on loopback; prints its URL.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--max-concurrent", type=int, help="answers 429 above it")
    parser.add_argument("--fault", action="append", default=[], help="of the next call; may be repeated")
    options = parser.parse_args()
    faults = [None if fault == "none" else fault for fault in options.fault]
    with FakeProvider(options.latency, options.max_concurrent, faults, port=options.port) as server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
