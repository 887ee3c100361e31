"""Tasks, strategies, oracles and wrappers by name: built-ins imported when used, plugins found by entry point.

A plugin is a package with an entry point `name = "module:Class"` in the group `apl_bench.strategies`,
`apl_bench.tasks`, `apl_bench.oracles` or `apl_bench.wrappers`. One that cannot be imported, or takes a name that is not
free, is listed with its error and breaks nothing else.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from apl_bench import __version__
from apl_bench.spec import nearest
from apl_bench.types import JSON, SpecError

if TYPE_CHECKING:
    from apl_bench.protocols import Oracle, Strategy, Task, Wrapper

T = TypeVar("T")

NO_PLUGINS = "APL_BENCH_NO_PLUGINS"
BUILT_IN = f"apl-bench {__version__}"


@dataclass(frozen=True, slots=True)
class Builtin:
    """A class of ours that is not imported yet: "module:Class", what it does in one line, and its other names."""

    target: str
    summary: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What a registry knows of a name: its origin ("distribution version"), and why it is unusable, if it is."""

    name: str
    target: str
    summary: str
    origin: str
    aliases: tuple[str, ...] = ()
    error: str | None = None


@contextmanager
def without_plugins() -> Iterator[None]:
    """Only built-ins exist inside this block, also in the processes that it starts."""
    before = os.environ.get(NO_PLUGINS)
    os.environ[NO_PLUGINS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[NO_PLUGINS]
        else:
            os.environ[NO_PLUGINS] = before


class Registry(Generic[T]):
    """Classes of one kind by name; each derives from `base` ("module:Class"), which is imported on first use."""

    def __init__(self, kind: str, group: str, base: str, builtins: Mapping[str, Builtin]) -> None:
        self.kind = kind
        self._group = group
        self._base = base
        self._builtins = builtins
        self._aliases = {alias: name for name, builtin in builtins.items() for alias in builtin.aliases}

    def names(self) -> list[str]:
        """Every name that `load` takes, aliases left out, sorted; imports nothing."""
        return sorted({*self._builtins, *self._plugins()})

    def entries(self) -> list[Entry]:
        """All there is: built-ins, then plugins, refused and broken ones with their error. Imports the plugins."""
        refused = [_refused(point, reason) for point, reason in self._refusals()]
        plugins = [self._plugin_entry(point) for point in self._plugins().values()]
        return [*map(self._builtin_entry, self._builtins), *sorted(plugins + refused, key=lambda entry: entry.name)]

    def entry(self, name: str) -> Entry:
        """What is known of a name or alias; raises SpecError with the nearest name where it does not exist."""
        name = self._aliases.get(name, name)
        if name in self._builtins:
            return self._builtin_entry(name)
        if name in self._plugins():
            return self._plugin_entry(self._plugins()[name])
        reasons = [reason for point, reason in self._refusals() if point.name == name]
        if reasons:
            raise SpecError(reasons[0])
        raise nearest(name, self.kind, self.names())

    def load(self, name: str) -> type[T]:
        """The class of a name or alias, imported now; raises SpecError where there is none, or it cannot be used."""
        entry = self.entry(name)
        if entry.error:
            raise SpecError(f"the {self.kind} {entry.name!r} of {entry.origin} cannot be used: {entry.error}")
        return self._resolve(entry.target)

    def create(self, name: str, params: Mapping[str, JSON]) -> T:
        """An instance with these constructor parameters; raises SpecError for one it lacks or does not know."""
        cls = self.load(name)
        known = inspect.signature(cls).parameters.values()
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known)
        named = [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        unknown = [key for key in params if key not in named]
        if unknown and not takes_any:
            raise nearest(unknown[0], f"parameter of the {self.kind} {name!r}", named)
        needed = [p.name for p in known if p.name in named and p.default is p.empty and p.name not in params]
        if needed:
            raise SpecError(f"the {self.kind} {name!r} needs a value for: {', '.join(needed)}")
        return cls(**params)

    def defaults(self, name: str) -> dict[str, JSON]:
        """The constructor's defaults, so that a spec can state them; None means not set, and is left out."""
        parameters = inspect.signature(self.load(name)).parameters.values()
        stated = {p.name: p.default for p in parameters if p.default is not p.empty and p.default is not None}
        return dict(stated)

    def identity(self, name: str) -> dict[str, JSON]:
        """What a name stands for today: its distribution and version, and the sha256 of the file its class is in."""
        cls = self.load(name)
        path = inspect.getsourcefile(cls)
        source = hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
        return {"origin": self.entry(name).origin, "source_sha256": source}

    def _builtin_entry(self, name: str) -> Entry:
        builtin = self._builtins[name]
        return Entry(name, builtin.target, builtin.summary, BUILT_IN, builtin.aliases)

    def _plugin_entry(self, point: EntryPoint) -> Entry:
        entry = Entry(point.name, point.value, "", _origin(point))
        try:
            summary = str(getattr(self._resolve(point.value), "summary", ""))
        except (Exception, SystemExit) as error:  # a plugin may fail in any way, and breaks nothing else
            return replace(entry, error=f"{type(error).__name__}: {error}")
        return replace(entry, summary=summary)

    def _resolve(self, target: str) -> type[T]:
        cls, base = _import(target), _import(self._base)
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise TypeError(f"{target} is not a subclass of {self._base.replace(':', '.')}")
        if inspect.isabstract(cls):
            missing = sorted(getattr(cls, "__abstractmethods__"))  # noqa: B009 - not declared on `type`
            raise TypeError(f"{target} lacks {', '.join(missing)}")
        return cls

    def _plugins(self) -> dict[str, EntryPoint]:
        refused = {point.name for point, _ in self._refusals()}
        return {point.name: point for point in self._points() if point.name not in refused}

    def _refusals(self) -> list[tuple[EntryPoint, str]]:
        """Plugins whose name is not free, and why: load order must not decide which of two is meant."""
        points = self._points()
        counts = Counter(point.name for point in points)
        taken = {*self._builtins, *self._aliases}
        return [
            (point, self._refusal(point, points))
            for point in points
            if point.name in taken or counts[point.name] > 1
        ]  # fmt: skip

    def _refusal(self, point: EntryPoint, points: tuple[EntryPoint, ...]) -> str:
        if point.name in self._builtins or point.name in self._aliases:
            return (f"the {self.kind} {point.name!r} of {_origin(point)} is refused: the name belongs to {BUILT_IN}; "
                    "its author has to register it under another name")  # fmt: skip
        owners = " and ".join(_origin(other) for other in points if other.name == point.name)
        return f"the name {point.name!r} is taken by two {self.kind} plugins, {owners}; uninstall one of them"

    def _points(self) -> tuple[EntryPoint, ...]:
        return () if os.environ.get(NO_PLUGINS) else _discover(self._group)


@cache
def _discover(group: str) -> tuple[EntryPoint, ...]:
    """The installed entry points of a group, in an order that does not depend on the search path."""
    return tuple(sorted(entry_points(group=group), key=lambda point: (point.name, _origin(point))))


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _refused(point: EntryPoint, reason: str) -> Entry:
    return Entry(point.name, point.value, "", _origin(point), error=reason)


def _import(target: str) -> Any:
    """The object at "module:attribute"."""
    module, colon, attribute = target.partition(":")
    if not (colon and attribute):
        raise TypeError(f"{target!r} is not of the form module:Class")
    return getattr(importlib.import_module(module), attribute)


STRATEGIES: Registry[Strategy] = Registry(
    "strategy",
    "apl_bench.strategies",
    "apl_bench.protocols:Strategy",
    {
        "random": Builtin("apl_bench.strategies.uniform:Random", "pairs drawn uniformly"),
        "offline": Builtin("apl_bench.strategies.offline:Offline", "pairs drawn uniformly, completions from theta_0"),
        "certainty": Builtin("apl_bench.strategies.certainty:Certainty", "the largest margins (equation 9)"),
        "uncertainty": Builtin(
            "apl_bench.strategies.uncertainty:Uncertainty",
            "the smallest margins",
            aliases=("sharp", "bt-entropy", "least-confidence"),
        ),
        "mid": Builtin("apl_bench.strategies.mid:Mid", "margins from the middle of their order"),
        "tails": Builtin("apl_bench.strategies.tails:Tails", "margins from both ends of their order"),
        "entropy": Builtin("apl_bench.strategies.entropy:Entropy", "prompts of the highest entropy (equation 8)"),
        "entropy+certainty": Builtin(
            "apl_bench.strategies.entropy_certainty:EntropyCertainty",
            "the largest margins among the prompts of the highest entropy",
        ),
    },
)

TASKS: Registry[Task] = Registry(
    "task",
    "apl_bench.tasks",
    "apl_bench.protocols:Task",
    {
        "imdb": Builtin("apl_bench.tasks.imdb:Imdb", "continue the opening of a movie review with positive sentiment"),
        "tldr": Builtin("apl_bench.tasks.tldr:Tldr", "summarise a forum post, against its author's own summary"),
    },
)

ORACLES: Registry[Oracle] = Registry(
    "oracle",
    "apl_bench.oracles",
    "apl_bench.protocols:Oracle",
    {
        "human": Builtin("apl_bench.oracles.human:Human", "people, through a page or a terminal: apl-bench annotate"),
        "classifier": Builtin(
            "apl_bench.oracles.classifier:Classifier",
            "shipped sentiment classifier, less repetition and broken text; local and deterministic",
        ),
        "openai": Builtin(
            "apl_bench.oracles.openai_chat:OpenAIChat",
            "chat completions of OpenAI or a compatible server (base_url), batches too; costs money",
        ),
        "anthropic": Builtin(
            "apl_bench.oracles.anthropic_messages:AnthropicMessages",
            "messages of Anthropic's models, batches too; costs money",
        ),
        "hf": Builtin(
            "apl_bench.oracles.huggingface:HuggingFace",
            "a sequence classifier or reward model of transformers, from a folder or the hub; local",
        ),
        "lexicon": Builtin(
            "apl_bench.oracles.lexicon:Lexicon",
            "VADER's word list, less repetition and length; English; local and deterministic",
        ),
        "summary": Builtin(
            "apl_bench.oracles.summary:Summary",
            "proxy for the quality of a post's summary, fitted to GPT-4's verdicts; local, deterministic",
        ),
        "simulated": Builtin(
            "apl_bench.oracles.simulated:Simulated",
            "Bradley-Terry on a known reward, with noise, ties and position bias: ground truth",
        ),
    },
)

WRAPPERS: Registry[Wrapper] = Registry(
    "wrapper",
    "apl_bench.wrappers",
    "apl_bench.protocols:Wrapper",
    {
        "flip": Builtin("apl_bench.oracles.wrappers:Flip", "says the opposite at a rate; a tie stays"),
        "abstain": Builtin(
            "apl_bench.oracles.wrappers:Abstain", "declines to prefer at a rate: a tie, and the label is spent"
        ),
        "position_bias": Builtin(
            "apl_bench.oracles.wrappers:PositionBias", "says that the text shown first is better, at a rate"
        ),
        "both_orders": Builtin(
            "apl_bench.oracles.wrappers:BothOrders", "asks in both orders of presentation; disagreement is a tie"
        ),
        "repeat": Builtin("apl_bench.oracles.wrappers:Repeat", "asks several times and goes by the majority"),
        "replay": Builtin(
            "apl_bench.oracles.wrappers:Replay", "the ledger alone: never asks, and stops where a judgment is missing"
        ),
    },
)
