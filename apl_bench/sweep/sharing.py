"""An engine that looks up in a store what other cells computed already, and puts there what they may want.

Shared is what depends on theta_0 and the seed alone: completions of theta_0, their log-probabilities, and theta_1 where
several strategies buy the same labels in step 1 (while theta_t is theta_0 every margin is 0, so that those which go by
margins choose at random, with the same random numbers); then what theta_1 writes and scores. Later policies have no
equals, and nothing of them is stored.

A value is looked up by everything that it depends on: weights, tokenizer, versions, the engine's source, the processor,
threads, the settings, prompts, streams. Where batches may change the last bits (on a GPU, or with a large model) only
whole calls are shared, and of theta_0's samples alone, so that every other call is made of the same rows as without.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np

from apl_bench.protocols import AfterEpoch, Engine, Metered, Policy, Tokenizer
from apl_bench.spec import RunSpec, TrainingSpec
from apl_bench.sweep.store import SCHEMA, Store, digest
from apl_bench.types import (
    JSON,
    Completion,
    Machine,
    Preference,
    Prompt,
    Sample,
    SampleRequest,
    TrainingReport,
    Work,
)

WEIGHTS = "policy.safetensors"
_SOURCES = ("engine", "objective.py", "randomness.py")


class SharedPolicy:
    """A policy under its name in the store; `name` holds all that its weights depend on."""

    def __init__(self, inner: Policy, name: str, engine: SharingEngine) -> None:
        self.inner = cast(Metered, inner)
        self.name = name
        self.tokenizer: Tokenizer = inner.tokenizer
        self._engine = engine

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        """See Policy.sample."""
        if not requests or not self._engine.shares_samples(self, requests[0]):
            return self.inner.sample(requests, temperature)
        purposes = {request.stream[:2] for request in requests}
        group = digest([self.name, "sample", temperature, sorted(map(list, purposes), key=str)])
        keys = self._engine.keys([_request(request) for request in requests])

        def draw(rows: Sequence[int]) -> list[JSON]:
            return [_to_json(sample) for sample in self.inner.sample([requests[row] for row in rows], temperature)]

        with self._engine.metered() as meter:
            samples = [_of_json(value) for value in self._engine.looked_up(group, keys, draw)]
            prompts, completions = [request.prompt for request in requests], [each.completion for each in samples]
            meter.whole = self.inner.sampling_work(prompts, completions)
        return samples

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        """See Policy.logp."""
        if not self._engine.shares_logp(self):
            return self.inner.logp(prompts, completions)
        rows = zip(prompts, completions, strict=True)
        keys = self._engine.keys([[prompt.text, completion.token_ids] for prompt, completion in rows])

        def score(rows: Sequence[int]) -> list[JSON]:
            values: list[JSON] = self.inner.logp([prompts[i] for i in rows], [completions[i] for i in rows]).tolist()
            return values

        with self._engine.metered() as meter:
            meter.whole = self.inner.scoring_work(prompts, completions)
            values = np.array(self._engine.looked_up(digest([self.name, "logp"]), keys, score))
        self.inner.remember(prompts, completions, values)
        return values


@dataclass(slots=True)
class _Meter:
    """What all of a call would have taken."""

    whole: Work = field(default_factory=Work)


class SharingEngine:
    """The engine with a store in front of it. `forget` begins a run: what is shared depends on how far it has come."""

    def __init__(self, engine: Engine, store: Store, spec: RunSpec) -> None:
        self._engine = engine
        self._store = store
        self._context = _context(engine, spec)
        self._reference = SharedPolicy(engine.reference(), digest([*self._context, "theta_0"]), self)
        self._any_batch = engine.any_batch
        self._spared = Work()
        self._num_tuned = 0  # in this run, as far as this process knows; what was loaded counts as several

    def shares_samples(self, policy: SharedPolicy, request: SampleRequest) -> bool:
        """Whether other cells may want these completions: those of theta_0 and theta_1 before the next fine-tuning, and
        the opponents' at any time."""
        if policy is self._reference:
            return self._num_tuned == 0 or request.stream[1] == "test"
        return self._num_tuned == 1

    def shares_logp(self, _policy: SharedPolicy) -> bool:
        """Whether other cells may want what is scored now: before the second fine-tuning."""
        return self._any_batch and self._num_tuned <= 1

    def keys(self, items: Sequence[JSON]) -> list[str]:
        """The key of each row of a call; where batches may change digits it holds the whole call."""
        keys = [digest(item) for item in items]
        return keys if self._any_batch else [digest([key, *keys]) for key in keys]

    def looked_up(self, group: str, keys: Sequence[str], compute: Any) -> list[Any]:
        """The values of these keys; what is missing is computed, in the order of the call, and stored."""
        known = self._store.get(group)
        missing = list({key: row for row, key in reversed(list(enumerate(keys))) if key not in known}.values())[::-1]
        if missing:
            new = dict(zip((keys[row] for row in missing), compute(missing), strict=True))
            self._store.put(group, new)
            known |= new
        return [known[key] for key in keys]

    @contextmanager
    def metered(self) -> Iterator[_Meter]:
        """Count as spared what `whole`, to be set inside, is more than what is done inside."""
        before, meter = self._engine.work(), _Meter()
        yield meter
        self._spared += meter.whole - (self._engine.work() - before)

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
        """See Engine.finetune; the first one of a run is looked up."""
        is_first, inner = self._num_tuned == 0, self._unwrap(start)
        self._num_tuned += 1
        if not (is_first and self._any_batch and start is self._reference and preferences and after_epoch is None):
            return self._engine.finetune(inner, preferences, training, stream, after_epoch)
        name = digest([self._reference.name, _training(training), list(stream), [_labelled(p) for p in preferences]])
        completions = [*(each.chosen for each in preferences), *(each.rejected for each in preferences)]
        self._reference.logp([each.prompt for each in preferences] * 2, completions)  # else fine-tuning's own work
        found = self._found(name)
        if found is None:
            before = self._engine.work()
            policy, report = self._engine.finetune(inner, preferences, training, stream)
            self._keep(name, policy, report, self._engine.work() - before)
            found = policy, report
        return SharedPolicy(found[0], name, self), found[1]

    def save(self, policy: Policy, path: Path) -> None:
        """See Engine.save."""
        self._engine.save(self._unwrap(policy), path)

    def load(self, path: Path) -> Policy:
        """See Engine.load; the run went on before, and nobody knows from what."""
        self._num_tuned = 2
        return self._engine.load(path)

    def identity(self) -> Mapping[str, JSON]:
        """See Engine.identity."""
        return self._engine.identity()

    def work(self) -> Work:
        """See Engine.work: what this process did, and nothing of what it looked up."""
        return self._engine.work()

    def spared(self) -> Work:
        """See Engine.spared: what it looked up."""
        return self._spared

    def machine(self) -> Machine:
        """See Engine.machine."""
        return self._engine.machine()

    def peak_device_bytes(self) -> int | None:
        """See Engine.peak_device_bytes."""
        return self._engine.peak_device_bytes()

    @property
    def any_batch(self) -> bool:
        """See Engine.any_batch."""
        return self._any_batch

    def forget(self) -> None:
        """See Engine.forget."""
        self._engine.forget()
        self._num_tuned = 0

    def _found(self, name: str) -> tuple[Policy, TrainingReport] | None:
        for noted in self._store.get(name).values():
            path = self._store.get_file(name, WEIGHTS, noted["sha256"])
            if path is not None:
                losses = tuple(noted["epoch_losses"])
                report = TrainingReport(losses, noted["num_updates"], noted["num_tokens"])
                self._spared += Work(*noted["work"])
                return self._engine.load(path), report
        return None

    def _keep(self, name: str, policy: Policy, report: TrainingReport, work: Work) -> None:
        sha256 = self._store.put_file(name, WEIGHTS, lambda path: self._engine.save(policy, path))
        noted: JSON = {"sha256": sha256, "epoch_losses": list(report.epoch_losses), "num_updates": report.num_updates,
                 "num_tokens": report.num_tokens, "work": [work.num_tokens, work.num_flops]}  # fmt: skip
        self._store.put(name, {sha256: noted})

    @staticmethod
    def _unwrap(policy: Policy) -> Policy:
        return policy.inner if isinstance(policy, SharedPolicy) else policy


