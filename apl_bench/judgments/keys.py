"""The key of a request in the ledger: sha256 over RFC 8785 canonical JSON of all that can change the answer.

Strings count byte for byte (no Unicode normalisation), numbers as RFC 8785 writes them. A change here makes every
recorded judgment unreachable: it takes a new KEY_VERSION, and the golden file of the tests says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import rfc8785

from apl_bench.types import JSON

KEY_VERSION = "oracle-key/1"
KIND = "pairwise"

_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"))
_ORDERED_OTHERWISE = re.compile(
    "[\ud800-\U0010ffff]"
)  # from here on UTF-16 may sort names in another order than Python
_NO_FORM = (rfc8785.CanonicalizationError, UnicodeEncodeError)  # the second: an unpaired surrogate in a name
_PLAIN_FLOAT = re.compile(r"-?[0-9]+\.[0-9]*[1-9]")


class RequestError(ValueError):
    """A request, or a reply, that has no canonical JSON form: says where, and which value."""


def canonical(value: JSON) -> bytes:
    """RFC 8785 canonical JSON, UTF-8.

    Raises RequestError for NaN, infinities, integers beyond 2**53 - 1, keys that are not strings, lone surrogates,
    values that JSON does not have, and nesting that Python cannot follow.
    """
    try:
        return _fast(value) or rfc8785.dumps(value)
    except _NO_FORM as error:
        raise RequestError(_explain(value, error)) from None
    except RecursionError:
        raise RequestError("the value is nested too deep to be written as JSON; expected a few levels") from None


def _fast(value: Any) -> bytes | None:
    """What rfc8785 gives, several times as fast, for a value that Python's own encoder writes in the same way."""
    if not _is_plain(value):
        return None
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        return None  # an unpaired surrogate, which the other way explains


def _is_plain(value: Any) -> bool:
    """True where Python's JSON is RFC 8785: no subclasses, and no numbers or order of names in which the two differ."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-(2**53) < value < 2**53)
    if kind is float:
        return _PLAIN_FLOAT.fullmatch(repr(value)) is not None
    if kind is dict:
        return all(map(_is_plain_name, value)) and all(map(_is_plain, value.values()))
    return (kind is list or kind is tuple) and all(map(_is_plain, value))


def _is_plain_name(name: object) -> bool:
    return type(name) is str and (name.isascii() or not _ORDERED_OTHERWISE.search(name))


def parse(text: str) -> Any:
    """The value of a JSON text, such that `canonical` of it gives a canonical text back. Raises ValueError."""
    return json.loads(text, parse_int=_number, parse_constant=_refuse_constant)


def _number(digits: str) -> int | float:
    """Whole numbers beyond 2**53 - 1 were floats, which RFC 8785 writes without an exponent up to 1e21."""
    number = int(digits)
    return number if abs(number) < 2**53 else float(number)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is not JSON")


def keyed(request: Mapping[str, JSON]) -> dict[str, JSON]:
    """The request as it is hashed: with the key's version and kind. Raises RequestError where it uses these names."""
    for name in ("k", "kind"):
        if name in request:
            raise RequestError(f"the request has a field {name!r}, which belongs to the key; rename the oracle's field")
    return {"k": KEY_VERSION, "kind": KIND, **request}


def request_key(request: Mapping[str, JSON]) -> str:
    """The request's key: 64 hexadecimal digits, the same on every machine. Raises RequestError as `canonical` does."""
    return hashlib.sha256(canonical(keyed(request))).hexdigest()


def _explain(value: object, error: Exception) -> str:
    place, culprit = _culprit(value, "$")
    return (f"{place} is {repr(culprit)[:80]}, which canonical JSON does not have ({error}); "
            "expected null, true, false, a text, a finite number, a list, or a dict with texts for keys")  # fmt: skip


def _culprit(value: object, place: str) -> tuple[str, object]:
    """Path and value of the first leaf or key that has no canonical form."""
    parts: list[tuple[str, object]] = []
    if isinstance(value, dict):
        for name in value:
            if not (isinstance(name, str) and _has_form(name)):
                return f"a key of {place}", name
        parts = [(f"{place}.{name}", item) for name, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{place}[{i}]", item) for i, item in enumerate(value)]
    return next((_culprit(item, where) for where, item in parts if not _has_form(item)), (place, value))


def _has_form(value: Any) -> bool:
    try:
        rfc8785.dumps(value)
    except _NO_FORM:
        return False
    return True
