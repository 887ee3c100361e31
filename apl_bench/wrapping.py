"""An oracle with the wrappers around it: which comparisons stand behind one verdict, and what their replies come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from apl_bench.failures import OracleError
from apl_bench.oracles.wrappers import Replay
from apl_bench.protocols import Oracle, Wrapper
from apl_bench.registry import ORACLES, WRAPPERS
from apl_bench.spec import PluginSpec
from apl_bench.types import Comparison, Reading, Reply


@dataclass(frozen=True)
class Wrapped:
    """`oracle` inside `wrappers`, the innermost first."""

    oracle: Oracle
    wrappers: tuple[Wrapper, ...] = ()

    @property
    def replays(self) -> bool:
        """Whether the oracle must not be asked."""
        return any(isinstance(wrapper, Replay) for wrapper in self.wrappers)

    def leaves(self, comparison: Comparison) -> list[Comparison]:
        """The comparisons that the oracle itself is asked, in the order in which `read` wants their replies."""
        asked = [comparison]
        for wrapper in reversed(self.wrappers):
            asked = [inner for outer in asked for inner in wrapper.expand(outer)]
        return asked

    def read(self, comparison: Comparison, replies: Sequence[Reply]) -> Reading:
        """What the replies to `leaves(comparison)` come to, in the comparison's shown order. Raises OracleError."""
        return self._read(comparison, iter(replies), len(self.wrappers))

    def _read(self, comparison: Comparison, replies: Iterator[Reply], depth: int) -> Reading:
        if depth == 0:
            return self._checked(self.oracle, self.oracle.read(next(replies)))
        wrapper = self.wrappers[depth - 1]
        readings = [self._read(inner, replies, depth - 1) for inner in wrapper.expand(comparison)]
        return self._checked(wrapper, wrapper.combine(comparison, readings))

    def _checked(self, source: Oracle | Wrapper, reading: Reading) -> Reading:
        if reading.p_first is not None and not 0 <= reading.p_first <= 1:
            method = "read" if isinstance(source, Oracle) else "combine"
            raise OracleError(f"{type(source).__name__}.{method} gave p_first = {reading.p_first!r}; expected a number "
                              "from 0 to 1, or None")  # fmt: skip
        return reading


def create_oracle(plugin: PluginSpec) -> Wrapped:
    """The oracle that a spec names, with its wrappers. Raises SpecError."""
    wrappers = tuple(WRAPPERS.create(wrapper.name, wrapper.params) for wrapper in plugin.wrappers)
    return Wrapped(ORACLES.create(plugin.name, plugin.params), wrappers)
