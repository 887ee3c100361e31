"""A model hub on loopback for the real client of the Hugging Face hub, and its cache as the client leaves it.

    with FakeHub({"owner/name": {COMMIT: folder}}, refused={"owner/gated": "GatedRepo"}) as hub, hub.reached(tmp_path):
        ... fetch("owner/name", COMMIT)
        hub.requests     # paths, in order

`refused` gives the error code with which the hub answers everything about a repository, or about one of its files
("owner/name/config.json"). `cached` writes a repository into a cache without any server.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import huggingface_hub.constants
import pytest

STATUS = {"RepoNotFound": 404, "RevisionNotFound": 404, "EntryNotFound": 404, "GatedRepo": 403}


def cached(cache: Path, model: str, commit: str, folder: Path) -> Path:
    """Write a checkpoint into a cache of the hub, as `main` at that commit; the snapshot's folder."""
    repository = cache / f"models--{model.replace('/', '--')}"
    snapshot = Path(shutil.copytree(folder, repository / "snapshots" / commit))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return snapshot


@contextmanager
def offline(cache: Path) -> Iterator[None]:
    """The hub's client with this cache and no hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield


@dataclass
class FakeHub:
    """See the module."""

    repositories: Mapping[str, Mapping[str, Path]]
    refused: Mapping[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def reached(self, cache: Path) -> Iterator[None]:
        """The hub's client with this cache and this hub."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(huggingface_hub.constants, "ENDPOINT", address)
            patch.setattr(
                huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                address + "/{repo_id}/resolve/{revision}/{filename}",
            )  # fmt: skip
            patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
            patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
            yield

    def refusal(self, repository: str, file: str | None = None) -> str | None:
        """The error code for a repository or one of its files."""
        return self.refused.get(f"{repository}/{file}") or self.refused.get(repository)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.server.hub.requests.append(f"{self.command} {path}")
        if path.startswith("api/models/"):
            self._describe(path.removeprefix("api/models/"))
        else:
            self._file(path)

    do_HEAD = do_GET

    def _describe(self, path: str) -> None:
        repository, place, revision = "/".join(path.split("/")[:2]), path.split("/")[2:3], path.split("/")[3:4]
        found = self._commit(repository, revision[0] if revision else "main")
        if found is None:
            return
        commit, folder = found
        about: Any = {"id": repository, "sha": commit, "siblings": []}
        if place == ["tree"]:
            about = [
                {"type": "file", "path": item.name, "size": item.stat().st_size, "oid": _oid(item)}
                for item in sorted(folder.iterdir())
            ]
        self._send(200, json.dumps(about).encode(), {"content-type": "application/json"})

    def _file(self, path: str) -> None:
        owner, name, _, revision, file = path.split("/", 4)
        refusal = self.server.hub.refusal(f"{owner}/{name}", file)
        if refusal:
            self._refuse(refusal)
            return
        found = self._commit(f"{owner}/{name}", revision)
        if found is None:
            return
        commit, folder = found
        if not (folder / file).is_file():
            self._refuse("EntryNotFound", commit)
            return
        headers = {"etag": f'"{_oid(folder / file)}"', "x-repo-commit": commit}
        self._send(200, (folder / file).read_bytes(), headers)

    def _commit(self, repository: str, revision: str) -> tuple[str, Path] | None:
        """The commit and its folder; None, with the refusal sent, where there is none."""
        refusal = self.server.hub.refused.get(repository)
        commits = self.server.hub.repositories.get(repository, {})
        commit = list(commits)[-1] if revision == "main" and commits else revision
        if refusal or not commits:
            self._refuse(refusal or "RepoNotFound")
        elif commit not in commits:
            self._refuse("RevisionNotFound")
        else:
            return str(commit), commits[str(commit)]
        return None

    def _refuse(self, code: str, commit: str | None = None) -> None:
        headers = {"x-error-code": code, **({"x-repo-commit": commit} if commit else {})}
        self._send(STATUS[code], b"", headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _oid(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]
