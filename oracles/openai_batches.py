"""OpenAI's batches: a file of requests up, an output file and an error file down, within a day, at half the price."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apl_bench.deadline import next_call
from apl_bench.failures import BatchFailedError, CallError, Remedy
from apl_bench.oracles.batches import (
    Answers,
    Fate,
    NoReply,
    check_token,
    count_in,
    custom_id,
    objects,
    tables,
    text_in,
)
from apl_bench.oracles.openai_wire import KEY_VARIABLE, POLICY_CODES, Wire
from apl_bench.oracles.remote import Fault, failure, table_of
from apl_bench.types import BatchState, Reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_REQUESTS = 20_000  # the provider takes 50,000 and 200 MB; so each may have 10 kB
MAX_BYTES = 200 * 10**6
TOKEN_FIELD = "apl_bench_token"

_ENDED = {"completed", "expired", "cancelled", "failed"}
_NOT_RUN = {"batch_expired", "batch_cancelled"}
_RUNNING = {"validating", "in_progress", "finalizing", "cancelling"}


async def submit(wire: Wire, bodies: Sequence[Mapping[str, Any]], token: str) -> str:
    """The id of a new batch of these requests. Raises CallError; for a file too large one that stops."""
    check_token(token)
    place = {"method": "POST", "url": "/v1/chat/completions"}
    lines = [json.dumps({"custom_id": custom_id(token, i), **place, "body": body}) for i, body in enumerate(bodies)]
    data = "\n".join(lines).encode()
    if len(data) > MAX_BYTES:
        raise CallError(f"a batch of {len(bodies)} requests has {len(data)} bytes, and OpenAI takes {MAX_BYTES}; ask "
                        "for fewer at once", Remedy.STOP)  # fmt: skip
    upload = ("requests.jsonl", data, "application/jsonl")
    file = await _table(wire, lambda client: client.files.with_raw_response.create(file=upload, purpose="batch"))
    file_id = text_in(file, "id", wire.who)
    batch = await _table(
        wire,
        lambda client: client.batches.with_raw_response.create(
            input_file_id=file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={TOKEN_FIELD: token},
        ),
    )
    return text_in(batch, "id", wire.who)


async def find(wire: Wire, token: str) -> str | None:
    """The id of the oldest batch whose metadata carry this token; the provider lists the newest first."""
    found: str | None = None
    query: dict[str, str | None] = {}
    while True:
        page = await _page(wire, query)
        batches = objects(page.get("data"))
        mine = [batch for batch in batches if _token(batch) == token]
        found = text_in(mine[-1], "id", wire.who) if mine else found
        last = text_in(batches[-1], "id", wire.who) if batches else None
        if page.get("has_more") is not True or last is None or query == {"after": last}:
            return found
        query = {"after": last}


async def _page(wire: Wire, query: Mapping[str, str | None]) -> dict[str, Any]:
    return await _table(wire, lambda client: client.batches.with_raw_response.list(limit=100, extra_query=query))


async def collect(wire: Wire, batch_id: str, with_logprobs: bool) -> BatchState:
    """Where the batch is. Raises BatchFailedError for one of which nothing was processed, and CallError(STOP) for one
    that is not ours."""
    batch = await _table(wire, lambda client: client.batches.with_raw_response.retrieve(batch_id))
    status, counts = text_in(batch, "status", wire.who), batch.get("request_counts")
    if status in _RUNNING:
        return BatchState(count_in(counts, "completed", "failed"), ended=False)
    if status not in _ENDED:
        raise CallError(f"the batch {batch_id} is {wire.scrub.quote(status)!r}, which this version does not know",
                        Remedy.STOP)  # fmt: skip
    _refuse_failed(wire, batch, f"the batch {batch_id}")
    token = _token(batch)
    if token is None:
        raise CallError(f"the batch {batch_id} has no {TOKEN_FIELD} in its metadata, so it was not sent from here",
                        Remedy.STOP)  # fmt: skip
    answers = Answers(batch_id, token, count_in(counts, "total") or None)
    for name in ("output_file_id", "error_file_id"):
        if batch.get(name):
            for line in tables(await _content(wire, text_in(batch, name, wire.who)), wire.who, wire.scrub):
                answers.add(line.get("custom_id"), _answer(line, wire, with_logprobs))
    whole = answers.num_processed >= count_in(counts, "completed")  # no file lacks what was processed
    return answers.state(status, Fate.UNPROCESSED if whole and status != "completed" else Fate.UNSETTLED)


def _refuse_failed(wire: Wire, batch: Mapping[str, Any], name: str) -> None:
    """Raise BatchFailedError for a batch that ended before any of its requests did: with a reason, and it would fail
    again; without, and a new one may not."""
    status, reasons = batch["status"], _reasons(batch, wire)
    has_files = batch.get("output_file_id") or batch.get("error_file_id")
    if status == "completed" or has_files or count_in(batch.get("request_counts"), "completed", "failed"):
        return
    if status == "failed" and reasons:
        raise BatchFailedError(f"{wire.who} refused {name} as a whole ({status!r}): {reasons}. Nothing in it was "
                               "answered", Remedy.STOP)  # fmt: skip
    raise BatchFailedError(f"{wire.who} gave up {name} as a whole ({status!r}), with nothing in it answered",
                           Remedy.RETRY)  # fmt: skip


async def _table(wire: Wire, send: Callable[[AsyncOpenAI], Awaitable[Any]]) -> dict[str, Any]:
    """The JSON object that a raw response holds."""
    next_call()
    return table_of((await wire.attempt(send)).http_response.text, wire.who, wire.scrub)


async def _content(wire: Wire, file_id: str) -> str:
    next_call()
    data: bytes = (await wire.attempt(lambda client: client.files.content(file_id))).content
    return data.decode("utf-8", "replace")


def _token(batch: Mapping[str, Any]) -> str | None:
    metadata = batch.get("metadata")
    token = metadata.get(TOKEN_FIELD) if isinstance(metadata, Mapping) else None
    return token if isinstance(token, str) else None


def _reasons(batch: Mapping[str, Any], wire: Wire) -> str:
    """What the provider says is wrong with a batch; empty where it says nothing."""
    errors = batch.get("errors")
    rows = errors.get("data") if isinstance(errors, Mapping) else None
    return wire.scrub.quote("; ".join(str(row.get("message")) for row in objects(rows)))


def _answer(line: Mapping[str, Any], wire: Wire, with_logprobs: bool) -> Reply | NoReply:
    """The reply in one line of a batch's files, or why there is none."""
    response, error = line.get("response"), line.get("error")
    if not isinstance(response, Mapping):
        code = error.get("code") if isinstance(error, Mapping) else None
        fate = Fate.UNPROCESSED if code in _NOT_RUN else Fate.UNSETTLED
        return NoReply(wire.scrub.quote(str(error or "no response")), fate)
    body = response.get("body")
    table = body if isinstance(body, Mapping) else {}
    if response.get("status_code") == 200:
        try:
            return wire.reply_of(table, with_logprobs)
        except CallError as failed:
            return NoReply(str(failed), Fate.UNSETTLED)
    return _refused(response.get("status_code"), table, wire)


def _refused(status: object, table: Mapping[str, Any], wire: Wire) -> Reply | NoReply:
    error = table.get("error")
    detail = error if isinstance(error, Mapping) else {}
    text, code = str(detail.get("message") or "no reason given"), str(detail.get("code"))
    if code in POLICY_CODES:
        return wire.filtered(wire.scrub.quote(text))
    if not isinstance(status, int):
        return NoReply(wire.scrub.quote(f"a response without a status: {text}"), Fate.UNSETTLED)
    return NoReply.of(failure(Fault(status, text, code), wire.who, KEY_VARIABLE, wire.scrub))
