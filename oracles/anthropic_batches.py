"""Anthropic's message batches: requests up in one call, results in any order within a day, at half the price."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apl_bench.deadline import next_call
from apl_bench.failures import CallError, Remedy
from apl_bench.oracles.anthropic_wire import Wire, fault_of
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
    token_of,
)
from apl_bench.oracles.remote import FilteredError, table_of
from apl_bench.types import BatchState, Reply

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

MAX_REQUESTS = 20_000  # the provider takes 100,000 and 256 MB; so each may have 12 kB
MAX_BYTES = 256 * 10**6

_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
_NOT_RUN = ("expired", "canceled")
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


async def submit(wire: Wire, bodies: Sequence[Mapping[str, Any]], token: str) -> str:
    """The id of a new batch of these requests. Raises CallError; for one too large one that stops."""
    check_token(token)
    requests: Any = [{"custom_id": custom_id(token, i), "params": body} for i, body in enumerate(bodies)]
    size = len(json.dumps(requests))
    if size > MAX_BYTES:
        raise CallError(f"a batch of {len(bodies)} requests has {size} bytes, and Anthropic takes {MAX_BYTES}; ask for "
                        "fewer at once", Remedy.STOP)  # fmt: skip
    batch = await _table(wire, lambda client: client.messages.batches.with_raw_response.create(requests=requests))
    return text_in(batch, "id", wire.who)


async def find(wire: Wire, token: str) -> str | None:
    """The id of the oldest batch with this token, which stands in the names of its requests.

    Only results show these names: raises CallError(STOP) that names the batches which have none yet, where no other one
    is it.
    """
    found: str | None = None
    running: list[str] = []
    query: dict[str, str | None] = {}
    while True:
        page = await _page(wire, query)
        batches = objects(page.get("data"))
        for batch in batches:
            batch_id = text_in(batch, "id", wire.who)
            if batch.get("processing_status") != "ended":
                running.append(f"{batch_id} of {wire.scrub.quote(str(batch.get('created_at')))}")
            elif batch.get("results_url") and await _first_token(wire, batch_id) == token:
                found = batch_id
        last = text_in(batches[-1], "id", wire.who) if batches else None
        if page.get("has_more") is not True or last is None or query == {"after_id": last}:
            break
        query = {"after_id": last}
    if found is None and running:
        raise CallError(f"a batch may have been sent just before this run was stopped, and {wire.who} does not show "
                        f"what is in a batch before it has ended: {', '.join(running)}. Look at them in the console; "
                        "run again once they have ended or been cancelled", Remedy.STOP)  # fmt: skip
    return found


async def collect(wire: Wire, batch_id: str) -> BatchState:
    """Where the batch is, and once it has ended its results by position, whatever their order."""
    batch = await _table(wire, lambda client: client.messages.batches.with_raw_response.retrieve(batch_id))
    counts = batch.get("request_counts")
    if text_in(batch, "processing_status", wire.who) != "ended":
        return BatchState(count_in(counts, *_COUNTS[1:]), ended=False)
    if not batch.get("results_url"):
        raise CallError(f"the results of the batch {batch_id} are gone: Anthropic keeps them for 29 days",
                        Remedy.STOP)  # fmt: skip
    lines = list(tables(await _results(wire, batch_id), wire.who, wire.scrub))
    token = token_of(lines[0].get("custom_id")) if lines else ""
    answers = Answers(batch_id, token or "", count_in(counts, *_COUNTS) or None)
    for line in lines:
        answers.add(line.get("custom_id"), _answer(line.get("result"), wire))
    nothing_done = counts is not None and not count_in(counts, "succeeded", "errored") and not answers.by_position
    return answers.state("ended", Fate.UNPROCESSED if nothing_done else Fate.UNSETTLED)


async def _table(wire: Wire, send: Callable[[AsyncAnthropic], Awaitable[Any]]) -> dict[str, Any]:
    next_call()
    return await wire.table(send)


async def _page(wire: Wire, query: Mapping[str, str | None]) -> dict[str, Any]:
    return await _table(
        wire, lambda client: client.messages.batches.with_raw_response.list(limit=100, extra_query=query)
    )


async def _results(wire: Wire, batch_id: str) -> str:
    async def read(client: AsyncAnthropic) -> str:
        return await (await client.messages.batches.with_raw_response.results(batch_id)).text()

    next_call()
    return await wire.attempt(read)


async def _first_token(wire: Wire, batch_id: str) -> str | None:
    """The token in the first result of a batch; the rest is not read."""

    async def read(client: AsyncAnthropic) -> str:
        async with client.messages.batches.with_streaming_response.results(batch_id) as response:
            async for line in response.iter_lines():
                if line.strip():
                    return line
        return "{}"

    next_call()
    return token_of(table_of(await wire.attempt(read), wire.who, wire.scrub).get("custom_id"))


def _answer(result: object, wire: Wire) -> Reply | NoReply:
    """The reply in one result, or why there is none."""
    table = result if isinstance(result, Mapping) else {}
    kind, message, error = table.get("type"), table.get("message"), table.get("error")
    if kind == "succeeded" and isinstance(message, Mapping):
        try:
            return wire.reply_of(message)
        except CallError as failure:
            return NoReply(str(failure), Fate.UNSETTLED)
    inner = error.get("error") if isinstance(error, Mapping) else None
    if kind != "errored" or not isinstance(inner, Mapping):
        fate = Fate.UNPROCESSED if kind in _NOT_RUN else Fate.UNSETTLED
        return NoReply(f"the request ended as {wire.scrub.quote(str(kind))!r}", fate)
    refusal = wire.refusal(fault_of(_STATUS_OF.get(str(inner.get("type")), 500), inner))
    return wire.filtered(str(refusal)) if isinstance(refusal, FilteredError) else NoReply.of(refusal)
