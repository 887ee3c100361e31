"""Files and batches of the fake provider, in the shapes of OpenAI and of Anthropic."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_answers import chat_completion, message
from tests.fake_faults import Answer, as_json, error


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How batches go: after `num_polls` looks they end as `end` ("completed", "expired", "cancelled", "failed" with a
    reason, "given-up" without one; "lapsed" expired before it began). `faults` by position of the request: "errored",
    "malformed", "filtered", "expired", "missing", "unreadable", "duplicated" or "unknown".
    """

    num_polls: int = 1
    end: str = "completed"
    faults: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    id: str
    requests: list[dict[str, Any]]
    metadata: dict[str, str]
    file: str
    plan: BatchPlan | None
    num_polls: int = 0


class Batches:
    """The state; `num_batches` counts what was created. `next_plans` are those of the next batches, before `plan`.

    `stalls_s` by the start of "POST /v1/batches" or the like: how long the next such requests wait for their answer, of
    work that is done at once.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.next_plans: list[BatchPlan] = []
        self.stalls_s: dict[str, list[float]] = {}
        self._ids = count(1)
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    @property
    def num_batches(self) -> int:
        return len(self._batches)

    @property
    def num_requests(self) -> list[int]:
        """Of each batch, in the order in which they came."""
        return [len(batch.requests) for batch in self._batches.values()]

    def post(self, path: str, content_type: str, data: bytes) -> Answer:
        return self._stalled(f"POST {path}", self._post(path, content_type, data))

    def get(self, path: str, root_url: str) -> Answer:
        return self._stalled(f"GET {path}", self._get(path, root_url))

    def _stalled(self, request: str, answer: Answer) -> Answer:
        for start, seconds in self.stalls_s.items():
            if request.startswith(start) and seconds:
                time.sleep(seconds.pop(0))
        return answer

    def _post(self, path: str, content_type: str, data: bytes) -> Answer:
        if path == "/v1/files":
            return self._upload(content_type, data)
        if path == "/v1/batches":
            body = json.loads(data)
            lines = self._files[body["input_file_id"]].decode().splitlines()
            batch = self._create([json.loads(line) for line in lines], body.get("metadata") or {}, "batch_")
            batch.file = body["input_file_id"]
            return as_json(self._openai(batch))
        if path == "/v1/messages/batches":
            return as_json(self._anthropic(self._create(json.loads(data)["requests"], {}, "msgbatch_"), ""))
        return error(404, f"nothing at {path}")

    def _get(self, path: str, root_url: str) -> Answer:
        parts = urlsplit(path)
        name = parts.path
        if found := re.fullmatch(r"/v1/files/([\w-]+)/content", name):
            data = self._files.get(found[1])
            return error(404, "no such file") if data is None else Answer(data, content_type="application/jsonl")
        if found := re.fullmatch(r"/v1/messages/batches/(\w+)/results", name):
            return Answer(self._results(self._batches[found[1]]), content_type="application/x-jsonl")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if name in ("/v1/batches", "/v1/messages/batches"):
            return self._list(name, query, root_url)
        found = re.fullmatch(r"/v1/(?:messages/)?batches/(\w+)", name)
        if found is None or found[1] not in self._batches:
            return error(404, "No such batch")
        batch = self._batches[found[1]]
        batch.num_polls += 1
        return as_json(self._anthropic(batch, root_url) if "messages" in name else self._openai(batch))

    def _upload(self, content_type: str, data: bytes) -> Answer:
        boundary = content_type.split("boundary=")[1].encode()
        parts = [part for part in data.split(b"--" + boundary) if b'name="file"' in part]
        name = f"file-{next(self._ids)}"
        self._files[name] = parts[0].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        body = {"id": name, "object": "file", "bytes": len(self._files[name]), "created_at": 1_790_000_000,
                "filename": "batch.jsonl", "purpose": "batch", "status": "processed"}  # fmt: skip
        return as_json(body)

    def _create(self, requests: list[dict[str, Any]], metadata: dict[str, str], prefix: str) -> _Batch:
        plan = self.next_plans.pop(0) if self.next_plans else None
        batch = _Batch(f"{prefix}{next(self._ids)}", requests, metadata, "", plan)
        self._batches[batch.id] = batch
        return batch

    def _list(self, name: str, query: Mapping[str, str], root_url: str) -> Answer:
        """Newest first, a page of two, so that whoever looks for one has to turn pages."""
        messages = "messages" in name
        mine = [batch for batch in reversed(self._batches.values()) if batch.id.startswith("msg") == messages]
        after = query.get("after_id" if messages else "after")
        ids = [batch.id for batch in mine]
        start = ids.index(after) + 1 if after else 0
        page, more = mine[start : start + 2], len(mine) > start + 2
        rows = [self._anthropic(batch, root_url) if messages else self._openai(batch) for batch in page]
        edges = {"first_id": page[0].id, "last_id": page[-1].id} if page else {"first_id": None, "last_id": None}
        return as_json({"object": "list", "data": rows, "has_more": more, **edges})

    def _plan(self, batch: _Batch) -> BatchPlan:
        return batch.plan or self.plan

    def _ended(self, batch: _Batch) -> bool:
        return batch.num_polls >= self._plan(batch).num_polls

    def _openai(self, batch: _Batch) -> dict[str, Any]:
        plan, ended = self._plan(batch), self._ended(batch)
        run = plan.end not in ("failed", "given-up", "lapsed")
        files = self._write_files(batch) if ended and run else {}
        failed = {"object": "list", "data": [{"code": "invalid_json_line", "message": "Line 3 is no JSON", "line": 3}]}
        total = 0 if plan.end == "lapsed" else len(batch.requests)
        num_bad = sum(fault in ("errored", "malformed", "filtered") for fault in plan.faults.values())
        not_run = ("expired",) if plan.end == "completed" else ("expired", "missing")
        num_not_run = sum(fault in not_run for fault in plan.faults.values())
        num_good = len(batch.requests) - num_bad - num_not_run if ended and run else 0
        status = {"given-up": "failed", "lapsed": "expired"}.get(plan.end, plan.end)
        return {
            "id": batch.id, "object": "batch", "endpoint": "/v1/chat/completions", "completion_window": "24h",
            "created_at": 1_790_000_000, "input_file_id": batch.file, "metadata": batch.metadata,
            "status": status if ended else "in_progress",
            "request_counts": {"total": total, "completed": num_good, "failed": num_bad if ended and run else 0},
            "errors": failed if ended and plan.end == "failed" else None, **files,
        }  # fmt: skip

    def _write_files(self, batch: _Batch) -> dict[str, str | None]:
        good: list[str] = []
        bad: list[str] = []
        for position, request in reversed(list(enumerate(batch.requests))):
            fault = self._plan(batch).faults.get(position)
            line = _openai_line(request, position, fault)
            if fault != "missing":
                (bad if fault in ("errored", "malformed", "filtered", "expired") else good).append(json.dumps(line))
            if fault == "duplicated":
                good.append(json.dumps(line))
        names: dict[str, str | None] = {}
        for field_name, lines in (("output_file_id", good), ("error_file_id", bad)):
            names[field_name] = f"{field_name}-{batch.id}" if lines else None
            self._files[f"{field_name}-{batch.id}"] = "\n".join(lines).encode()
        return names

    def _anthropic(self, batch: _Batch, root_url: str) -> dict[str, Any]:
        ended, total = self._ended(batch), len(batch.requests)
        faults = list(self._plan(batch).faults.values()) if ended else []
        names = {"errored": ("errored", "malformed", "filtered"), "expired": ("expired",), "canceled": ()}
        counts = {name: sum(fault in those for fault in faults) for name, those in names.items()}
        counts |= {"processing": 0 if ended else total, "succeeded": total - sum(counts.values()) if ended else 0}
        return {
            "id": batch.id, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": "2026-11-01T00:00:00Z", "expires_at": "2026-11-02T00:00:00Z",
            "ended_at": "2026-11-01T01:00:00Z" if ended else None, "archived_at": None, "cancel_initiated_at": None,
            "results_url": f"{root_url}/v1/messages/batches/{batch.id}/results" if ended else None,
        }  # fmt: skip

    def _results(self, batch: _Batch) -> bytes:
        lines = []
        for position, request in reversed(list(enumerate(batch.requests))):
            fault = self._plan(batch).faults.get(position)
            line = json.dumps({"custom_id": _custom_id(request, fault), "result": _result(request, position, fault)})
            lines += [] if fault == "missing" else [line, line] if fault == "duplicated" else [line]
        return "\n".join(lines).encode()


def _custom_id(request: Mapping[str, Any], fault: str | None) -> str:
    return "somebody-else-0" if fault == "unknown" else str(request["custom_id"])


def _openai_line(request: Mapping[str, Any], number: int, fault: str | None) -> dict[str, Any]:
    line: dict[str, Any] = {"id": f"batch_req_{number}", "custom_id": _custom_id(request, fault), "error": None}
    if fault == "expired":
        expired = {"code": "batch_expired", "message": "This request could not be executed before it expired."}
        return {**line, "response": None, "error": expired}
    if fault in ("errored", "malformed", "filtered"):
        code = {"filtered": "content_filter", "malformed": "invalid_value"}.get(fault, "server_error")
        body: dict[str, Any] = {"error": {"message": "It went wrong", "code": code, "param": None, "type": None}}
        return {**line, "response": {"status_code": 500 if fault == "errored" else 400, "body": body}}
    if fault == "unreadable":
        return {**line, "response": {"status_code": 200, "body": {"usage": {"prompt_tokens": 9}}}}
    body = chat_completion(request["body"], number)
    return {**line, "response": {"status_code": 200, "request_id": f"req_{number}", "body": body}}


def _result(request: Mapping[str, Any], number: int, fault: str | None) -> dict[str, Any]:
    if fault == "expired":
        return {"type": "expired"}
    if fault in ("errored", "malformed", "filtered"):
        detail = {"type": "api_error" if fault == "errored" else "invalid_request_error", "message": "It went wrong"}
        return {"type": "errored", "error": {"type": "error", "error": detail}}
    if fault == "unreadable":
        return {"type": "succeeded", "message": {"usage": {"input_tokens": 9}}}
    return {"type": "succeeded", "message": message(request["params"], number)}
