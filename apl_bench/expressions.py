"""Oracles as one writes them on a command line: `classifier`, `openai:MODEL`, `flip(0.1, classifier)`.

    expression = name [":" value] ["(" argument {"," argument} ")"]
    argument   = key "=" value | value | expression

`name:value` gives the first parameter of the oracle. The last argument of a wrapper is the expression that it wraps.
Values are TOML (0.1, true, "text"); what is not TOML is taken as text, so that model names need no quotes.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from apl_bench.registry import ORACLES, WRAPPERS, Registry
from apl_bench.spec import PluginSpec, nearest
from apl_bench.types import JSON, SpecError

_HEAD = re.compile(r"\s*([A-Za-z_][\w+.-]*)\s*(?::([^()]*))?")
_KEYWORD = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)(.*)", re.DOTALL)
MAX_LENGTH, MAX_WRAPPERS = 2000, 16


def parse(text: str) -> PluginSpec:
    """The oracle that an expression means, with its wrappers. Raises SpecError."""
    if len(text) > MAX_LENGTH:
        raise SpecError(
            f"the oracle has {len(text)} characters; expected at most {MAX_LENGTH}: put it in a preset file"
        )
    plugin = _parse(text)
    if len(plugin.wrappers) > MAX_WRAPPERS:
        raise SpecError(f"{text!r} has {len(plugin.wrappers)} wrappers; expected at most {MAX_WRAPPERS}")
    return plugin


def describe(plugin: PluginSpec) -> str:
    """The expression that `parse` reads as this oracle."""
    text = _call(plugin.name, plugin.params, [])
    for wrapper in plugin.wrappers:
        text = _call(wrapper.name, wrapper.params, [text])
    return text


def _call(name: str, params: Any, inner: Sequence[str]) -> str:
    arguments = [f"{key}={_literal(value)}" for key, value in params.items()]
    arguments = [*arguments, *inner]
    return f"{name}({', '.join(arguments)})" if arguments else name


def _literal(value: JSON) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _parse(text: str) -> PluginSpec:
    head = _HEAD.match(text)
    rest = text[head.end() :].strip() if head else ""
    if not head or (rest and not (rest.startswith("(") and rest.endswith(")"))):
        raise _malformed(text)
    arguments = list(_split(rest[1:-1], text)) if rest else []
    if head[2] is not None:
        arguments = [head[2].strip(), *arguments]
    name = head[1]
    return _wrapper(name, arguments, text) if name in WRAPPERS.names() else _oracle(name, arguments, text)


def _oracle(name: str, arguments: Sequence[str], text: str) -> PluginSpec:
    if name not in ORACLES.names():
        raise nearest(name, "oracle or wrapper", [*ORACLES.names(), *WRAPPERS.names()])
    return PluginSpec(name, _bind(ORACLES, name, arguments, text))


def _wrapper(name: str, arguments: Sequence[str], text: str) -> PluginSpec:
    if not arguments or _KEYWORD.fullmatch(arguments[-1]):
        raise SpecError(
            f"{text!r} wraps nothing; expected an oracle as the last argument, such as {name}(..., classifier)"
        )
    inner = _parse(arguments[-1])
    return replace(inner, wrappers=(*inner.wrappers, PluginSpec(name, _bind(WRAPPERS, name, arguments[:-1], text))))


def _bind(registry: Registry[Any], name: str, arguments: Sequence[str], text: str) -> dict[str, JSON]:
    """Parameter names and values; those without a name go to the constructor's parameters in order."""
    known = [
        parameter.name
        for parameter in inspect.signature(registry.load(name)).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    bound: dict[str, JSON] = {}
    for place, argument in enumerate(arguments):
        keyword = _KEYWORD.fullmatch(argument)
        if not keyword and place >= len(known):
            raise SpecError(
                f"{text!r} gives {len(arguments)} values to {name}, which takes: {', '.join(known) or 'none'}"
            )
        key, value = (keyword[1], keyword[2]) if keyword else (known[place], argument)
        if key not in known:
            raise nearest(key, f"parameter of {name!r}", known)
        if key in bound:
            raise SpecError(f"{text!r} gives {key} twice; expected it once")
        bound[key] = _value(value.strip(), text)
    return bound


def _value(text: str, whole: str) -> JSON:
    if not text:
        raise _malformed(whole)
    try:
        value: JSON = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if not re.fullmatch(r"[\w./@:+~-]+", text):
            raise _malformed(whole) from None
        return text
    if not isinstance(value, (bool, int, float, str, list)):
        return text  # a model named like a date is a name
    return value


def _split(text: str, whole: str) -> Iterator[str]:
    """The arguments: cut at commas that stand in no parentheses, brackets or quotes."""
    depth, quoted, start = 0, False, 0
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
        if depth < 0:
            raise _malformed(whole)
    if depth or quoted:
        raise _malformed(whole)
    if text[start:].strip() or start:
        yield text[start:].strip()


def _malformed(text: str) -> SpecError:
    return SpecError(f"{text!r} is not an oracle as apl-bench reads it; expected a form such as classifier, "
                     "openai:MODEL, hf(model=FOLDER, score=reward) or flip(0.1, classifier)")  # fmt: skip
