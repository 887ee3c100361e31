"""JSON of strangers, read strictly: of bounded size and depth, no name twice, no NaN, no infinity, nothing repaired."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from apl_bench.leaderboard.findings import refuse, shown
from apl_bench.wording import encodable

MAX_DEPTH = 32
MAX_JSON_BYTES = 32 * 2**20
MAX_CARD_BYTES = 2**18
MAX_DIGITS = 40  # of a number
# A text, or one without an end: nothing is looked at twice, however it is meant to be.
_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[0-9.eE+-]{%d,}" % (MAX_DIGITS + 1))


@contextmanager
def open_plain(path: Path, place: str) -> Iterator[IO[bytes]]:
    """A plain file, never what a link leads to. Raises Refused (V105)."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise refuse("V105", place, f"it cannot be read: {error.strerror}",
                     "put the file itself there, readable and no link") from None  # fmt: skip
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise refuse("V105", place, "it is no plain file", "put a plain file there")
        yield file


def read_bytes(path: Path, place: str, max_bytes: int) -> bytes:
    """The content of a plain file. Raises Refused (V105, V106)."""
    with open_plain(path, place) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise refuse("V106", place, f"it has more than {max_bytes} bytes", "build the submission with apl-bench submit")
    return data


def read_text(path: Path, place: str, max_bytes: int) -> str:
    """The text of a plain file. Raises Refused (V105, V106, V107)."""
    return decode(read_bytes(path, place, max_bytes), place)


def read_json(path: Path, place: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value in a plain file. Raises Refused (V105 to V109)."""
    return parse(read_bytes(path, place, max_bytes), place)


def decode(data: bytes, place: str) -> str:
    """UTF-8. Raises Refused (V107)."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse("V107", place, f"it is not UTF-8 at byte {error.start}", "write it as UTF-8") from None


def parse(data: bytes, place: str) -> Any:
    """The value of a JSON text.

    Raises Refused: V107 for what is no JSON or no UTF-8, V108 for what is nested too deep, V109 for a name that stands
    twice in an object, for NaN, infinities and numbers beyond a float's, and for texts that UTF-8 cannot hold.
    """
    text = decode(data, place)
    _refuse_depth(data, place)
    if _LONG_NUMBER.search(_QUOTED.sub(b"", data)):
        raise refuse("V109", place, f"it holds a number of more than {MAX_DIGITS} digits", "write numbers as json does")
    try:
        value = json.loads(text, object_pairs_hook=lambda items: _object(items, place),
                           parse_constant=lambda name: _constant(name, place),
                           parse_float=lambda digits: _float(digits, place))  # fmt: skip
    except (json.JSONDecodeError, RecursionError) as error:
        raise refuse("V107", place, f"it is not JSON ({error})", "write it again; nothing is repaired") from None
    if "\\u" in text and _has_half_pair(value):
        raise refuse("V109", place, "it holds half of a surrogate pair", "write texts that UTF-8 can hold")
    return value


def _refuse_depth(data: bytes, place: str) -> None:
    """Before it is parsed: brackets outside of texts are counted."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in re.finditer(rb"[\[{\]}]", _QUOTED.sub(b'""', data)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise refuse("V108", place, f"it is nested more than {MAX_DEPTH} deep", "write it as apl-bench submit does")


def _object(items: list[tuple[str, Any]], place: str) -> dict[str, Any]:
    value = dict(items)
    if len(value) != len(items):
        seen: set[str] = set()
        twice = next(name for name, _ in items if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise refuse("V109", place, f"the name {shown(twice)} stands twice in one object", "write each name once")
    return value


def _constant(name: str, place: str) -> NoReturn:
    raise refuse("V109", place, f"it holds {name}, which is not JSON", "write null where there is no number")


def _float(digits: str, place: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise refuse("V109", place, f"it holds {shown(digits)}, which no float is", "write finite numbers")
    return value


def _has_half_pair(value: Any) -> bool:
    return any(not encodable(text) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
