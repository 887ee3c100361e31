"""The engine of the harness: any transformers causal language model, on a CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from apl_bench.engine import dpo, sampling, scoring, shared
from apl_bench.engine.flops import Costs, Meter, by_prompt, measured_peak
from apl_bench.engine.memory import keep_freed_memory, let_go_of_files
from apl_bench.engine.models import PolicyTokenizer, eos_ids, load_model, require_peft
from apl_bench.engine.network import Network
from apl_bench.engine.weights import checksum, load_weights, save_weights
from apl_bench.protocols import AfterEpoch, Policy, Tokenizer
from apl_bench.spec import LoraSpec, PolicySpec, TrainingSpec
from apl_bench.types import (
    JSON,
    Completion,
    Machine,
    Preference,
    Prompt,
    Sample,
    SampleRequest,
    SpecError,
    TrainingReport,
    Work,
)


class HuggingFacePolicy:
    """A causal language model as it stands now, with its tokenizer and the tokens that end a completion.

    What it does is added to `meter`.
    """

    def __init__(
        self, network: Network, tokenizer: PolicyTokenizer, eos: tuple[int, ...], meter: Meter | None = None
    ) -> None:
        self.network = network
        self.tokenizer: Tokenizer = tokenizer
        self.eos_ids = eos
        self.costs = Costs.of(network)
        self.meter = Meter() if meter is None else meter
        self._tokenizer = tokenizer

    def sample(self, requests: Sequence[SampleRequest], temperature: float) -> list[Sample]:
        """One completion for each request, with its log-probability at temperature 1 from the same pass.

        A finished completion's tokens include the EOS that ended it, its text does not. Raises SpecError where the
        temperature is not above 0, or prompt and completion may not fit into the model.
        """
        if not temperature > 0:
            raise SpecError(f"the temperature is {temperature!r}; expected a number above 0")
        draws = [self._draw(request) for request in requests]
        drawn = sampling.sample(self.network, draws, sampling.Settings(temperature, self.eos_ids))
        self.meter.add(self._forward([draw.prompt for draw in draws], [result.tokens for result in drawn]))
        return [self._sample(draw.prompt, result) for draw, result in zip(draws, drawn, strict=True)]

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        """log p(completion | prompt) at temperature 1, shape (n,), nats; SpecError where one is too long."""
        encoded = self._encoded(prompts)
        for prompt, tokens, completion in zip(prompts, encoded, completions, strict=True):
            self._require_fit(prompt, len(tokens), len(completion.token_ids))
        token_ids = [completion.token_ids for completion in completions]
        values = scoring.logp(self.network, scoring.Sequences(encoded, token_ids))
        self.meter.add(self._forward(encoded, token_ids))
        return values

    def sampling_work(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Work:
        """See Metered.sampling_work."""
        return self._forward(self._encoded(prompts), [completion.token_ids for completion in completions])

    def scoring_work(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Work:
        """See Metered.scoring_work: the same, since the head is needed at the same places."""
        return self.sampling_work(prompts, completions)

    def remember(self, prompts: Sequence[Prompt], completions: Sequence[Completion], logp: np.ndarray) -> None:
        """See Metered.remember: only theta_0 does."""

    def _encoded(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        return [self._tokenizer.encode_prompt(prompt.text) for prompt in prompts]

    def _forward(self, prompts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]]) -> Work:
        return self.costs.forward(by_prompt(prompts, completions))

    def _draw(self, request: SampleRequest) -> sampling.Draw:
        tokens, bounds = self._tokenizer.encode_prompt(request.prompt.text), request.bounds
        if not 0 <= bounds.min_new_tokens <= bounds.max_new_tokens or bounds.max_new_tokens < 1:
            raise SpecError(
                f"{bounds} for prompt {request.prompt.id!r}; expected 0 <= minimum <= maximum, and maximum >= 1"
            )
        self._require_fit(request.prompt, len(tokens), bounds.max_new_tokens)
        return sampling.Draw(tokens, bounds, request.stream)

    def _require_fit(self, prompt: Prompt, num_prompt: int, num_new: int) -> None:
        limit = self.network.max_length
        if num_prompt + num_new > limit:
            raise SpecError(f"prompt {prompt.id!r} has {num_prompt} tokens and its completion up to {num_new}; the "
                            f"model takes {limit} in all. Shorten the task's prompts or completions")  # fmt: skip

    def _sample(self, prompt: tuple[int, ...], drawn: sampling.Drawn) -> Sample:
        text = self._tokenizer.continuation(prompt, drawn.tokens[:-1] if drawn.finished else drawn.tokens)
        return Sample(Completion(text, drawn.tokens, drawn.finished), drawn.logp)


class ReferencePolicy(HuggingFacePolicy):
    """theta_0: it never changes, so the log-probability of a completion is computed once in a run."""

    def __init__(
        self, network: Network, tokenizer: PolicyTokenizer, eos: tuple[int, ...], meter: Meter | None = None
    ) -> None:
        super().__init__(network, tokenizer, eos, meter)
        self._known: dict[tuple[str, tuple[int, ...]], float] = {}

    def logp(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> np.ndarray:
        """See HuggingFacePolicy.logp; only completions not met before go through the model."""
        new = self._unseen(prompts, completions)
        if any(new):
            self.remember(*new, super().logp(*new))
        return np.array([self._known[key] for key in _keys(prompts, completions)])

    def scoring_work(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Work:
        """See Metered.scoring_work; nothing for completions met before."""
        return super().scoring_work(*self._unseen(prompts, completions))

    def remember(self, prompts: Sequence[Prompt], completions: Sequence[Completion], logp: np.ndarray) -> None:
        """See Metered.remember."""
        self._known.update(zip(_keys(prompts, completions), logp.tolist(), strict=True))

    def _unseen(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> tuple[list[Prompt], list[Completion]]:
        keys = enumerate(_keys(prompts, completions))
        rows = {key: row for row, key in keys if key not in self._known}.values()
        return [prompts[row] for row in rows], [completions[row] for row in rows]

    def forget(self) -> None:
        """Begin anew: what was met before goes through the model again."""
        self._known.clear()


def _keys(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[tuple[str, tuple[int, ...]]]:
    return [(prompt.text, completion.token_ids) for prompt, completion in zip(prompts, completions, strict=True)]


class HuggingFaceEngine:
    """Owns theta_0 and makes policies from it. theta_0 is never changed; every other policy has weights of its own."""

    def __init__(self, network: Network, tokenizer: PolicyTokenizer, eos: tuple[int, ...]) -> None:
        network.check()
        self._tokenizer = tokenizer
        self._reference = ReferencePolicy(network, tokenizer, eos)

    def reference(self) -> ReferencePolicy:
        """theta_0."""
        return self._reference

    def finetune(
        self,
        start: Policy,
        preferences: Sequence[Preference],
        training: TrainingSpec,
        stream: tuple[int | str, ...],
        after_epoch: AfterEpoch | None = None,
    ) -> tuple[HuggingFacePolicy, TrainingReport]:
        """A new policy: DPO (equation 4) from `start`, which stays as it is, on `preferences`.

        Without preferences it is `start` itself. `after_epoch` is told the epoch, the policy as it stands, and the
        epoch's mean loss. Raises FloatingPointError where training diverges.
        """
        policy = self._own(start)
        if not preferences:
            return policy, TrainingReport((), 0, 0)
        pairs = self._token_pairs(preferences)
        tuned = self._policy(policy.network.copy(stream))
        self._set_aside(tuned)
        groups = pairs.groups if tuned.network.shares_prompts else shared.apart(pairs.groups)
        work = tuned.costs.update(groups)

        def tell(epoch: int, loss: float) -> None:
            tuned.meter.add(work)
            if after_epoch is not None:
                after_epoch(epoch, tuned, loss)

        return tuned, dpo.train(tuned.network, pairs, training, stream, tell)

    def save(self, policy: Policy, path: Path) -> None:
        """Write the policy's weights (safetensors), atomically."""
        save_weights(self._own(policy).network.parameters, path)

    def load(self, path: Path) -> HuggingFacePolicy:
        """The policy whose weights `save` wrote; SpecError where they are missing or another model's."""
        network = self._reference.network.copy(("loaded",))
        load_weights(network.parameters, path)
        return self._policy(network)

    def identity(self) -> Mapping[str, JSON]:
        """Checksums of theta_0 and its tokenizer, and what else can change a number."""
        network = self._reference.network
        return {
            "architecture": type(network.model).__name__,
            "weights_sha256": checksum(network.parameters),
            "tokenizer_sha256": self._tokenizer.checksum(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "device": _device_name(network.device),
            "dtype": "bfloat16" if network.mixed else "float32",
            "num_threads": torch.get_num_threads(),
        }

    def work(self) -> Work:
        """What all its policies have done so far, training included."""
        return self._reference.meter.work

    def spared(self) -> Work:
        """Nothing: it looks nothing up."""
        return Work()

    def machine(self) -> Machine:
        """What it runs on; the peak is measured by the first call, in about half a second."""
        return self._machine

    @cached_property
    def _machine(self) -> Machine:
        network = self._reference.network
        dtype = torch.bfloat16 if network.mixed else torch.float32
        name, peak = str(dtype).removeprefix("torch."), measured_peak(network.device, dtype)
        return Machine(_device_name(network.device), torch.get_num_threads(), name, round(peak, 1))

    def peak_device_bytes(self) -> int | None:
        """The most memory that tensors held on a CUDA device so far; None on a CPU."""
        device = self._reference.network.device
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None

    @property
    def any_batch(self) -> bool:
        """On a CPU, where the model is small (docs/adr/0003)."""
        network = self._reference.network
        return network.device.type == "cpu" and network.is_small

    def forget(self) -> None:
        """A run ended: let go of the log-probabilities of theta_0 that it asked for."""
        self._reference.forget()

    def _set_aside(self, tuned: HuggingFacePolicy) -> None:
        """Let go of a large theta_0 while a policy trains that has weights of its own."""
        network = self._reference.network
        if not network.is_small and tuned.network.model is not network.model:
            let_go_of_files(network.parameters.values())

    def _policy(self, network: Network) -> HuggingFacePolicy:
        return HuggingFacePolicy(network, self._tokenizer, self._reference.eos_ids, self._reference.meter)

    def _token_pairs(self, preferences: Sequence[Preference]) -> dpo.TokenPairs:
        prompts = [preference.prompt for preference in preferences]
        chosen = [preference.chosen for preference in preferences]
        rejected = [preference.rejected for preference in preferences]
        reference = self._reference.logp([*prompts, *prompts], [*chosen, *rejected])
        return dpo.TokenPairs(
            self._reference._encoded(prompts),
            [completion.token_ids for completion in chosen],
            [completion.token_ids for completion in rejected],
            reference[: len(prompts)],
            reference[len(prompts) :],
        )

    @staticmethod
    def _own(policy: Policy) -> HuggingFacePolicy:
        if not isinstance(policy, HuggingFacePolicy):
            raise TypeError(f"the policy is a {type(policy).__name__}; expected one that this engine made")
        return policy


def load_engine(policy: PolicySpec, lora: LoraSpec | None = None) -> HuggingFaceEngine:
    """The engine for the spec's policy, on the CUDA device where there is one, else on the CPU.

    With `lora`, policies are adapters of theta_0. Sets the process's number of CPU threads and its allocator. Raises
    SpecError where the model is not to be had.
    """
    torch.set_num_threads(policy.num_threads)
    keep_freed_memory()
    model, tokenizer = load_model(policy)
    if policy.adapter is not None:
        require_peft("policy.adapter")
        from apl_bench.engine.lora import merged

        model = merged(model, policy.adapter)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    return HuggingFaceEngine(_network(model, policy, lora), tokenizer, eos_ids(model, tokenizer))


def _network(model: Any, policy: PolicySpec, lora: LoraSpec | None) -> Network:
    mixed = policy.dtype == "bfloat16"
    if lora is None:
        return Network(model, mixed)
    require_peft("[lora]")
    from apl_bench.engine.lora import Adapters, LoraNetwork

    return LoraNetwork(model, mixed, Adapters(model, lora), None)


def _device_name(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
