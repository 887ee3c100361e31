"""Where the seconds go, and what is done in them: nested stages, each charged only for what no stage inside it is
charged for."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apl_bench.protocols import AfterEpoch, Engine, Policy, Tokenizer
from apl_bench.spec import TrainingSpec
from apl_bench.types import JSON, Completion, Machine, Preference, Prompt, Sample, SampleRequest, TrainingReport, Work

OTHER = "other"
NO_WORK = Work()


@dataclass(frozen=True, slots=True)
class Spent:
    """What a stage took, what models did in it, and what they did not since it was looked up."""

    seconds: float = 0.0
    work: Work = NO_WORK
    spared: Work = NO_WORK


class Clock:
    """What each stage took since the last `lap`; what is in no stage is charged to `other`."""

    def __init__(self) -> None:
        self._spent: dict[str, Spent] = defaultdict(Spent)
        self._stack = [OTHER]
        self._since = time.perf_counter()
        self._read: tuple[Callable[[], Work], Callable[[], Work]] = (Work, Work)
        self._done = self._spared = NO_WORK

    def watch(self, done: Callable[[], Work], spared: Callable[[], Work] = Work) -> None:
        """From now on charge stages for what these add up as well: all work that was done, and that was spared."""
        self._charge()
        self._read = done, spared
        self._done, self._spared = done(), spared()

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

    def lap(self) -> dict[str, Spent]:
        """What each stage took since the last call, and start over."""
        self._charge()
        spent, self._spent = dict(self._spent), defaultdict(Spent)
        return spent

    def _charge(self) -> None:
        now, (done, spared) = time.perf_counter(), (read() for read in self._read)
        before = self._spent[self._stack[-1]]
        self._spent[self._stack[-1]] = Spent(
            before.seconds + now - self._since,
            before.work + done - self._done,
            before.spared + spared - self._spared,
        )
        self._since, self._done, self._spared = now, done, spared


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
    """An engine whose policies are timed and whose work is charged to the clock's stages: training to `train`, files to
    `disk`, measuring the machine to `load`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._reference = TimedPolicy(engine.reference(), clock)
        clock.watch(engine.work, engine.spared)

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

    def work(self) -> Work:
        """See Engine.work."""
        return self._engine.work()

    def spared(self) -> Work:
        """See Engine.spared."""
        return self._engine.spared()

    def machine(self) -> Machine:
        """See Engine.machine."""
        with self._clock.stage("load"):
            return self._engine.machine()

    def peak_device_bytes(self) -> int | None:
        """See Engine.peak_device_bytes."""
        return self._engine.peak_device_bytes()

    @property
    def any_batch(self) -> bool:
        """See Engine.any_batch."""
        return self._engine.any_batch

    def forget(self) -> None:
        """See Engine.forget."""
        self._engine.forget()

    def _timed(self, after_epoch: AfterEpoch) -> AfterEpoch:
        return lambda epoch, policy, loss: after_epoch(epoch, TimedPolicy(policy, self._clock), loss)

    @staticmethod
    def _unwrap(policy: Policy) -> Policy:
        return policy.inner if isinstance(policy, TimedPolicy) else policy
