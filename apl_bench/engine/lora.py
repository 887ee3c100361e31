"""Low-rank adapters (Hu et al. 2021, through peft): one model in memory, theta_0 with all adapters switched off.

Each policy has an adapter of its own in the one model, and the one that is asked is switched on before it runs.
Adapters that are part of theta_0 itself are merged into its weights when it is loaded.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import Tensor

from apl_bench.engine.lean_lora import use_lean_adapters
from apl_bench.engine.network import Network
from apl_bench.randomness import StreamName, stream
from apl_bench.spec import LoraSpec, nearest
from apl_bench.types import SpecError

SHIPPED = "shipped:"
FILES = ("adapter_config.json", "adapter_model.safetensors")


def find_adapter(adapter: str) -> Path:
    """The folder of an adapter, `shipped:NAME` or a folder as peft writes it. Raises SpecError where there is none."""
    with as_file(files("apl_bench.tasks") / "adapters") as shipped:
        folder = shipped / adapter.removeprefix(SHIPPED) if adapter.startswith(SHIPPED) else Path(adapter).expanduser()
        if folder.parent == shipped and not folder.is_dir():
            raise nearest(folder.name, "shipped adapter", (entry.name for entry in shipped.iterdir() if entry.is_dir()))
        if not all((folder / name).is_file() for name in FILES):
            raise SpecError(f"policy.adapter is {adapter!r}, where there is no adapter; expected {SHIPPED}NAME, or a "
                            f"folder with {' and '.join(FILES)}, as peft's save_pretrained writes them")  # fmt: skip
        return folder


def merged(model: Any, adapter: str) -> Any:
    """The model with an adapter, as `find_adapter` finds it, added to its weights.

    Raises SpecError where there is none, or where it is another model's.
    """
    folder = find_adapter(adapter)
    try:
        with _quiet():
            whole: Any = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(f"policy.adapter {adapter!r} does not fit policy.model: {reason}. Expected an adapter that "
                        "was trained on this model") from error  # fmt: skip
    return whole.requires_grad_(True)  # peft froze it


class Adapters:
    """The adapters in a model, by name, of which at most one is switched on. Threads may ask for the same one."""

    def __init__(self, model: Any, lora: LoraSpec) -> None:
        model.requires_grad_(False)
        self._model = model
        self._config = LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), lora_dropout=0.0, bias="none"
        )
        self._lock = threading.Lock()
        self._num_made = 0
        self._active: str | None = None
        self._dropped: list[str] = []

    def make(self, name: StreamName) -> str:
        """A new adapter that changes nothing yet: B is zero, A is drawn from the stream called `name`.

        Those that were dropped leave the model now. Not to be called while batches run side by side.
        """
        self._delete_dropped()
        self._num_made += 1
        adapter = f"policy{self._num_made}"
        seed = int(stream(*name, "lora").integers(2**63))
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            try:
                inject_adapter_in_model(self._config, self._model, adapter_name=adapter)
            except ValueError as error:
                targets = sorted(self._config.target_modules or ())
                kind = type(self._model).__name__
                raise SpecError(f"lora.targets is {targets!r}, and {kind} has no such layers ({error}); expected names "
                                "of its linear layers, such as q_proj") from error  # fmt: skip
        use_lean_adapters(self._model)
        self._switch(adapter)
        return adapter

    def use(self, adapter: str | None) -> None:
        """Switch this adapter on, all others off; None: all off, which is theta_0."""
        with self._lock:
            if adapter != self._active:
                self._switch(adapter)

    def drop(self, adapter: str) -> None:
        """Have an adapter leave the model when the next one is made.

        Python may ask for this in the middle of anything, another adapter's forward pass included: nothing changes now.
        """
        self._dropped.append(adapter)

    def weights(self, adapter: str) -> dict[str, Tensor]:
        """Its weights, by names that do not depend on how many adapters there were before."""
        part = f".{adapter}."
        return {name.replace(part, "."): weight for name, weight in self._model.named_parameters() if part in name}

    def _delete_dropped(self) -> None:
        if self._dropped:
            self.use(None)
        with _quiet():
            while self._dropped:
                adapter = self._dropped.pop()
                for layer in self._layers():
                    layer.delete_adapter(adapter)

    def _switch(self, adapter: str | None) -> None:
        self._active = ""  # none of them, for whoever asks after an interrupt in here
        for layer in self._layers():
            layer.enable_adapters(adapter is not None)
            if adapter is not None:
                layer.set_adapter(adapter)
        self._active = adapter

    def _layers(self) -> list[BaseTunerLayer]:
        return [module for module in self._model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def _quiet() -> Iterator[None]:
    """peft warns of several adapters in a model, which is what is wanted here, and asks transformers for old names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="peft")
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        yield


class LoraNetwork(Network):
    """theta_0 where `adapter` is None, else theta_0 with that adapter, whose weights are all that is trained."""

    def __init__(self, model: Any, mixed: bool, adapters: Adapters, adapter: str | None) -> None:
        super().__init__(model, mixed)
        self._adapters = adapters
        self._adapter = adapter
        if adapter is not None:
            weakref.finalize(self, adapters.drop, adapter)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The adapter's weights; of theta_0 the model's own, by the names that they had without adapters."""
        if self._adapter is not None:
            return self._adapters.weights(self._adapter)
        own = {name: weight for name, weight in super().parameters.items() if ".lora_" not in name}
        return {name.replace(".base_layer.", "."): weight for name, weight in own.items()}

    def copy(self, name: StreamName) -> LoraNetwork:
        """A network that computes the same, with an adapter of its own."""
        adapter = self._adapters.make(name)
        twin = self.hand_on(LoraNetwork(self.model, self.mixed, self._adapters, adapter))
        if self._adapter is not None:
            with torch.no_grad():
                for weight, own in zip(twin.parameters.values(), self.parameters.values(), strict=True):
                    weight.copy_(own)
        return twin

    def hidden(self, ids: Tensor, **inputs: Any) -> Tensor:
        """See Network.hidden."""
        self._adapters.use(self._adapter)
        return super().hidden(ids, **inputs)
