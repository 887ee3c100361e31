"""A provider on loopback that prefers the text shown first, after a while, and 429 to too many at once.

In a process of its own: `python -m apl_bench.benchmarks.provider LATENCY_S MAX_CONCURRENT` prints its URL.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODULE = "apl_bench.benchmarks.provider"
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "fake",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Preferred: A"}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 4, "total_tokens": 104},
}  # fmt: skip
REFUSAL = {"error": {"message": "too many at once", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}


class Server(ThreadingHTTPServer):
    """Takes a free port."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, latency_s: float, max_concurrent: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.latency_s = latency_s
        self.places = threading.Semaphore(max_concurrent)

    @property
    def url(self) -> str:
        """What an SDK takes as base_url."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.server.places.acquire(blocking=False):
            self._send(429, REFUSAL)
            return
        try:
            time.sleep(self.server.latency_s)
        finally:
            self.server.places.release()
        self._send(200, ANSWER)

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} Fake\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        self.wfile.write(head.encode() + data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def provider(latency_s: float, max_concurrent: int) -> Iterator[str]:
    """A provider in a process of its own; its base URL."""
    command = [sys.executable, "-m", MODULE, str(latency_s), str(max_concurrent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    with Server(float(sys.argv[1]), int(sys.argv[2])) as server:
        print(server.url, flush=True)
        server.serve_forever()
