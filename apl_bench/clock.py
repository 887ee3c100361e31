"""Where the seconds go: nested stages, each charged only for the time that no stage inside it is charged for."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from apl_bench.protocols import AfterEpoch, Engine, Policy, Tokenizer
from apl_bench.spec import TrainingSpec
from apl_bench.types import JSON, Completion, Preference, Prompt, Sample, SampleRequest, TrainingReport

OTHER = "other"


class Clock:
    """Seconds by stage since the last `lap`; time in no stage is charged to `other`."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._stack = [OTHER]
        self._since = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge the time inside to `name`, less what inner stages are charged for."""
        self._charge()
        self._stack.append(name)
        try:
            yield
        finally:
            self._charge()
            self._stack.pop()

    def lap(self) -> dict[str, float]:
        """Seconds of each stage since the last call, and start over."""
        self._charge()
        seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds

    def _charge(self) -> None:
        now = time.perf_counter()
        self._seconds[self._stack[-1]] += now - self._since
        self._since = now


class TimedPolicy:
    """A policy whose work is charged to the stages `sample` and `score`."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self.inner = policy
        self.tokenizer: Tokenizer = policy.tokenizer
        self._clock = clock

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        """See Policy.sample."""
        with self._clock.stage("sample"):
            return self.inner.sample(requests, temperature)

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        """See Policy.logp."""
        with self._clock.stage("score"):
            return self.inner.logp(prompts, completions)


class TimedEngine:
    """An engine whose policies are timed, and whose training is charged to `train` and files to `disk`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._reference = TimedPolicy(engine.reference(), clock)

    def reference(self) -> Policy:
        """theta_0."""
        return self._reference

    def finetune(
        self,
        start: Policy,
        preferences: Sequence[Preference],
        training: TrainingSpec,
        stream: tuple[int | str, ...],
        after_epoch: AfterEpoch | None = None,
    ) -> tuple[Policy, TrainingReport]:
        """See Engine.finetune."""
        with self._clock.stage("train"):
            tell = None if after_epoch is None else self._timed(after_epoch)
            policy, report = self._engine.finetune(self._unwrap(start), preferences, training, stream, tell)
        return TimedPolicy(policy, self._clock), report

    def save(self, policy: Policy, path: Path) -> None:
        """See Engine.save."""
        with self._clock.stage("disk"):
            self._engine.save(self._unwrap(policy), path)

    def load(self, path: Path) -> Policy:
        """See Engine.load."""
        with self._clock.stage("disk"):
            return TimedPolicy(self._engine.load(path), self._clock)

    def identity(self) -> Mapping[str, JSON]:
        """See Engine.identity."""
        return self._engine.identity()

    def _timed(self, after_epoch: AfterEpoch) -> AfterEpoch:
        return lambda epoch, policy, loss: after_epoch(epoch, TimedPolicy(policy, self._clock), loss)

    @staticmethod
    def _unwrap(policy: Policy) -> Policy:
        return policy.inner if isinstance(policy, TimedPolicy) else policy