def _context(engine: Engine, spec: RunSpec) -> list[JSON]:
    """All that any value depends on."""
    tables = spec.to_tables()
    versions: JSON = {name: version(name) for name in ("numpy", "tokenizers", "safetensors")}
    return [SCHEMA, engine.identity(), tables["policy"], tables.get("lora"), versions, _source(), _processor()]


@cache
def _source() -> str:
    """sha256 of the code that computes the values."""
    root, found = files("apl_bench"), hashlib.sha256()
    for name in _SOURCES:
        place = root / name
        for path in sorted(place.iterdir(), key=lambda path: path.name) if place.is_dir() else [place]:
            if path.name.endswith(".py"):
                found.update(f"{path.name}\0".encode() + path.read_bytes())
    return found.hexdigest()


@cache
def _processor() -> str:
    """What the last digits depend on in a machine: its kind of processor, and what libraries are told to make of it."""
    path, known = Path("/proc/cpuinfo"), ("model name", "flags", "Features", "CPU part")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else [platform.processor()]
    told = sorted(f"{name}={value}" for name, value in os.environ.items() if name in _ENVIRONMENT)
    return digest([platform.machine(), sorted({line for line in lines if line.startswith(known)}), told])


_ENVIRONMENT = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def _request(request: SampleRequest) -> JSON:
    bounds = request.bounds
    return [request.prompt.text, bounds.min_new_tokens, bounds.max_new_tokens, list(request.stream)]


def _to_json(sample: Sample) -> JSON:
    completion = sample.completion
    return [completion.text, list(completion.token_ids), completion.finished, sample.logp]


def _of_json(value: Any) -> Sample:
    text, token_ids, finished, logp = value
    return Sample(Completion(text, tuple(token_ids), finished), logp)


def _labelled(preference: Preference) -> JSON:
    sides = (preference.chosen, preference.rejected)
    return [preference.prompt.text, *(list(completion.token_ids) for completion in sides)]


def _training(training: TrainingSpec) -> JSON:
    return {name: getattr(training, name) for name in training.__dataclass_fields__}
