"""What the fake provider says: verdicts that follow from the texts, in the shapes of both providers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"\n(?:Review|Summary) A: (.*)\n(?:Review|Summary) B: (.*)\nFirst, provide ", re.DOTALL)
_FENCED = re.compile(r"\[(?:review|summary) A (\w+)\]\n(.*)\n\[end of \w+ A \1\].* B \1\]\n(.*)\n\[end of ", re.DOTALL)


def merit(text: str) -> tuple[int, str]:
    """Praise less blame, and among equals a hash: so two texts are never level, and order does not matter."""
    return text.count("good") - text.count("bad"), hashlib.sha256(text.strip().encode()).hexdigest()


def candidates(question: str) -> tuple[str, str]:
    """The two texts of a question in any of our templates, as far as they can be told apart."""
    if found := _FENCED.search(question):
        return found[2], found[3]
    if found := _PLAIN.search(question):
        return found[1], found[2]
    return question, ""


def better(question: str) -> str:
    """A or B, whichever text has more merit."""
    first, second = map(merit, candidates(question))
    return "A" if first > second else "B"


def comparison_id(messages: Sequence[Mapping[str, str]]) -> str:
    """The same for the same messages, whichever provider is asked."""
    return hashlib.sha256(json.dumps([dict(each) for each in messages]).encode()).hexdigest()[:16]


def question_of(body: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of a request to either provider, system first."""
    system = [{"role": "system", "content": body["system"]}] if "system" in body else []
    return [*system, *body["messages"]]


def text_of(body: Mapping[str, Any]) -> str:
    """The reply in the form that was asked for."""
    letter = better(body["messages"][-1]["content"])
    schema = _schema(body)
    if schema is None:
        return f"Comparison: One of the two is better by far.\nPreferred: {letter}"
    reason = next(name for name in schema["properties"] if name != "preferred")
    return json.dumps({reason: "One of the two is better by far.", "preferred": letter})


def _schema(body: Mapping[str, Any]) -> dict[str, Any] | None:
    if "response_format" in body:
        schema: dict[str, Any] = body["response_format"]["json_schema"]["schema"]
        return schema
    wanted: dict[str, Any] | None = (body.get("output_config") or {}).get("format", {}).get("schema")
    return wanted


def chat_completion(body: Mapping[str, Any], number: int, text: str | None = None) -> dict[str, Any]:
    """A body of POST /v1/chat/completions."""
    said = text_of(body) if text is None else text
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop",
                              "message": {"role": "assistant", "content": said, "refusal": None}}  # fmt: skip
    if body.get("logprobs"):
        choice["logprobs"] = {"content": logprobs(said), "refusal": None}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": body["model"],
        "choices": [choice],
        "usage": {
            "prompt_tokens": 200,
            "completion_tokens": 20,
            "total_tokens": 220,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def logprobs(text: str) -> list[dict[str, Any]]:
    """The text as tokens; at every lone A or B the letter has probability 0.8 and the other one 0.1."""
    return [_token(piece) for piece in re.findall(r"\s?\w+|\W", text)]


def _token(piece: str) -> dict[str, Any]:
    letter = piece.strip()
    top = [(piece, -0.2231435513)]
    if letter in ("A", "B"):
        top.append((piece.replace(letter, "B" if letter == "A" else "A"), -2.302585093))
    entries = [{"token": token, "logprob": logp, "bytes": None} for token, logp in top]
    return {**entries[0], "top_logprobs": entries}


def message(body: Mapping[str, Any], number: int, text: str | None = None) -> dict[str, Any]:
    """A body of POST /v1/messages."""
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": text_of(body) if text is None else text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 72,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 128,
            "output_tokens": 20,
            "service_tier": "standard",
        },
    }
