"""A causal language model split where the benchmark needs it: the body gives hidden states, the head their logits."""

from __future__ import annotations

import copy
import inspect
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from apl_bench.engine.attention import use_on_cpu, uses_attend
from apl_bench.engine.cache import is_plain, is_recurrent
from apl_bench.engine.device import Budgets, TokenBudget
from apl_bench.engine.embedding import use_in_place_gradient
from apl_bench.engine.footprint import new_budgets, new_training_budget
from apl_bench.engine.head import Head, check_head
from apl_bench.engine.lean import use_lean_blocks
from apl_bench.engine.shared import can_share
from apl_bench.randomness import StreamName
from apl_bench.types import SpecError

Twin = TypeVar("Twin", bound="Network")

SMALL_BYTES = 64 << 20  # of weights that two cores may each read for themselves


class Network:
    """A transformers causal language model in fp32, with dropout off; `mixed` runs the body in bfloat16 (autocast)."""

    def __init__(self, model: Any, mixed: bool) -> None:
        if model.base_model is model or model.get_output_embeddings() is None:
            raise SpecError(
                f"{type(model).__name__} has no body and head as a causal language model has; choose another"
            )
        use_on_cpu(model)
        use_in_place_gradient(model)
        use_lean_blocks(model)
        self.model = model.eval()
        self.mixed = mixed
        self.head = Head.of(model)
        self.device: torch.device = self.head.weight_VD.device
        self.max_length = int(model.config.get_text_config().max_position_embeddings)
        # Reading small weights costs little beside a batch: then small batches are as good as a large one.
        self.is_small = sum(weight.nbytes for weight in self.model.parameters()) <= SMALL_BYTES
        self.takes_positions = "position_ids" in inspect.signature(model.base_model.forward).parameters

    @property
    def vocab_size(self) -> int:
        """Number of tokens that the head knows."""
        return len(self.head.weight_VD)

    @cached_property
    def has_plain_cache(self) -> bool:
        """Whether all its layers keep the keys and values of everything."""
        return is_plain(self.model.config)

    @property
    def num_workers(self) -> int:
        """Batches that run side by side: on a CPU as many as torch has threads, where the weights are small."""
        return torch.get_num_threads() if self.device.type == "cpu" and self.is_small else 1

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The weights by name, each once even where two modules share it."""
        return dict(self.model.named_parameters())

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether a prompt may stand once in a row, before all its completions (found out in fp32)."""
        return can_share(Network(self.model, mixed=False) if self.mixed else self)

    @property
    def packs(self) -> bool:
        """Whether sequences that train stand behind one another in one row (a small model's in padded rows)."""
        return uses_attend(self.model) and not self.is_small

    @cached_property
    def budgets(self) -> Budgets:
        """How many tokens are held at a time."""
        return new_budgets(self)

    @property
    def training_budget(self) -> TokenBudget:
        """The same for training; measured on whichever policy of an engine trains first."""
        if self.budgets.training is None:
            self.budgets.training = new_training_budget(self)
        return self.budgets.training

    def copy(self, name: StreamName) -> Network:
        """The same model with weights of its own; `name` is that of the randomness of weights that are new."""
        del name
        return self.hand_on(Network(copy.deepcopy(self.model), self.mixed))

    def hand_on(self, twin: Twin) -> Twin:
        """The twin, with what was found out about this model."""
        twin.__dict__["shares_prompts"] = self.shares_prompts
        twin.__dict__["budgets"] = self.budgets
        twin.is_small = self.is_small  # not counting adapters that happen to be there
        return twin

    def hidden(self, ids: Tensor, **inputs: Any) -> Tensor:
        """Hidden states after the last norm, shape (rows, length, D); `inputs` go to the model's body."""
        if "past_key_values" not in inputs:
            inputs["use_cache"] = False
        if not self.takes_positions:
            inputs.pop("position_ids", None)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed):
            hidden: Tensor = self.model.base_model(input_ids=ids, **inputs).last_hidden_state
        return hidden

    def check(self) -> None:
        """Raise SpecError where completions can't go on from a prompt that has run, or where body and head put together
        are not the model (in fp32, whatever it runs in)."""
        if is_recurrent(self.model.config):
            raise SpecError(
                f"{type(self.model).__name__} has recurrent layers, whose state after a prompt can't be handed to "
                "several completions; expected attention in all layers. Choose another model"
            )
        check_head(self.model, Network(self.model, mixed=False).hidden, self.head)
